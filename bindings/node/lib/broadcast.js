'use strict'
/**
 * `node.broadcast`: what is written reaches everyone, what is read is what everyone else wrote.
 */
const { AT_ONCE, ChunkDuplex } = require('./duplex')
const { again, bell, guarded, replace, reserve, unregister } = require('./bell')
const { MessageInlet } = require('./transfer')

class Broadcast extends ChunkDuplex {
  /** `outlet` is the node's: what `node.send` takes goes the same way, in the order of the calls as long as nothing waits. */
  constructor(node, native, outlet, limit) {
    super(limit)
    Object.defineProperty(this, 'node', { value: node })
    const number = reserve()
    this._attach(number, new MessageInlet(native.reader(undefined, bell, number), () => node._happened()), outlet)
    this._native = native
    this._messages = undefined
  }

  on(event, listener) {
    if (event === 'message') this._listen()
    return super.on(event, listener)
  }

  addListener(event, listener) {
    return this.on(event, listener)
  }

  prependListener(event, listener) {
    if (event === 'message') this._listen()
    return super.prependListener(event, listener)
  }

  /** Messages are events from now on, for as long as somebody listens. */
  _listen() {
    if (!this.destroyed) this._messages ??= new Messages(this, this._native)
  }

  _give(chunk) {
    if (chunk !== undefined) return super._give(chunk)
    const gap = { from: this._inlet.writer(), missed: this._inlet.number() }
    guarded(() => this.emit('gap', gap))
  }

  /** The node was started (again). */
  _reopen() {
    if (this.destroyed) return
    replace(this._number, this._pump)
    this._pumpSoon()
    this._messages?.reopen()
  }

  /** It was stopped: what has arrived can still be read. */
  _rest() {
    unregister(this._number)
    this._messages?.rest()
  }

  _final(callback) {
    this._outlet.whenIdle(callback)
  }

  _destroy(error, callback) {
    unregister(this._number)
    this._messages?.close()
    this._inlet.close()
    callback(error)
  }
}

/** Events `message`, as long as somebody listens: whether the stream is read makes no difference to them. */
class Messages {
  constructor(broadcast, native) {
    this.broadcast = broadcast
    this.pump = this.pump.bind(this)
    this.number = reserve()
    const { node } = broadcast
    this.inlet = new MessageInlet(native.reader(undefined, bell, this.number), () => node._happened())
    if (node.listening) this.reopen()
  }

  reopen() {
    replace(this.number, this.pump)
    again(this.number)
  }

  rest() {
    unregister(this.number)
  }

  pump() {
    for (let count = 0; this.inlet !== undefined; count += 1) {
      if (this.broadcast.listenerCount('message') === 0) return this.close()
      if (!this.inlet.ready()) return
      if (count === AT_ONCE) return void setImmediate(this.pump)
      const { inlet } = this
      const data = inlet.next()
      const from = inlet.writer()
      if (data !== undefined) {
        guarded(() => this.broadcast.emit('message', data, from))
      } else if (!this.broadcast._isRead()) {
        // Where the stream is read it tells of the gap itself.
        guarded(() => this.broadcast.emit('gap', { from, missed: inlet.number() }))
      }
    }
  }

  close() {
    unregister(this.number)
    this.inlet?.close()
    this.inlet = undefined
    if (this.broadcast._messages === this) this.broadcast._messages = undefined
  }
}

module.exports = { Broadcast }
