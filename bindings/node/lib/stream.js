'use strict'
/**
 * Streams to one node: a named one to any node of the network, and the peer that a neighbour is.
 */
const { guarded, replace, unregister } = require('./bell')
const { ChunkDuplex } = require('./duplex')
const { coded, fromFailure } = require('./errors')
const { Inlet, Outlet } = require('./transfer')

const native = Symbol('native')

/** What was written before `close` may take this long to leave, in ms. */
const CLOSE_TIMEOUT = 5000

class NativeDuplex extends ChunkDuplex {
  constructor(stream, number, limit) {
    super(limit)
    Object.defineProperty(this, native, { value: stream })
    replace(number, () => this._due())
    this._attach(number, new Inlet(stream, 1, 64), new Outlet(stream, () => this._refused()))
    this._finishing = undefined
  }

  _due() {
    if (this._finishing !== undefined) guarded(() => this._finish())
    this._outlet.proceed()
    this._pump()
  }

  _final(callback) {
    this._outlet.whenIdle(() => {
      this._finishing = callback
      this._finish()
    })
  }

  _finish() {
    if (!this[native].finish()) return
    const callback = this._finishing
    this._finishing = undefined
    if (this[native].failure) this._notFinished(callback)
    else callback()
  }

  _destroy(error, callback) {
    this._outlet.flush()
    this._outlet.abandon(error ?? coded(new Error('the stream was destroyed'), 'STREAM_CLOSED'))
    unregister(this._number)
    this._closeNative(error)
    callback(error)
  }
}

/** From `node.open`, `node.accept`, `node.reply`, `node.replies`. */
class NodeStream extends NativeDuplex {
  constructor(stream, number, limit) {
    super(stream, number, limit)
    this.peer = stream.id
    this.name = stream.name
    this._path = stream.path
    this._wrote = false
    // As a socket: who only writes, or waits, learns that it was refused or has broken.
    process.nextTick(() => this.read(0))
  }

  /** The way its bytes take now: `'neighbour'`, `'direct'` or `'relayed'`. */
  get path() {
    this._path = this[native].path ?? this._path
    return this._path
  }

  _refused() {
    if (!this.destroyed) this.destroy(this._error())
  }

  /** Something that was written could not be sent. */
  _notFinished(callback) {
    callback(this._error())
  }

  _ended() {
    if (!this[native].failure) this.push(null)
    else this.destroy(this._isOfInterest() ? this._error() : undefined)
  }

  /** Whether its failure concerns anybody. What all was sent on, or nothing ever, and nobody reads or listens, just closes. */
  _isOfInterest() {
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

  /** What was ended in order stays so; a stream that is destroyed before must not look like one that has ended. */
  _closeNative(error) {
    // `for await` destroys what it has read to the end.
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
    this._gone = false
  }

  /** Ends the link; what was written before is sent first. */
  close() {
    if (this._closing || this._gone || this.destroyed) return
    this._closing = true
    let done = false
    const close = () => {
      if (done) return
      done = true
      clearTimeout(timer)
      this[native].close()
    }
    const timer = setTimeout(close, CLOSE_TIMEOUT).unref()
    this._outlet.whenIdle(close)
  }

  /** The link is gone: the stream ends, and is closed then, also where nobody reads. */
  _linkGone() {
    if (this._gone) return
    this._gone = true
    if (this.destroyed) return
    if (this.readableEnded) this.destroy()
    else this.once('end', () => this.destroy())
    // Who has paused it will go on; where nobody reads, what is left is dropped.
    if (this.listenerCount('data') === 0 && this.listenerCount('readable') === 0) this.resume()
    this._pumpSoon()
  }

  /** Nothing more can be written; where that is because the link has gone, the end follows. */
  _refused() {}

  /** Nor is that an error, which old programs do not expect: it closes without having finished. */
  _notFinished() {}

  _ended() {
    this.push(null)
  }

  /** Where the link has gone already there may be a new one to this node: it stays. */
  _closeNative() {
    if (!this._gone) this[native].close()
  }
}

/** Makes a stream of a native one whose number is this one. */
function named(stream, number, limit) {
  return new NodeStream(stream, number, limit)
}

module.exports = { NodeStream, Peer, named }
