'use strict'
/**
 * The base of `broadcast`, peers and named streams: a Duplex over the native half in which one
 * write is one chunk at the other side.
 *
 * Node.js joins buffered data when a stream is read in byte mode. To keep chunks whole, this class
 * never lets more than one chunk into the buffer: `read` and `_read` record how much the reader
 * wants, and `_deliver` pushes the next chunk only when the buffer is below that. In flowing mode
 * the chunks go straight to the listeners. Nothing is pushed within a call of the user's code.
 */
const { Duplex } = require('node:stream')
const { coded } = require('./errors')

/** Chunks that go to listeners before timers and sockets get their turn. */
const MAX_PER_TURN = 16 * 1024
/**
 * Bytes that wait here before `write` returns false. The native half takes 512 KiB to 1 MiB more
 * before they begin to wait.
 */
const HIGH_WATER_MARK = 256 * 1024

class ChunkDuplex extends Duplex {
  /** @param limit the largest write, in bytes */
  constructor(limit) {
    super({ writableHighWaterMark: HIGH_WATER_MARK })
    this._limit = limit
    /** Whether Node.js has asked for data that was not pushed yet. */
    this._wanting = false
    /**
     * Bytes that `read` needs in the buffer: more than one chunk only if `read(size)` asked for it.
     */
    this._needed = 1
    this._pumpScheduled = false
    this._number = undefined
    this._source = undefined
    this._sink = undefined
    this._pump = this._pump.bind(this)
  }

  /**
   * Connects the stream with the native half.
   *
   * @param number the wakeup number of its reads, and of its writes where the sink is its own
   * @param source the BatchReader that chunks come from, or `undefined` until somebody reads
   * @param sink the BatchWriter that chunks go to
   */
  _attach(number, source, sink) {
    this._number = number
    this._source = source
    this._sink = sink
  }

  /** Writes one chunk. A chunk above the limit is refused as a whole, and the stream goes on. */
  write(chunk, encoding, callback) {
    const size = sizeOf(chunk, typeof encoding === 'string' ? encoding : this._writableState.defaultEncoding)
    if (size <= this._limit) return super.write(chunk, encoding, callback)
    const done = typeof encoding === 'function' ? encoding : callback
    const error = tooLarge(size, this._limit)
    process.nextTick(() => {
      if (typeof done === 'function') done(error)
      if (typeof done !== 'function' || this.listenerCount('error') > 0) this.emit('error', error)
    })
    return !this.writableNeedDrain
  }

  /** Ends writing. A last chunk above the limit is refused as in `write`. */
  end(chunk, encoding, callback) {
    if (typeof chunk === 'function') return super.end(chunk)
    const nothing = chunk === undefined || chunk === null
    if (nothing || this.writableEnded) return super.end(chunk, encoding, callback)
    if (typeof encoding === 'function') [encoding, callback] = [undefined, encoding]
    this.write(chunk, encoding)
    return super.end(callback)
  }

  read(size) {
    if (size !== 0) {
      this._needed = size > 1 ? Math.min(size, this._limit) : 1
      if (this.readableFlowing !== true) this._fetch()
    }
    const chunk = super.read(size)
    if (chunk !== null) this._needed = 1
    if (this._wanting && this.readableLength < this._needed) this._schedulePump()
    return chunk
  }

  _read() {
    this._wanting = true
    if (this.readableLength < this._needed) this._schedulePump()
  }

  /** Returns whether somebody reads the stream, or has paused it to read later. */
  _isRead() {
    return this.readableFlowing !== null || this.listenerCount('readable') > 0
  }

  /**
   * Pushes what a reader in paused mode needs now, so that it need not wait for an event per chunk.
   */
  _fetch() {
    while (!this.destroyed && !this.readableEnded && this.readableLength < this._needed) {
      if (!this._pushNext()) return
    }
  }

  /** Pumps at the end of the current call stack, never within a call of the user's. */
  _schedulePump() {
    if (this._pumpScheduled) return
    this._pumpScheduled = true
    process.nextTick(this._pump)
  }

  _pump() {
    this._pumpScheduled = false
    let completed = false
    try {
      this._deliver()
      completed = true
    } finally {
      // A listener threw: the remaining chunks follow in the next turn of the event loop.
      if (!completed) setImmediate(this._pump)
    }
  }

  /** Pushes chunks while there are any and the reader wants them. */
  _deliver() {
    for (let count = 0; ; count += 1) {
      if (this.destroyed || this.readableEnded || this.readableLength >= this._needed) return
      if (!this._wanting && !(this.readableFlowing && this.listenerCount('data') > 0)) return
      // Not by `defer`: the number is unregistered when the node stops, and the rest is still
      // delivered.
      if (count === MAX_PER_TURN) return void setImmediate(this._pump)
      if (!this._pushNext()) return
    }
  }

  /** Pushes the next chunk, or handles the end of the stream. Returns whether there was a chunk. */
  _pushNext() {
    if (this._source === undefined) return false
    if (this._source.ready()) {
      this._pushChunk(this._source.next())
      return true
    }
    if (this._source.ended) this._sourceEnded()
    return false
  }

  /**
   * Pushes a chunk. An empty one is nothing in a stream of bytes, and Node.js would take it for an
   * end.
   */
  _pushChunk(chunk) {
    if (chunk.length === 0) return
    this._wanting = false
    this.push(chunk)
  }

  /** Called when the source has ended and all its chunks were pushed. */
  _sourceEnded() {}

  _write(chunk, _encoding, callback) {
    this._sink.write(chunk, callback)
  }
}

/** Returns how many bytes a chunk has. */
function sizeOf(chunk, encoding) {
  if (typeof chunk === 'string') return Buffer.byteLength(chunk, encoding)
  return chunk?.byteLength ?? 0
}

function tooLarge(size, limit) {
  const text = `the message has ${size} bytes, the limit is ${limit}`
  const cure = 'split it, or raise maxMessage on every node'
  return coded(new RangeError(`${text}; ${cure}`), 'TOO_LARGE', { size, limit })
}

module.exports = { ChunkDuplex, tooLarge, MAX_PER_TURN }
