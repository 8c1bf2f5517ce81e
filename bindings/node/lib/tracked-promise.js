'use strict'
/**
 * A promise that knows whether somebody waits for it.
 *
 * Programs written for 0.2.x await none of `start`, `stop` and `addPeer`, and no failure of theirs
 * may end the process as an unhandled rejection. A failure that nobody waits for is therefore
 * reported in another way, such as the event `error`, and the promise counts as handled.
 */
class TrackedPromise extends Promise {
  /** What `then` returns is an ordinary promise. */
  static get [Symbol.species]() {
    return Promise
  }

  /**
   * Follows `work`.
   *
   * @param work a promise
   * @param reportUnawaited called with the error if the work fails and nobody waits; returns
   *   whether it has reported the error. If not, the rejection stays unhandled.
   */
  static follow(work, reportUnawaited) {
    const { promise, resolve, reject } = withResolvers()
    work.then(resolve, (error) => {
      // One turn later: a caller that awaits the promise has called `then` by now.
      setImmediate(() => {
        try {
          const reported = !promise.awaited && reportUnawaited(error)
          if (reported) Promise.prototype.then.call(promise, undefined, () => {})
        } finally {
          reject(error)
        }
      })
    })
    return promise
  }

  then(...handlers) {
    this.awaited = true
    return super.then(...handlers)
  }
}

function withResolvers() {
  let resolve
  let reject
  const promise = new TrackedPromise((...both) => {
    ;[resolve, reject] = both
  })
  promise.awaited = false
  return { promise, resolve, reject }
}

module.exports = { TrackedPromise }
