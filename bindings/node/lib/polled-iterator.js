'use strict'
/**
 * Async iterators over things that arrive one after the other: messages, streams, answers.
 *
 * A source (see sources.js) can be polled, and calls `wake` when a poll would find something new.
 * This class turns it into an async iterator: `next` polls, and where nothing is there yet its
 * promise waits until `wake` finds something. The iteration ends by its source, by an aborted
 * signal, by a stop of the node, or by `return`, which leaving a `for await` loop calls.
 */
const { abortError, throwIfAborted } = require('./abort')

class PolledIterator {
  /**
   * @param source the source, whose `wake` is set here
   * @param onClose called once, when the iteration is over
   * @param signal aborts the iteration
   */
  constructor(source, onClose, signal) {
    throwIfAborted(signal)
    this.source = source
    this.onClose = onClose
    /** The promises of `next` that wait, oldest first. */
    this.waiting = []
    /** The step that ends the iteration, once it is over. */
    this.last = undefined
    this.signal = signal
    this.abort = () => this.finish({ error: abortError(signal) })
    signal?.addEventListener('abort', this.abort, { once: true })
    source.wake = () => this.wake()
  }

  [Symbol.asyncIterator]() {
    return this
  }

  next() {
    if (this.waiting.length === 0) {
      const step = this.step()
      if (step !== undefined) return settled(step)
    }
    return new Promise((resolve, reject) => {
      this.waiting.push({ resolve, reject })
    })
  }

  return(value) {
    this.finish({ done: true })
    return Promise.resolve({ value, done: true })
  }

  async [Symbol.asyncDispose ?? Symbol.for('Symbol.asyncDispose')]() {
    await this.return()
  }

  /** Called when the node has stopped: ends the iteration, or lets the source end it. */
  nodeStopped() {
    if (this.source.nodeStopped) this.source.nodeStopped()
    else this.finish({ done: true })
  }

  /** Returns the step that is available now, or `undefined`. */
  step() {
    if (this.last !== undefined) {
      const { last } = this
      // An error is reported once. After it the iteration is done.
      this.last = { done: true }
      return last
    }
    const step = this.source.poll()
    if (step === undefined || 'value' in step) return step
    this.end(step)
    return this.step()
  }

  /** Settles waiting promises with what has arrived. */
  wake() {
    while (this.waiting.length > 0) {
      const step = this.step()
      if (step === undefined) return
      const { resolve, reject } = this.waiting.shift()
      if (step.error !== undefined) reject(step.error)
      else resolve({ value: step.value, done: step.done === true })
    }
  }

  /** Ends the iteration with a last step, unless it is over already. */
  finish(last) {
    if (this.last !== undefined) return
    this.end(last)
    this.wake()
  }

  end(last) {
    this.last = last
    this.signal?.removeEventListener('abort', this.abort)
    this.onClose()
    this.source.close()
  }
}

function settled({ value, done, error }) {
  return error === undefined ? Promise.resolve({ value, done: done === true }) : Promise.reject(error)
}

module.exports = { PolledIterator }
