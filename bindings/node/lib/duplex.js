'use strict'
/**
 * What `broadcast`, peers and named streams have in common: a Duplex over the native half, where one write is one chunk at the
 * other side.
 */
const { Duplex } = require('node:stream')
const { coded } = require('./errors')

/** Chunks given to listeners before timers and sockets get their turn. */
const AT_ONCE = 16 * 1024
/** Written and not taken by the native half, before `write` returns false. The native half takes 512 KiB to 1 MiB more. */
const HIGH_WATER_MARK = 256 * 1024

/**
 * Node.js joins what is buffered when it is read in byte mode, so that never more than one chunk is buffered here: `read` and
 * `_read` say when there is room for the next one. While it flows, chunks go straight to the listeners.
 */
class ChunkDuplex extends Duplex {
  /** `limit`: bytes of one write at most. */
  constructor(limit) {
    super({ writableHighWaterMark: HIGH_WATER_MARK })
    this._limit = limit
    this._wanting = false
    /** So much has to be buffered for `read` to give anything: more than one chunk only if it was asked for so many bytes. */
    this._least = 1
    this._pumping = false
    this._number = undefined
    this._inlet = undefined
    this._outlet = undefined
    this._pump = this._pump.bind(this)
  }

  /** `number`: what the native half wakes for reads, and here also for writes. */
  _attach(number, inlet, outlet) {
    this._number = number
    this._inlet = inlet
    this._outlet = outlet
  }

  /** A message that is too large is refused whole, and the stream goes on. */
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

  /** The last chunk of all is refused as any other one. */
  end(chunk, encoding, callback) {
    if (typeof chunk === 'function') return super.end(chunk)
    if (chunk === undefined || chunk === null || this.writableEnded) return super.end(chunk, encoding, callback)
    if (typeof encoding === 'function') [encoding, callback] = [undefined, encoding]
    this.write(chunk, encoding)
    return super.end(callback)
  }

  read(size) {
    if (size !== 0) {
      this._least = size > 1 ? Math.min(size, this._limit) : 1
      if (this.readableFlowing !== true) this._fetch()
    }
    const chunk = super.read(size)
    if (chunk !== null) this._least = 1
    if (this._wanting && this.readableLength < this._least) this._pumpSoon()
    return chunk
  }

  _read() {
    this._wanting = true
    if (this.readableLength < this._least) this._pumpSoon()
  }

  /** Whether anybody reads, or has said when to go on. */
  _isRead() {
    return this.readableFlowing !== null || this.listenerCount('readable') > 0
  }

  /** Who reads in paused mode gets what is there, chunk by chunk, without waiting for an event each time. */
  _fetch() {
    while (!this.destroyed && !this.readableEnded && this.readableLength < this._least) {
      if (!this._inlet.ready()) {
        if (this._inlet.ended) this._ended()
        return
      }
      this._give(this._inlet.next())
    }
  }

  /** Never within a call of the user's. */
  _pumpSoon() {
    if (this._pumping) return
    this._pumping = true
    process.nextTick(this._pump)
  }

  _pump() {
    this._pumping = false
    let calm = false
    try {
      this._deliver()
      calm = true
    } finally {
      // A listener has thrown: what comes next is for the next turn of the event loop.
      if (!calm) setImmediate(this._pump)
    }
  }

  _deliver() {
    for (let count = 0; ; count += 1) {
      if (this.destroyed || this.readableEnded || this.readableLength >= this._least) return
      if (!this._wanting && !(this.readableFlowing && this.listenerCount('data') > 0)) return
      // Not by its number: where the node has stopped meanwhile, what has arrived is still given.
      if (count === AT_ONCE) return void setImmediate(this._pump)
      if (!this._inlet.ready()) {
        if (this._inlet.ended) this._ended()
        return
      }
      this._give(this._inlet.next())
    }
  }

  /** The next chunk; an empty one is nothing in a stream of bytes. */
  _give(chunk) {
    if (chunk.length === 0) return
    this._wanting = false
    this.push(chunk)
  }

  _ended() {}

  _write(chunk, _encoding, callback) {
    this._outlet.add(chunk, callback)
  }
}

function sizeOf(chunk, encoding) {
  if (typeof chunk === 'string') return Buffer.byteLength(chunk, encoding)
  return chunk?.byteLength ?? 0
}

function tooLarge(size, limit) {
  const text = `the message has ${size} bytes, the limit is ${limit}; split it, or raise maxMessage on every node`
  return coded(new RangeError(text), 'TOO_LARGE', { size, limit })
}

module.exports = { ChunkDuplex, tooLarge, AT_ONCE }
