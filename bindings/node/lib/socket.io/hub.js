'use strict'

// What all adapters over one node share: one channel to all other servers, one
// stream to each server that is answered, and the way between two `io` objects
// of this process.
//
// What is published together goes out together, in one message. What the
// channel does not take waits here, in order.

const { openChannel, wireId } = require('../channel')
const { Links } = require('./links')
const {
  DecodeError, joinFrames, splitFrames, openPublished, openDirect, nodeOf, tagOf, uidOf,
} = require('./wire')

/** The name of the channel and of the streams. */
const NAME = 'socket.io'
/** What waits for the channel at most, or for the network to be there. */
const QUEUE_BYTES = 16 << 20
/** Frames are joined up to this size. */
const CHUNK_BYTES = 64 << 10
/** Uids of servers that are remembered. */
const MAX_UIDS = 4096
/** How long `io.close()` waits for what it published to leave. */
const CLOSE_MS = 1000
/** Milliseconds between two lines of the log about the same trouble. */
const LOG_MS = 1000

const hubs = new WeakMap()

class Hub {
  /** Returns the hub of a node. */
  static of(node) {
    let hub = hubs.get(node)
    if (!hub) hubs.set(node, hub = new Hub(node))
    return hub
  }

  constructor(node) {
    this.node = node
    this.id = wireId(node)
    /** Adapters by tag, and the tags of each namespace. */
    this.adapters = new Map()
    this.namespaces = new Map()
    /** The uids of servers by tag, with their node. */
    this.uids = new Map()
    this.links = new Links(node, NAME, this)
    /** Frames that wait for the channel: `{ adapter, bytes }`. */
    this.queue = []
    this.queued = 0
    /** Frames for other adapters of this process. */
    this.local = []
    this.chunk = undefined
    this.flushing = false
    /** Called when the queue is empty. */
    this.draining = []
    this.troubles = new Map()
    /** Frames that could not be read. */
    this.malformed = 0
    this.announce = this.announce.bind(this)
    this.flush = this.flush.bind(this)
    this.turn = undefined
    this.turnOver = () => {
      this.turn = undefined
      if (this.flushing) this.flush()
    }
  }

  // ---- Adapters ----

  add(adapter) {
    this.adapters.set(adapter.tag, adapter)
    const siblings = this.namespaces.get(adapter.nsp.name)
    if (siblings) siblings.add(adapter)
    else this.namespaces.set(adapter.nsp.name, new Set([adapter]))
    if (!this.channel) this.open()
  }

  /** Takes an adapter out. Resolves when what it published has left, or will not. */
  async remove(adapter) {
    this.flush()
    this.adapters.delete(adapter.tag)
    const siblings = this.namespaces.get(adapter.nsp.name)
    siblings.delete(adapter)
    if (siblings.size === 0) this.namespaces.delete(adapter.nsp.name)
    if (this.queue.length > 0 && this.node.listening) {
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, CLOSE_MS)
        this.draining.push(() => {
          clearTimeout(timer)
          resolve()
        })
      })
    }
    if (this.adapters.size === 0) this.close()
  }

  open() {
    const channel = openChannel(this.node, NAME)
    channel.onmessage = (from, data) => this.#published(from, data)
    channel.ongap = (from, missed) => this.#gap(from, missed)
    channel.ondrain = () => this.flush()
    this.channel = channel
    this.links.open()
    this.node.on('connect', this.announce)
    this.node.on('netsplit resolved', this.announce)
  }

  close() {
    if (!this.channel) return
    this.node.off('connect', this.announce)
    this.node.off('netsplit resolved', this.announce)
    this.links.close()
    this.channel.close()
    this.channel = this.chunk = undefined
    this.queue = []
    this.queued = 0
  }

  /** Makes the servers known to others that could not hear them before. */
  announce() {
    this.links.open()
    for (const adapter of this.adapters.values()) adapter.announce()
    this.flush()
  }

  // ---- Sending ----

  /**
   * Publishes a frame to all servers. Returns undefined if it will get there,
   * else an Error; servers of this process get it in any case. With `passing`
   * it does not wait for a network that is not there: it would say nothing by then.
   */
  publish(adapter, bytes, passing) {
    if (this.namespaces.get(adapter.nsp.name)?.size > 1) {
      this.local.push({ adapter, bytes })
      this.#flushSoon()
    }
    if (passing && this.chunk) return undefined
    if (this.queued + bytes.length > QUEUE_BYTES) this.#drain()
    if (this.queued + bytes.length > QUEUE_BYTES) {
      return new Error(`more than ${QUEUE_BYTES} bytes wait for the network`)
    }
    this.queue.push({ adapter, bytes })
    this.queued += bytes.length
    this.#flushSoon()
    return undefined
  }

  /** Sends a frame to one server. Returns undefined if it is on its way, else an Error. */
  send(uid, bytes) {
    const node = nodeOf(uid)
    if (node !== this.id) return this.links.send(node, bytes)
    this.local.push({ to: tagOf(uid), bytes })
    this.#flushSoon()
    return undefined
  }

  /** The first of a turn of the event loop leaves at once, with all of the same callback; what follows leaves at its end. */
  #flushSoon() {
    if (this.flushing) return
    this.flushing = true
    if (this.turn) return
    this.turn = setImmediate(this.turnOver)
    process.nextTick(this.flush)
  }

  flush() {
    this.flushing = false
    this.#deliverLocally()
    this.#drain()
  }

  /** Hands over what waits, as far as the channel takes it. */
  #drain() {
    while (this.queue.length > 0 && this.channel) {
      this.chunk ??= this.#nextChunk(CHUNK_BYTES)
      let taken
      try {
        taken = this.channel.trySend(this.chunk.bytes)
      } catch (error) {
        this.#tooLarge(error)
        continue
      }
      if (!taken) return
      this.#discard(this.chunk.count)
    }
    for (const drained of this.draining.splice(0)) drained()
  }

  /** Joins frames up to a size, but always one. */
  #nextChunk(limit) {
    const frames = []
    let bytes = 0
    for (const frame of this.queue) {
      if (frames.length > 0 && bytes + frame.bytes.length > limit) break
      frames.push(frame.bytes)
      bytes += frame.bytes.length
    }
    return { bytes: joinFrames(frames, bytes), count: frames.length }
  }

  #discard(count) {
    for (const { bytes } of this.queue.splice(0, count)) this.queued -= bytes.length
    this.chunk = undefined
  }

  /** The node's limit is below our size of chunks: tries the first frame alone, or drops it. */
  #tooLarge(error) {
    if (this.chunk.count > 1) {
      this.chunk = this.#nextChunk(0)
      return
    }
    const [{ adapter }] = this.queue
    this.#discard(1)
    adapter.dropping(error)
  }

  #deliverLocally() {
    if (this.local.length === 0) return
    const frames = this.local
    this.local = []
    for (const { adapter, to, bytes } of frames) {
      if (to !== undefined) {
        this.#guard(this.id, () => this.#answer(this.id, bytes))
        continue
      }
      for (const sibling of [...this.namespaces.get(adapter.nsp.name) ?? []]) {
        if (sibling === adapter) continue
        this.#guard(this.id, () => {
          const frame = openPublished(bytes)
          sibling.receive(uidOf(this.id, frame.tag), frame, bytes)
        })
      }
    }
  }

  // ---- Receiving ----

  #published(from, chunk) {
    this.#guard(from, () => splitFrames(chunk, (bytes) => {
      this.#guard(from, () => {
        const frame = openPublished(bytes)
        const adapters = this.namespaces.get(frame.nsp)
        if (!adapters) return
        const uid = this.#uidOf(from, frame.tag)
        if (adapters.size === 1) {
          for (const adapter of adapters) adapter.receive(uid, frame, bytes)
          return
        }
        // Each reads its own copy: socket.io changes what it delivers.
        for (const adapter of [...adapters]) {
          this.#guard(from, () => adapter.receive(uid, openPublished(bytes), bytes))
        }
      })
    }))
  }

  /** As `uidOf`, but with the same text each time: it need not be made, and hashed, for each message. */
  #uidOf(node, tag) {
    const known = this.uids.get(tag)
    if (known?.node === node) return known.uid
    const uid = uidOf(node, tag)
    if (this.uids.size >= MAX_UIDS) this.uids.clear()
    this.uids.set(tag, { node, uid })
    return uid
  }

  /** Called by the links with what a node sent to this one alone. */
  received(from, chunk) {
    this.#guard(from, () => splitFrames(chunk, (bytes) => {
      this.#guard(from, () => this.#answer(from, bytes))
    }))
  }

  #answer(from, bytes) {
    const frame = openDirect(bytes)
    const adapter = this.adapters.get(frame.to)
    if (adapter?.nsp.name === frame.nsp) adapter.receiveDirect(uidOf(from, frame.tag), frame)
  }

  #gap(from, missed) {
    this.complain('gap', `socket.io: messages of node ${from} were lost`, missed)
    for (const adapter of this.adapters.values()) adapter.doubt(from)
  }

  /** Runs what reads bytes of a node. Broken ones are counted; what a listener throws goes where it would without us. */
  #guard(from, run) {
    try {
      run()
    } catch (error) {
      if (error instanceof DecodeError) {
        this.malformed++
        this.complain('malformed', `socket.io: node ${from} sent what cannot be read: ${error.message}`)
      } else {
        process.nextTick(() => { throw error })
      }
    }
  }

  /** Writes a line to the log, but at most one a second of each kind: it then says how often it happened. */
  complain(kind, text, count = 1) {
    const trouble = this.troubles.get(kind) ?? { count: 0, at: -Infinity }
    this.troubles.set(kind, trouble)
    trouble.count += count
    const now = performance.now()
    if (now - trouble.at < LOG_MS) return
    this.node.logger.warn(trouble.count > 1 ? `${text} (${trouble.count} times)` : text)
    trouble.count = 0
    trouble.at = now
  }
}

module.exports = { Hub }
