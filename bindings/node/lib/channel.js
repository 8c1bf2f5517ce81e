'use strict'
/**
 * A broadcast stream apart from `node.broadcast`: a message reaches those who have opened a channel
 * of the same name, on any node, and nobody else. The socket.io adapter of this package uses it.
 *
 * A channel has its own native reader and writer. It pushes what arrives to `onmessage` and
 * `ongap`, without streams and events, because the adapter sends many small messages. It may be
 * opened before the node starts, and works again after a stop and a start.
 */
const { MAX_PER_TURN, tooLarge } = require('./chunk-duplex')
const { Node, nativeNode } = require('./node')
const { BatchWriter } = require('./batch-writer')
const { MessageReader } = require('./batch-reader')
const { defer, register, unregister, wakeQueue } = require('./wakeups')
const { guarded } = require('./guarded')
const { optionType } = require('./errors')

/** Returns the id that the network knows the node by, whatever `node.id` was set to. */
function wireId(node) {
  return checked(node)._wireId
}

/** Opens the channel with this name. Set `onmessage`, `ongap` and `ondrain` in the same turn. */
function openChannel(node, name) {
  return new Channel(checked(node), name)
}

function checked(node) {
  if (!(node instanceof Node)) throw optionType('node', 'a node from createNode()', node)
  return node
}

class Channel {
  constructor(node, name) {
    /** Called as `onmessage(from, data)` for each message. */
    this.onmessage = () => {}
    /** Called as `ongap(from, missed)` for messages that were lost. */
    this.ongap = () => {}
    /** Called when `trySend` may succeed again. */
    this.ondrain = () => {}
    this.limit = node.options.maxMessage
    this.number = register(() => this.due())
    const reader = node[nativeNode].reader(name, wakeQueue, this.number)
    this.source = new MessageReader(reader, () => node._dispatchEvents())
    this.sink = new BatchWriter(node[nativeNode].writer(name, wakeQueue, this.number), () => {})
    this.sink.onDrain = () => this.ondrain()
    this.detach = node._attachChannel(this)
    this.due()
  }

  /**
   * Sends a message. Returns false if there is no room now, or the node is stopped; `ondrain` is
   * called when that may have changed. Throws `ERR_SMOKESIGNAL_TOO_LARGE` above the node's limit.
   */
  trySend(data) {
    if (data.length > this.limit) throw tooLarge(data.length, this.limit)
    if (this.source === undefined || this.sink.blocked) return false
    this.sink.write(data, () => {})
    return true
  }

  /** Handles a wakeup: there may be room to write, or messages to read. */
  due() {
    this.sink.resume()
    for (let count = 0; this.source?.ready(); count += 1) {
      if (count === MAX_PER_TURN) return defer(this.number)
      const { source } = this
      const data = source.next()
      const from = source.writer()
      guarded(() => (data === undefined ? this.ongap(from, source.seq()) : this.onmessage(from, data)))
    }
  }

  /** Called when the node has started, also when it starts again. */
  nodeStarted() {
    defer(this.number)
  }

  /** Called when the node has stopped. */
  nodeStopped() {
    if (this.source === undefined) this.release()
  }

  /** Stops reading. Messages that were taken are still sent. */
  close() {
    if (this.source === undefined) return
    this.source.close()
    this.source = undefined
    this.sink.whenIdle(() => this.release())
  }

  release() {
    this.detach()
    unregister(this.number)
  }
}

module.exports = { openChannel, wireId }
