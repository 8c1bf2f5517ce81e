'use strict'
/**
 * What the async iterators of a node poll: messages, streams that others open, answers to a
 * question.
 *
 * Each source has the same form. `poll` returns `{ value }`, `{ done: true }`, `{ error }`, or
 * `undefined` for nothing yet. The source calls `wake`, which its PolledIterator sets, when a poll
 * would find something new. `close` releases everything. A source with `nodeStopped` ends by itself
 * after a stop of the node; the others are ended from outside.
 */
const { MessageReader } = require('./batch-reader')
const { NodeStream } = require('./stream')
const { calling } = require('./errors')
const { operate } = require('./operation')
const { register, replace, reserve, unregister, wakeQueue } = require('./wakeups')

/**
 * What writers write: messages `{ from, seq, data, age }`, gaps `{ from, missed }`, ends `{ from, end }`
 * and new starts `{ from, restarted }`.
 */
class MessageSource {
  /**
   * @param native the native node
   * @param onBatch called before the first message of a batch is read
   */
  constructor(native, onBatch) {
    this.wake = () => {}
    this.stopped = false
    this.number = register(() => this.wake())
    this.reader = new MessageReader(native.reader(undefined, wakeQueue, this.number), onBatch)
  }

  poll() {
    const { reader } = this
    if (!reader.ready()) return this.stopped || reader.ended ? { done: true } : undefined
    const data = reader.next()
    if (data === undefined) return { value: reader.notice() }
    return { value: { from: reader.writer(), seq: reader.seq(), data, age: reader.age() } }
  }

  /** Ends the source after the messages that have arrived already. */
  nodeStopped() {
    this.stopped = true
    unregister(this.number)
    this.wake()
  }

  close() {
    unregister(this.number)
    this.reader.close()
  }
}

/** Streams of one name that other nodes open. */
class StreamSource {
  constructor(native, name, limit) {
    this.wake = () => {}
    this.limit = limit
    this.number = register(() => this.wake())
    try {
      this.acceptor = calling(() => native.accept(name, wakeQueue, this.number))
    } catch (error) {
      unregister(this.number)
      throw error
    }
  }

  poll() {
    const number = reserve()
    const stream = this.acceptor.poll(wakeQueue, number)
    return stream ? { value: new NodeStream(stream, number, this.limit) } : undefined
  }

  close() {
    unregister(this.number)
    this.acceptor.close()
  }
}

/** The answers to a question: `{ from, data }`. The question is sent when the source is made. */
class AnswerSource {
  /**
   * @param native the native node
   * @param question a Buffer
   * @param timeout how long answers are collected, in ms
   */
  constructor(native, question, timeout) {
    this.wake = () => {}
    this.answers = undefined
    this.number = undefined
    this.error = undefined
    this.asking = new AbortController()
    this.#ask((...to) => native.ask(question, timeout, ...to))
  }

  async #ask(begin) {
    const { signal } = this.asking
    try {
      const { operation, number } = await operate(begin, { signal, keep: true })
      this.answers = operation.takeAnswers()
      this.number = number
      if (signal.aborted) return this.close()
      replace(number, () => this.wake())
    } catch (error) {
      this.error = error
    }
    this.wake()
  }

  poll() {
    if (this.error !== undefined) return { error: this.error }
    const answer = this.answers?.poll()
    if (answer) return { value: answer }
    return this.answers?.ended ? { done: true } : undefined
  }

  close() {
    this.asking.abort()
    if (this.number !== undefined) unregister(this.number)
    this.answers?.close()
  }
}

/** A source that fails with an error. */
class FailedSource {
  constructor(error) {
    this.error = error
  }

  poll() {
    return { error: this.error }
  }

  close() {}
}

module.exports = { MessageSource, StreamSource, AnswerSource, FailedSource }
