'use strict'
/**
 * Streams between the nodes of two servers, for messages that are meant for one of them only.
 *
 * A stream carries one direction. It is opened when there is something to send, kept while it is
 * used, ended when it was idle for `IDLE_MS`, and opened again when it broke. Frames of one turn of
 * the event loop are joined into one chunk.
 */
const { joinFrames } = require('./wire')

/** Bytes that may wait for one node. Beyond that, new frames are dropped. */
const QUEUE_BYTES = 16 << 20
/** Frames are joined into chunks of up to this many bytes. */
const CHUNK_BYTES = 64 << 10
/** What `joinFrames` adds to a chunk, and to each frame in it, at most. */
const CHUNK_OVERHEAD = 16
const FRAME_OVERHEAD = 5
/** A stream that nothing was written to for this long is ended, in ms. */
const IDLE_MS = 30_000
/** How long opening a stream may take, in ms. */
const OPEN_MS = 5000
/** Streams that one other node may have open to this one. The oldest is destroyed first. */
const MAX_INCOMING = 4

class DirectStreams {
  /**
   * @param node the Node
   * @param name the name of the streams
   * @param bus has `receiveDirectChunk(id, chunk)` and `warn(kind, text)`
   */
  constructor(node, name, bus) {
    this.node = node
    this.name = name
    this.bus = bus
    /** OutgoingStream by node id. */
    this.outgoing = new Map()
    /** The streams that a node has opened, by its id. */
    this.incoming = new Map()
    this.acceptor = undefined
    this.closed = false
  }

  /** Accepts streams, if the node runs and they are not accepted already. */
  open() {
    this.closed = false
    if (this.acceptor) return
    try {
      this.acceptor = this.node.accept(this.name)
    } catch (error) {
      // A node that does not run yet: `open` is called again when it has a peer.
      if (!this.node.listening) return
      this.bus.warn('accept', `socket.io: answers cannot be received here: ${error.message}`)
      return
    }
    this.#accept(this.acceptor)
  }

  async #accept(acceptor) {
    try {
      for await (const stream of acceptor) this.#accepted(stream)
    } catch (error) {
      if (!this.closed) this.node.logger.debug(`socket.io: accepting streams has failed: ${error.message}`)
    }
    if (this.acceptor !== acceptor) return
    this.acceptor = undefined
    // The iteration ends when the node stops. The node may have been started again since.
    if (!this.closed && this.node.listening) this.open()
  }

  #accepted(stream) {
    const id = stream.peer
    const streams = this.incoming.get(id) ?? new Set()
    this.incoming.set(id, streams)
    streams.add(stream)
    if (streams.size > MAX_INCOMING) streams.values().next().value.destroy()
    stream.on('data', (chunk) => this.bus.receiveDirectChunk(id, chunk))
    stream.on('end', () => stream.end())
    stream.on('error', () => {})
    stream.on('close', () => {
      streams.delete(stream)
      if (streams.size === 0 && this.incoming.get(id) === streams) this.incoming.delete(id)
    })
  }

  /** Sends a frame to a node. Returns `undefined`, or an Error if the frame is dropped. */
  send(id, frame) {
    let outgoing = this.outgoing.get(id)
    if (!outgoing) {
      outgoing = new OutgoingStream(this, id)
      this.outgoing.set(id, outgoing)
    }
    return outgoing.send(frame)
  }

  /** Ends all streams. What was sent still arrives. */
  close() {
    this.closed = true
    const { acceptor } = this
    this.acceptor = undefined
    Promise.resolve(acceptor?.return()).catch(() => {})
    for (const outgoing of this.outgoing.values()) outgoing.end()
    for (const streams of this.incoming.values()) {
      for (const stream of streams) stream.end()
    }
  }
}

/** Frames from this node to another one. */
class OutgoingStream {
  constructor(streams, id) {
    this.streams = streams
    this.id = id
    this.queue = []
    this.queued = 0
    this.stream = undefined
    this.opening = false
    /** Whether the stream has no room, and `drain` will follow. */
    this.blocked = false
    this.flushPending = false
    this.ending = false
    /** The largest frame that one write may carry. */
    this.limit = Math.min(streams.node.options.maxMessage ?? Infinity, QUEUE_BYTES) - CHUNK_OVERHEAD
    /** Ends the stream when it was idle. */
    this.idleTimer = undefined
    this.flush = this.flush.bind(this)
  }

  send(frame) {
    if (frame.length > this.limit) return new Error(`it is larger than ${this.limit} bytes`)
    if (this.queued + frame.length > QUEUE_BYTES) {
      return new Error(`more than ${QUEUE_BYTES} bytes wait for node ${this.id}`)
    }
    this.queue.push(frame)
    this.queued += frame.length
    if (!this.flushPending) {
      this.flushPending = true
      setImmediate(this.flush)
    }
    return undefined
  }

  flush() {
    this.flushPending = false
    if (!this.stream) return this.#open()
    while (this.queue.length > 0 && !this.blocked) this.#writeChunk()
    this.idleTimer.refresh()
    if (this.ending && this.queue.length === 0) this.stream.end()
  }

  /** Writes as many frames as fit into one chunk, but at least one. */
  #writeChunk() {
    let count = 0
    let bytes = 0
    const fits = (frame) => bytes + frame.length <= Math.min(CHUNK_BYTES, this.limit - FRAME_OVERHEAD * count)
    do bytes += this.queue[count++].length
    while (count < this.queue.length && fits(this.queue[count]))
    const chunk = joinFrames(this.queue.splice(0, count), bytes)
    this.queued -= bytes
    this.blocked = !this.stream.write(chunk)
  }

  async #open() {
    if (this.opening || this.queue.length === 0) return
    this.opening = true
    const timeout = new AbortController()
    const timer = setTimeout(() => timeout.abort(), OPEN_MS)
    try {
      const { node, name } = this.streams
      this.#use(await node.open(this.id, name, { signal: timeout.signal }))
    } catch (error) {
      // The other server asks again, or it is gone.
      this.streams.node.logger.debug(`socket.io: node ${this.id} cannot be answered: ${error.message}`)
      this.#forget()
    } finally {
      clearTimeout(timer)
      this.opening = false
    }
    if (this.stream) this.flush()
  }

  #use(stream) {
    this.stream = stream
    this.blocked = false
    this.idleTimer = setTimeout(() => stream.end(), IDLE_MS)
    this.idleTimer.unref()
    stream.on('drain', () => {
      this.blocked = false
      this.flush()
    })
    stream.on('error', () => {})
    // The other side writes nothing here, but its end has to be read.
    stream.resume()
    stream.on('finish', () => this.#streamEnded(stream))
    stream.on('close', () => this.#streamEnded(stream))
  }

  /** Opens another stream if frames still wait. */
  #streamEnded(stream) {
    if (this.stream !== stream) return
    this.stream = undefined
    clearTimeout(this.idleTimer)
    if (this.queue.length > 0) this.#open()
    else this.#forget()
  }

  #forget() {
    this.queue = []
    this.queued = 0
    if (this.streams.outgoing.get(this.id) === this) this.streams.outgoing.delete(this.id)
  }

  /** Ends the stream once everything is written. */
  end() {
    this.ending = true
    if (this.stream) this.flush()
  }
}

module.exports = { DirectStreams }
