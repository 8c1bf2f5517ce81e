'use strict'
/**
 * Native operations that take time, as promises.
 *
 * A native operation is a future that JavaScript polls: once when it begins, and then whenever its
 * wakeup number is due. An aborted signal cancels it, and drops what it may have achieved
 * meanwhile.
 */
const { abortError, throwIfAborted } = require('./abort')
const { fromFailure } = require('./errors')
const { register, unregister, wakeQueue } = require('./wakeups')

/**
 * Runs an operation. Resolves to `{ operation, number }` once it has succeeded.
 *
 * @param begin starts it: gets the wake queue and a wakeup number, and returns the native operation
 * @param options.signal cancels it
 * @param options.keep whether the number stays registered, for what the operation has produced
 */
async function operate(begin, { signal, keep = false } = {}) {
  throwIfAborted(signal)
  let settle
  const settled = new Promise((resolve) => {
    settle = resolve
  })
  let operation
  const poll = () => {
    if (operation.poll()) settle()
  }
  const number = register(poll)
  const abort = () => settle()
  let succeeded = false
  try {
    operation = begin(wakeQueue, number)
    poll()
    signal?.addEventListener('abort', abort, { once: true })
    await settled
    if (!operation.poll()) throw abortError(signal)
    if (operation.failure) throw fromFailure(operation.failure)
    succeeded = true
    return { operation, number }
  } finally {
    signal?.removeEventListener('abort', abort)
    if (!succeeded || !keep) unregister(number)
    if (!succeeded) operation?.cancel()
  }
}

module.exports = { operate }
