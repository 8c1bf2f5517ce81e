'use strict'

// Streams between the nodes of two servers, for what is meant for one of them
// only. One is opened when there is something to say, kept while it is used,
// and opened again when it broke. Frames of one turn of the event loop go out
// together.

const { joinFrames } = require('./wire')

/** What waits for one node at most; beyond it what is new is dropped. */
const QUEUE_BYTES = 16 << 20
const CHUNK_BYTES = 64 << 10
/** A stream that nothing was written to for this long is ended. */
const IDLE_MS = 30_000
/** How long opening one may take. */
const OPEN_MS = 5000
/** Streams that one other node may have open to this one. */
const MAX_INCOMING = 4

class Links {
  /** @param hub has `received(id, chunk)` and `complain(kind, text)` */
  constructor(node, name, hub) {
    this.node = node
    this.name = name
    this.hub = hub
    /** Node id to Link. */
    this.outgoing = new Map()
    /** Node id to the streams that it opened. */
    this.incoming = new Map()
    this.acceptor = undefined
    this.closed = false
  }

  /** Accepts streams, if the node runs and this is not done already. */
  open() {
    this.closed = false
    if (this.acceptor) return
    try {
      this.acceptor = this.node.accept(this.name)
    } catch (error) {
      // A node that does not run yet: we are called again when it has a peer.
      if (!this.node.listening) return
      this.hub.complain('accept', `socket.io: no answers arrive here: ${error.message}`)
      return
    }
    this.#accept(this.acceptor)
  }

  async #accept(acceptor) {
    try {
      for await (const stream of acceptor) this.#accepted(stream)
    } catch (error) {
      if (!this.closed) this.node.logger.debug(`socket.io: ${error.message}`)
    }
    if (this.acceptor !== acceptor) return
    this.acceptor = undefined
    // It ends with the node's stop(); the node may have been started again.
    if (!this.closed && this.node.listening) this.open()
  }

  #accepted(stream) {
    const id = stream.peer
    const streams = this.incoming.get(id) ?? new Set()
    this.incoming.set(id, streams)
    streams.add(stream)
    if (streams.size > MAX_INCOMING) streams.values().next().value.destroy()
    stream.on('data', (chunk) => this.hub.received(id, chunk))
    stream.on('end', () => stream.end())
    stream.on('error', () => {})
    stream.on('close', () => {
      streams.delete(stream)
      if (streams.size === 0 && this.incoming.get(id) === streams) this.incoming.delete(id)
    })
  }

  /** Sends a frame to a node. Returns undefined, or an Error if it was dropped. */
  send(id, frame) {
    let link = this.outgoing.get(id)
    if (!link) {
      link = new Link(this, id)
      this.outgoing.set(id, link)
    }
    return link.send(frame)
  }

  /** Ends all: what was sent still arrives. */
  close() {
    this.closed = true
    const { acceptor } = this
    this.acceptor = undefined
    Promise.resolve(acceptor?.return()).catch(() => {})
    for (const link of this.outgoing.values()) link.end()
    for (const streams of this.incoming.values()) {
      for (const stream of streams) stream.end()
    }
  }
}

/** What this node says to another one. */
class Link {
  constructor(links, id) {
    this.links = links
    this.id = id
    this.queue = []
    this.queued = 0
    this.stream = undefined
    this.opening = false
    this.blocked = false
    this.flushing = false
    this.ending = false
    /** What one write may have, with what `joinFrames` adds. */
    this.limit = Math.min(links.node.options.maxMessage ?? Infinity, QUEUE_BYTES) - 16
    this.idle = undefined
    this.flush = this.flush.bind(this)
  }

  send(frame) {
    if (frame.length > this.limit) return new Error(`it is larger than ${this.limit} bytes`)
    if (this.queued + frame.length > QUEUE_BYTES) {
      return new Error(`more than ${QUEUE_BYTES} bytes wait for node ${this.id}`)
    }
    this.queue.push(frame)
    this.queued += frame.length
    if (!this.flushing) {
      this.flushing = true
      setImmediate(this.flush)
    }
    return undefined
  }

  flush() {
    this.flushing = false
    if (!this.stream) return this.#open()
    while (this.queue.length > 0 && !this.blocked) {
      let count = 0
      let bytes = 0
      do bytes += this.queue[count++].length
      while (count < this.queue.length && bytes + this.queue[count].length <= Math.min(CHUNK_BYTES, this.limit - 5 * count))
      const chunk = joinFrames(this.queue.splice(0, count), bytes)
      this.queued -= bytes
      this.blocked = !this.stream.write(chunk)
    }
    this.idle.refresh()
    if (this.ending && this.queue.length === 0) this.stream.end()
  }

  async #open() {
    if (this.opening || this.queue.length === 0) return
    this.opening = true
    const timeout = new AbortController()
    const timer = setTimeout(() => timeout.abort(), OPEN_MS)
    try {
      const { node, name } = this.links
      this.#use(await node.open(this.id, name, { signal: timeout.signal }))
    } catch (error) {
      // The other server asks again, or it is gone.
      this.links.node.logger.debug(`socket.io: node ${this.id} cannot be answered: ${error.message}`)
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
    this.idle = setTimeout(() => stream.end(), IDLE_MS)
    this.idle.unref()
    stream.on('drain', () => {
      this.blocked = false
      this.flush()
    })
    stream.on('error', () => {})
    // The other side says nothing here, but its end has to be read.
    stream.resume()
    stream.on('finish', () => this.#lost(stream))
    stream.on('close', () => this.#lost(stream))
  }

  /** The stream is over. Opens another if something still waits. */
  #lost(stream) {
    if (this.stream !== stream) return
    this.stream = undefined
    clearTimeout(this.idle)
    if (this.queue.length > 0) this.#open()
    else this.#forget()
  }

  #forget() {
    this.queue = []
    this.queued = 0
    if (this.links.outgoing.get(this.id) === this) this.links.outgoing.delete(this.id)
  }

  /** Ends the stream once all is written. */
  end() {
    this.ending = true
    if (this.stream) this.flush()
  }
}

module.exports = { Links }
