'use strict'
/**
 * `node.logger`: an object with all six methods, whichever of them the given logger has.
 */
const METHODS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal']

/**
 * Returns a logger whose methods call those of `given`, with `given` as `this`. Other properties of
 * `given` stay reachable through it.
 */
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

/**
 * Returns the least severe level that `given` has a method for, or `undefined` if there is none.
 * The library has no level `fatal`; that one is used by this package alone.
 */
function leastLevel(given) {
  return METHODS.find((method) => method !== 'fatal' && typeof given[method] === 'function')
}

module.exports = { makeLogger, leastLevel }
