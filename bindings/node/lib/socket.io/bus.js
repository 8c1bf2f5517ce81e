'use strict'
/**
 * What all adapters over one node share: one channel to all other servers, one stream to each
 * server that gets direct messages, and the delivery between `io` objects of this process.
 *
 * Adapters hand over frames (see wire.js). Published frames are queued and joined into chunks, so
 * that everything of one turn of the event loop leaves in few messages; what the channel has no
 * room for waits in the queue, in order. Incoming chunks are split, and each frame goes to the
 * adapters of its namespace. Frames for an adapter of the same process take neither way and are
 * delivered at the next flush.
 */
const { openChannel, wireId } = require('../channel')
const { DirectStreams } = require('./direct-streams')
const {
  DecodeError,
  joinFrames,
  splitFrames,
  openPublished,
  openDirect,
  nodeOf,
  tagOf,
  uidOf
} = require('./wire')

/** The name of the channel and of the streams. */
const NAME = 'socket.io'
/** Bytes that may wait for the channel. Beyond that, a publish is dropped for the other servers. */
const QUEUE_BYTES = 16 << 20
/** Frames are joined into chunks of up to this many bytes. */
const CHUNK_BYTES = 64 << 10
/** Uids of servers that are cached. All are dropped when there are more. */
const MAX_UIDS = 4096
/** How long closing waits for published frames to leave, in ms. */
const CLOSE_MS = 1000
/** The shortest time between two warnings about the same problem, in ms. */
const WARN_MS = 1000

const buses = new WeakMap()

class ClusterBus {
  /** Returns the bus of a node. */
  static of(node) {
    let bus = buses.get(node)
    if (!bus) buses.set(node, (bus = new ClusterBus(node)))
    return bus
  }

  constructor(node) {
    this.node = node
    this.id = wireId(node)
    /** Adapters by tag, and by the name of their namespace. */
    this.adapters = new Map()
    this.namespaces = new Map()
    /** The uids of other servers by tag, with their node. */
    this.uids = new Map()
    this.streams = new DirectStreams(node, NAME, this)
    /** Frames that wait for the channel: `{ adapter, bytes }`. */
    this.queue = []
    this.queued = 0
    /** Frames for other adapters of this process. */
    this.local = []
    /** The chunk that the channel had no room for: `{ bytes, count }`. */
    this.chunk = undefined
    /** Called when the queue is empty. */
    this.drainCallbacks = []
    this.warnings = new Map()
    /** How many frames could not be decoded. */
    this.malformed = 0
    this.flushPending = false
    /** The timer that marks the end of this turn of the event loop. */
    this.turn = undefined
    this.announce = this.announce.bind(this)
    this.flush = this.flush.bind(this)
    this.turnEnded = () => {
      this.turn = undefined
      if (this.flushPending) this.flush()
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

  /** Removes an adapter. Resolves when its frames have left, or `CLOSE_MS` is over. */
  async remove(adapter) {
    this.flush()
    this.adapters.delete(adapter.tag)
    const siblings = this.namespaces.get(adapter.nsp.name)
    siblings.delete(adapter)
    if (siblings.size === 0) this.namespaces.delete(adapter.nsp.name)
    if (this.queue.length > 0 && this.node.listening) {
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, CLOSE_MS)
        this.drainCallbacks.push(() => {
          clearTimeout(timer)
          resolve()
        })
      })
    }
    if (this.adapters.size === 0) this.close()
  }

  open() {
    const channel = openChannel(this.node, NAME)
    channel.onmessage = (from, data) => this.#receiveChunk(from, data)
    channel.ongap = (from, missed) => this.#receiveGap(from, missed)
    channel.ondrain = () => this.flush()
    this.channel = channel
    this.streams.open()
    this.node.on('connect', this.announce)
    this.node.on('netsplit resolved', this.announce)
  }

  close() {
    if (!this.channel) return
    this.node.off('connect', this.announce)
    this.node.off('netsplit resolved', this.announce)
    this.streams.close()
    this.channel.close()
    this.channel = this.chunk = undefined
    this.queue = []
    this.queued = 0
  }

  /** Introduces the adapters to servers that could not hear them before. */
  announce() {
    this.streams.open()
    for (const adapter of this.adapters.values()) adapter.announce()
    this.flush()
  }

  // ---- Sending ----

  /**
   * Publishes a frame to all servers. Returns `undefined`, or an Error if the other servers will
   * not get it; servers of this process get it in any case.
   *
   * @param {boolean} transient whether the frame is worthless later, so that it is skipped while
   *   the channel has no room
   */
  publish(adapter, bytes, transient) {
    if (this.namespaces.get(adapter.nsp.name)?.size > 1) {
      this.local.push({ adapter, bytes })
      this.#scheduleFlush()
    }
    if (transient && this.chunk) return undefined
    if (this.queued + bytes.length > QUEUE_BYTES) this.#drainQueue()
    if (this.queued + bytes.length > QUEUE_BYTES) {
      return new Error(`more than ${QUEUE_BYTES} bytes wait for the network`)
    }
    this.queue.push({ adapter, bytes })
    this.queued += bytes.length
    this.#scheduleFlush()
    return undefined
  }

  /** Sends a frame to one server. Returns `undefined`, or an Error if the frame is dropped. */
  send(uid, bytes) {
    const node = nodeOf(uid)
    if (node !== this.id) return this.streams.send(node, bytes)
    this.local.push({ to: tagOf(uid), bytes })
    this.#scheduleFlush()
    return undefined
  }

  /**
   * Schedules a flush. The first frame of a turn leaves at the end of the current callback, which
   * keeps the latency low; later ones leave together at the end of the turn, which keeps the
   * messages few.
   */
  #scheduleFlush() {
    if (this.flushPending) return
    this.flushPending = true
    if (this.turn) return
    this.turn = setImmediate(this.turnEnded)
    process.nextTick(this.flush)
  }

  flush() {
    this.flushPending = false
    this.#deliverLocally()
    this.#drainQueue()
  }

  /** Hands queued frames to the channel while it has room. */
  #drainQueue() {
    while (this.queue.length > 0 && this.channel) {
      this.chunk ??= this.#nextChunk(CHUNK_BYTES)
      let taken
      try {
        taken = this.channel.trySend(this.chunk.bytes)
      } catch (error) {
        this.#chunkTooLarge(error)
        continue
      }
      if (!taken) return
      this.#dequeue(this.chunk.count)
    }
    for (const drained of this.drainCallbacks.splice(0)) drained()
  }

  /** Joins the first frames of the queue up to `limit` bytes, but at least one. */
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

  #dequeue(count) {
    for (const { bytes } of this.queue.splice(0, count)) this.queued -= bytes.length
    this.chunk = undefined
  }

  /** Handles a chunk above the node's `maxMessage`: sends its first frame alone, or drops it. */
  #chunkTooLarge(error) {
    if (this.chunk.count > 1) {
      this.chunk = this.#nextChunk(0)
      return
    }
    const [{ adapter }] = this.queue
    this.#dequeue(1)
    adapter.publishDropped(error)
  }

  #deliverLocally() {
    if (this.local.length === 0) return
    const frames = this.local
    this.local = []
    for (const { adapter, to, bytes } of frames) {
      if (to !== undefined) {
        this.#decoding(this.id, () => this.#receiveDirectFrame(this.id, bytes))
        continue
      }
      for (const sibling of [...(this.namespaces.get(adapter.nsp.name) ?? [])]) {
        if (sibling === adapter) continue
        this.#decoding(this.id, () => {
          const frame = openPublished(bytes)
          sibling.receive(uidOf(this.id, frame.tag), frame, bytes)
        })
      }
    }
  }

  // ---- Receiving ----

  #receiveChunk(from, chunk) {
    this.#decoding(from, () =>
      splitFrames(chunk, (bytes) => {
        this.#decoding(from, () => this.#receiveFrame(from, bytes))
      })
    )
  }

  #receiveFrame(from, bytes) {
    const frame = openPublished(bytes)
    const adapters = this.namespaces.get(frame.nsp)
    if (!adapters) return
    const uid = this.#cachedUid(from, frame.tag)
    if (adapters.size === 1) {
      for (const adapter of adapters) adapter.receive(uid, frame, bytes)
      return
    }
    // Each adapter decodes a copy of its own, because socket.io changes what it delivers.
    for (const adapter of [...adapters]) {
      this.#decoding(from, () => adapter.receive(uid, openPublished(bytes), bytes))
    }
  }

  /**
   * Like `uidOf`, but returns the same string each time, which need not be built and hashed again.
   */
  #cachedUid(node, tag) {
    const known = this.uids.get(tag)
    if (known?.node === node) return known.uid
    const uid = uidOf(node, tag)
    if (this.uids.size >= MAX_UIDS) this.uids.clear()
    this.uids.set(tag, { node, uid })
    return uid
  }

  /** Called with what a node sent to this one alone. */
  receiveDirectChunk(from, chunk) {
    this.#decoding(from, () =>
      splitFrames(chunk, (bytes) => {
        this.#decoding(from, () => this.#receiveDirectFrame(from, bytes))
      })
    )
  }

  #receiveDirectFrame(from, bytes) {
    const frame = openDirect(bytes)
    const adapter = this.adapters.get(frame.to)
    if (adapter?.nsp.name === frame.nsp) adapter.receiveDirect(uidOf(from, frame.tag), frame)
  }

  #receiveGap(from, missed) {
    this.warn('gap', `socket.io: messages of node ${from} were lost`, missed)
    for (const adapter of this.adapters.values()) adapter.messagesLost(from)
  }

  /**
   * Runs code that decodes bytes of a node. Malformed bytes are counted. An exception of a user's
   * listener becomes an uncaught exception, as it would without this adapter.
   */
  #decoding(from, run) {
    try {
      run()
    } catch (error) {
      if (error instanceof DecodeError) {
        this.malformed++
        this.warn('malformed', `socket.io: node ${from} sent what cannot be decoded: ${error.message}`)
      } else {
        process.nextTick(() => {
          throw error
        })
      }
    }
  }

  /**
   * Logs a warning, at most one of each kind in `WARN_MS`, with the number of times it happened.
   */
  warn(kind, text, count = 1) {
    const warning = this.warnings.get(kind) ?? { count: 0, at: -Infinity }
    this.warnings.set(kind, warning)
    warning.count += count
    const now = performance.now()
    if (now - warning.at < WARN_MS) return
    this.node.logger.warn(warning.count > 1 ? `${text} (${warning.count} times)` : text)
    warning.count = 0
    warning.at = now
  }
}

module.exports = { ClusterBus }
