'use strict'
/**
 * Errors: each has a `code` that begins with `ERR_SMOKESIGNAL_`. A wrong option is a `TypeError` or a `RangeError` as well.
 */
const PREFIX = 'ERR_SMOKESIGNAL_'

/** Gives an error its code. */
function coded(error, code, details) {
  error.code = PREFIX + code
  return Object.assign(error, details)
}

/** An option, or an argument, is of the wrong kind. The text names it and says what to write. */
function optionType(name, expected, value) {
  return coded(new TypeError(`"${name}" has to be ${expected}, not ${shown(value)}`), 'BAD_OPTION', { option: name })
}

/** An option, or an argument, has a value that makes no sense. */
function optionRange(name, expected, value) {
  return coded(new RangeError(`"${name}" has to be ${expected}, not ${shown(value)}`), 'BAD_OPTION', { option: name })
}

/** In place of a value that must not be shown, or says more in words. */
class Described {
  constructor(text) {
    this.text = text
  }
}

function shown(value) {
  if (value instanceof Described) return value.text
  if (typeof value === 'string') return JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}…` : value)
  if (typeof value === 'function') return 'a function'
  if (typeof value === 'object' && value !== null) {
    return Array.isArray(value) ? 'an array' : `an object (${value.constructor?.name ?? 'without a prototype'})`
  }
  return String(value)
}

/** The error that the native half describes. */
function fromFailure({ code, message, range, system }) {
  const error = range ? new RangeError(message) : new Error(message)
  if (system) error.cause = Object.assign(new Error(system), { code: system })
  return coded(error, code)
}

/** Calls the native half; what it throws becomes an error with a code. */
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

/** As those of Node.js itself. */
function abortError(signal) {
  const error = new Error('The operation was aborted', { cause: signal.reason })
  error.name = 'AbortError'
  error.code = 'ABORT_ERR'
  return error
}

function throwIfAborted(signal) {
  if (signal === undefined) return
  if (typeof signal?.aborted !== 'boolean' || typeof signal.addEventListener !== 'function') {
    throw optionType('signal', 'an AbortSignal', signal)
  }
  if (signal.aborted) throw abortError(signal)
}

module.exports = { coded, optionType, optionRange, Described, fromFailure, calling, abortError, throwIfAborted }
