'use strict'
/**
 * Streams to one node: `NodeStream`, a named stream to any node, and `Peer`, a neighbour together
 * with the stream to it.
 *
 * Both are a ChunkDuplex over one native stream whose wakeup number covers reads, writes and the
 * finishing of the writing direction. They differ in what an end means: a NodeStream behaves like a
 * socket and fails when something that was written could not be sent, while a Peer follows its
 * link, so that it ends and closes without an error when the link goes, as in 0.2.x.
 */
const { BatchReader } = require('./batch-reader')
const { BatchWriter } = require('./batch-writer')
const { ChunkDuplex } = require('./chunk-duplex')
const { coded, fromFailure } = require('./errors')
const { guarded } = require('./guarded')
const { replace, unregister } = require('./wakeups')

const native = Symbol('native')

/** How long what was written before `close` may take to leave, in ms. */
const CLOSE_TIMEOUT = 5000

class NativeDuplex extends ChunkDuplex {
  constructor(stream, number, limit) {
    super(limit)
    Object.defineProperty(this, native, { value: stream })
    replace(number, () => this._due())
    this._attach(number, new BatchReader(stream), new BatchWriter(stream, () => this._writeRefused()))
    /** The callback of `_final`, while the writing direction finishes. */
    this._finishing = undefined
  }

  /** Handles a wakeup of the native stream. */
  _due() {
    if (this._finishing !== undefined) guarded(() => this._finish())
    this._sink.resume()
    // A writing direction that is done counts as finished in the next tick: a failure of the other
    // direction, for which the same wakeup may be, must not come before that.
    if (this.writableEnded && !this.writableFinished) this._schedulePump()
    else this._pump()
  }

  _final(callback) {
    this._sink.whenIdle(() => {
      this._finishing = callback
      this._finish()
    })
  }

  /** Finishes the writing direction, now or at a later wakeup. */
  _finish() {
    if (!this[native].finish()) return
    const callback = this._finishing
    this._finishing = undefined
    if (this[native].failure) this._finishFailed(callback)
    else callback()
  }

  _destroy(error, callback) {
    this._sink.flush()
    this._sink.discard(error ?? coded(new Error('the stream was destroyed'), 'STREAM_CLOSED'))
    unregister(this._number)
    this._closeNative(error)
    callback(error)
  }
}

/** A stream from `node.open`, `node.accept`, `node.reply` or `node.replies`. */
class NodeStream extends NativeDuplex {
  constructor(stream, number, limit) {
    super(stream, number, limit)
    this.peer = stream.id
    this.name = stream.name
    this._path = stream.path
    this._wrote = false
    // Like a socket, it reads ahead: a user that only writes, or waits, learns of a refusal or an
    // end.
    process.nextTick(() => this.read(0))
  }

  /** The path its bytes take now: `'neighbour'`, `'direct'` or `'relayed'`. */
  get path() {
    this._path = this[native].path ?? this._path
    return this._path
  }

  _writeRefused() {
    if (!this.destroyed) this.destroy(this._error())
  }

  /** Something that was written could not be sent. */
  _finishFailed(callback) {
    callback(this._error())
  }

  _sourceEnded() {
    if (!this[native].failure) this.push(null)
    else this.destroy(this._failureMatters() ? this._error() : undefined)
  }

  /**
   * Returns whether a failure has to be reported. Where nobody reads or listens and nothing that
   * was written is lost, the stream just closes.
   */
  _failureMatters() {
    return this.listenerCount('error') > 0 || this._isRead() || (this._wrote && !this.writableFinished)
  }

  _write(chunk, encoding, callback) {
    this._wrote = true
    super._write(chunk, encoding, callback)
  }

  _error() {
    const failure = this[native].failure
    return failure ? fromFailure(failure) : coded(new Error('the stream has ended'), 'STREAM_CLOSED')
  }

  /**
   * Closes the native stream: in order where this end was finished, else with a reset, so that a
   * destroyed stream never looks like a finished one to the other end.
   */
  _closeNative(error) {
    // `for await` destroys a stream that it has read to the end; that is not a failure.
    const inOrder = this.writableFinished || (this.readableEnded && (!error || error.code === 'ABORT_ERR'))
    const reason = error ? String(error.message ?? error) : 'the stream was destroyed'
    this[native].close(inOrder ? undefined : reason)
  }
}

/** A neighbour, and the stream to it. */
class Peer extends NativeDuplex {
  constructor(node, stream, number, limit) {
    super(stream, number, limit)
    Object.defineProperty(this, 'node', { value: node })
    this.id = stream.id
    this.remoteAddress = stream.address
    this.remotePort = stream.port
    this._closing = false
    this._linkGone = false
  }

  /** Returns the figures of the link, or `undefined` when it is closed. */
  metrics() {
    return (!this._linkGone && this[native].metrics()) || undefined
  }

  /** Closes the link, after what was written before has left or `CLOSE_TIMEOUT` is over. */
  close() {
    if (this._closing || this._linkGone || this.destroyed) return
    this._closing = true
    let done = false
    const close = () => {
      if (done) return
      done = true
      clearTimeout(timer)
      this[native].close()
    }
    const timer = setTimeout(close, CLOSE_TIMEOUT).unref()
    this._sink.whenIdle(close)
  }

  /** Called when the link is gone: ends the stream and then closes it, even if nobody reads. */
  _linkClosed() {
    if (this._linkGone) return
    this._linkGone = true
    if (this.destroyed) return
    if (this.readableEnded) this.destroy()
    else this.once('end', () => this.destroy())
    // A reader that has paused will resume. Without a reader, what is left is dropped.
    if (this.listenerCount('data') === 0 && this.listenerCount('readable') === 0) this.resume()
    this._schedulePump()
  }

  /** Does nothing: where writing fails because the link is gone, `_linkClosed` follows. */
  _writeRefused() {}

  /** Does nothing: programs for 0.2.x expect no error, so the stream closes without `finish`. */
  _finishFailed() {}

  _sourceEnded() {
    this.push(null)
  }

  _closeNative() {
    // After the link is gone there may be a new link to the same node, which has to stay.
    if (!this._linkGone) this[native].close()
  }
}

module.exports = { NodeStream, Peer }
