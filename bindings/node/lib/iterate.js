'use strict'
/**
 * Things that arrive one after the other, as async iterables: messages, streams, answers.
 */
const { abortError, throwIfAborted } = require('./errors')

/**
 * `poll` returns `{ value }`, `{ done: true }`, `{ error }`, or nothing yet; `wake` has it polled again. `close` is called
 * once, when it has ended or the reader stops.
 */
class Arriving {
  constructor(poll, close, signal) {
    throwIfAborted(signal)
    this.poll = poll
    this.close = close
    this.waiting = []
    this.over = undefined
    this.wake = this.wake.bind(this)
    this.signal = signal
    this.abort = () => this.finish({ error: abortError(signal) })
    signal?.addEventListener('abort', this.abort, { once: true })
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

  /** What is there now. */
  step() {
    if (this.over !== undefined) {
      const { over } = this
      // An error is told once; then it is over.
      this.over = { done: true }
      return over
    }
    const step = this.poll()
    if (step === undefined || 'value' in step) return step
    this.end(step)
    return this.step()
  }

  wake() {
    while (this.waiting.length > 0) {
      const step = this.step()
      if (step === undefined) return
      const { resolve, reject } = this.waiting.shift()
      if (step.error !== undefined) reject(step.error)
      else resolve({ value: step.value, done: step.done === true })
    }
  }

  /** Nothing comes any more. */
  finish(over) {
    if (this.over !== undefined) return
    this.end(over)
    this.wake()
  }

  end(over) {
    this.over = over
    this.signal?.removeEventListener('abort', this.abort)
    this.close()
  }
}

function settled({ value, done, error }) {
  return error === undefined ? Promise.resolve({ value, done: done === true }) : Promise.reject(error)
}

module.exports = { Arriving }
