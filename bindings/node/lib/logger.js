'use strict'
/**
 * `node.logger`: always all six methods, whatever the given object has.
 */
const METHODS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal']

/** Each method calls the given logger's, with that as `this`; what else it has can be reached, too. */
function makeLogger(given) {
  const logger = Object.create(given)
  for (const method of METHODS) {
    const value = (...args) => {
      if (typeof given[method] === 'function') given[method](...args)
    }
    Object.defineProperty(logger, method, { value, writable: true, configurable: true, enumerable: true })
  }
  return logger
}

/** The least level of the library's log lines that somebody wants; `undefined` if nobody wants any. */
function leastLevel(given) {
  return METHODS.find((method) => method !== 'fatal' && typeof given[method] === 'function')
}

module.exports = { makeLogger, leastLevel }
