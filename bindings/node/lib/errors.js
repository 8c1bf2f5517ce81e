'use strict'
/**
 * Errors of this package. Each has a `code` that begins with `ERR_SMOKESIGNAL_`, and a text that
 * names the value and the cure. A wrong option is a `TypeError` or a `RangeError` as well.
 *
 * The native half throws plain errors whose text is `CODE\nrange\nSYSTEM\nmessage`
 * (`src/failure.rs`), or returns a failure object with the same parts; both become errors of this
 * kind here.
 */
const PREFIX = 'ERR_SMOKESIGNAL_'

/** Characters of a string value that an error text shows. */
const MAX_SHOWN = 80

/** Sets the code, and further properties, of an error and returns it. */
function coded(error, code, details) {
  error.code = PREFIX + code
  return Object.assign(error, details)
}

/** Returns the error for an option or argument of the wrong type. `expected` says what to write. */
function optionType(name, expected, value) {
  const text = `"${name}" has to be ${expected}, not ${shown(value)}`
  return coded(new TypeError(text), 'BAD_OPTION', { option: name })
}

/** Returns the error for an option or argument whose value is out of range. */
function optionRange(name, expected, value) {
  const text = `"${name}" has to be ${expected}, not ${shown(value)}`
  return coded(new RangeError(text), 'BAD_OPTION', { option: name })
}

/**
 * Stands for a value in an error text: one that must not be shown, or that words describe better.
 */
class Described {
  constructor(text) {
    this.text = text
  }
}

function shown(value) {
  if (value instanceof Described) return value.text
  if (typeof value === 'string') {
    return JSON.stringify(value.length > MAX_SHOWN ? `${value.slice(0, MAX_SHOWN)}…` : value)
  }
  if (typeof value === 'function') return 'a function'
  if (typeof value === 'object' && value !== null) {
    if (Array.isArray(value)) return 'an array'
    return `an object (${value.constructor?.name ?? 'without a prototype'})`
  }
  return String(value)
}

/** Returns the error that the native half describes. */
function fromFailure({ code, message, range, system }) {
  const error = range ? new RangeError(message) : new Error(message)
  if (system) error.cause = Object.assign(new Error(system), { code: system })
  return coded(error, code)
}

/** Calls the native half. What it throws becomes an error with a code. */
function calling(call) {
  try {
    return call()
  } catch (error) {
    const parts = /^([A-Z_]+)\n(range)?\n([A-Z]*)\n([^]*)$/.exec(error.message)
    if (parts === null) throw error
    const [, code, range, system, message] = parts
    throw fromFailure({ code, message, range: range !== undefined, system })
  }
}

/** Returns the error for an operation that needs a running node. */
function notRunning() {
  return coded(new Error('the node is not running; call start() first'), 'NOT_RUNNING')
}

module.exports = { coded, optionType, optionRange, Described, fromFailure, calling, notRunning }
