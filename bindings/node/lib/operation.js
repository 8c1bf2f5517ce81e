'use strict'
/**
 * Native operations that take time, as promises.
 */
const { bell, register, unregister } = require('./bell')
const { abortError, fromFailure, throwIfAborted } = require('./errors')

/**
 * Starts an operation and waits for its end. `begin` gets the bell and a number, and returns the native operation, which is
 * what the promise resolves to. With `keep`, `number` stays registered for what came of it, and is the second part of the result.
 */
async function operate(begin, { signal, keep = false } = {}) {
  throwIfAborted(signal)
  let settle
  const over = new Promise((resolve) => {
    settle = resolve
  })
  const poll = () => {
    if (operation.poll()) settle()
  }
  const number = register(poll)
  let operation
  let done = false
  const abort = () => settle()
  try {
    operation = begin(bell, number)
    poll()
    signal?.addEventListener('abort', abort, { once: true })
    await over
    if (!operation.poll()) throw abortError(signal)
    if (operation.failure) throw fromFailure(operation.failure)
    done = true
    return { operation, number }
  } finally {
    signal?.removeEventListener('abort', abort)
    if (!done || !keep) unregister(number)
    if (!done) operation?.cancel()
  }
}

/**
 * A promise that knows whether anybody waits for it: old programs wait for none, and no failure of theirs may end the process
 * as an unhandled rejection.
 */
class Outcome extends Promise {
  static get [Symbol.species]() {
    return Promise
  }

  /**
   * Follows `work`. If it fails and nobody waits, `unheard(error)` is called; if that returns true the error was told there.
   */
  static of(work, unheard) {
    const { promise, resolve, reject } = outcome()
    work.then(resolve, (error) => {
      // Later: who awaits has said so by then.
      setImmediate(() => {
        try {
          if (!promise.heard && unheard(error)) Promise.prototype.then.call(promise, undefined, () => {})
        } finally {
          reject(error)
        }
      })
    })
    return promise
  }

  then(...handlers) {
    this.heard = true
    return super.then(...handlers)
  }
}

function outcome() {
  let resolve
  let reject
  const promise = new Outcome((...both) => {
    ;[resolve, reject] = both
  })
  promise.heard = false
  return { promise, resolve, reject }
}

module.exports = { operate, Outcome }
