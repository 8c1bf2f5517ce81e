'use strict'
/**
 * Abort signals: the errors are those of Node.js itself, an `AbortError` with the code `ABORT_ERR`.
 */
const { optionType } = require('./errors')

function abortError(signal) {
  const error = new Error('The operation was aborted', { cause: signal.reason })
  error.name = 'AbortError'
  error.code = 'ABORT_ERR'
  return error
}

/** Throws if the signal is aborted already, or is not a signal. `undefined` is fine. */
function throwIfAborted(signal) {
  if (signal === undefined) return
  if (typeof signal?.aborted !== 'boolean' || typeof signal.addEventListener !== 'function') {
    throw optionType('signal', 'an AbortSignal', signal)
  }
  if (signal.aborted) throw abortError(signal)
}

/** Follows `work` until the signal is aborted. The work itself goes on then. */
async function abortable(work, signal) {
  if (signal === undefined) return work
  throwIfAborted(signal)
  let abort
  const aborted = new Promise((_, reject) => {
    abort = () => reject(abortError(signal))
    signal.addEventListener('abort', abort, { once: true })
  })
  try {
    return await Promise.race([work, aborted])
  } finally {
    signal.removeEventListener('abort', abort)
  }
}

module.exports = { abortError, throwIfAborted, abortable }
