'use strict'
/**
 * `node.broadcast`: a Duplex to the whole network.
 *
 * Writes go through the node's BatchWriter, which `node.send` uses as well, so both keep the order
 * of the calls. Reads come from a native reader that the stream opens when somebody begins to read:
 * without one, nothing is kept for it. The event `message` has a reader of its own, which exists
 * only while somebody listens: whether the stream is read makes no difference to the event, and the
 * other way round. Gaps are reported once, by the
 * stream where it is read and by the event's reader otherwise.
 */
const { ChunkDuplex, MAX_PER_TURN } = require('./chunk-duplex')
const { MessageReader } = require('./batch-reader')
const { defer, replace, reserve, unregister, wakeQueue } = require('./wakeups')
const { guarded } = require('./guarded')

class Broadcast extends ChunkDuplex {
  /**
   * @param node the Node
   * @param native its native node
   * @param sink the node's BatchWriter
   * @param limit the largest message, in bytes
   */
  constructor(node, native, sink, limit) {
    super(limit)
    Object.defineProperty(this, 'node', { value: node })
    this._attach(reserve(), undefined, sink)
    this._native = native
    this._messages = undefined
  }

  on(event, listener) {
    this._listened(event)
    return super.on(event, listener)
  }

  addListener(event, listener) {
    return this.on(event, listener)
  }

  prependListener(event, listener) {
    this._listened(event)
    return super.prependListener(event, listener)
  }

  read(size) {
    this._open()
    return super.read(size)
  }

  resume() {
    this._open()
    return super.resume()
  }

  /** Pauses the stream, which keeps what arrives from now on for a later reader. */
  pause() {
    this._open()
    return super.pause()
  }

  _listened(event) {
    if (event === 'message') this._emitMessages()
    if (event === 'data' || event === 'readable') this._open()
  }

  /** Reads what arrives from now on. Until somebody reads, nothing is kept for this stream. */
  _open() {
    if (this._source !== undefined || this.destroyed) return
    const reader = this._native.reader(undefined, wakeQueue, this._number)
    this._source = new MessageReader(reader, () => this.node._dispatchEvents())
    if (this.node.listening) this._schedulePump()
  }

  /** Emits messages as events from now on, while somebody listens. */
  _emitMessages() {
    if (!this.destroyed) this._messages ??= new MessageEvents(this, this._native)
  }

  _pushChunk(chunk) {
    if (chunk !== undefined) return super._pushChunk(chunk)
    const notice = this._source.notice()
    // A stream of bytes goes on after the end of one of its writers.
    if (notice.missed !== undefined) guarded(() => this.emit('gap', notice))
  }

  /** Called when the node has started, also when it starts again. */
  _nodeStarted() {
    if (this.destroyed) return
    replace(this._number, this._pump)
    this._schedulePump()
    this._messages?.nodeStarted()
  }

  /** Called when the node has stopped. Messages that have arrived can still be read. */
  _nodeStopped() {
    unregister(this._number)
    this._messages?.nodeStopped()
  }

  _final(callback) {
    this._sink.whenIdle(() => void this._sink.finish().then(() => process.nextTick(callback)))
  }

  _destroy(error, callback) {
    unregister(this._number)
    this._messages?.close()
    this._source?.close()
    callback(error)
  }
}

/** Emits the event `message` for each message, until nobody listens any more. */
class MessageEvents {
  constructor(broadcast, native) {
    this.broadcast = broadcast
    this.pump = this.pump.bind(this)
    this.number = reserve()
    const { node } = broadcast
    const reader = native.reader(undefined, wakeQueue, this.number)
    this.source = new MessageReader(reader, () => node._dispatchEvents())
    if (node.listening) this.nodeStarted()
  }

  nodeStarted() {
    replace(this.number, this.pump)
    defer(this.number)
  }

  nodeStopped() {
    unregister(this.number)
  }

  pump() {
    for (let count = 0; this.source !== undefined; count += 1) {
      if (this.broadcast.listenerCount('message') === 0) return this.close()
      if (!this.source.ready()) return
      if (count === MAX_PER_TURN) return void setImmediate(this.pump)
      const { source } = this
      const data = source.next()
      if (data !== undefined) {
        const [from, age] = [source.writer(), source.age()]
        guarded(() => this.broadcast.emit('message', data, from, age))
        continue
      }
      const notice = source.notice()
      // A stream that is read reports the gap itself.
      const unreported = notice.missed !== undefined && !this.broadcast._isRead()
      if (unreported) guarded(() => this.broadcast.emit('gap', notice))
    }
  }

  close() {
    unregister(this.number)
    this.source?.close()
    this.source = undefined
    if (this.broadcast._messages === this) this.broadcast._messages = undefined
  }
}

module.exports = { Broadcast }
