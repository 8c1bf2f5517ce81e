'use strict'
/**
 * Bytes between JavaScript and the native half: many messages in one call, in both directions.
 */

const { markAsUntransferable } = require('node:worker_threads')
const { guarded } = require('./bell')
const { coded } = require('./errors')

/** Read into pieces of this size; a larger message gets memory of its own. What keeps one message keeps 32 KiB at most. */
const SLAB = 32 * 1024
/** Where less is left of a piece, a new one is begun. */
const LEAST = 2 * 1024
/** From this size on a message is written alone: copying it twice costs more than a call. */
const LARGE = 8 * 1024
/** Written together at most. */
const PACK = 64 * 1024
const PACK_COUNT = 1024
/** After so many bytes, or messages, a writer lets timers, sockets and readers have their turn. */
const BURST = 4 * 1024 * 1024
const BURST_COUNT = 16 * 1024
/** What a chunk that waits counts for beyond its bytes. */
const OVERHEAD = 128
/** Packs that are kept for the next writer. */
const MAX_PACKS = 16

const HEAD = 4
const [COUNT, BYTES, NEED, FLAGS] = [0, 1, 2, 3]
const ENDED = 1
const MORE = 2
const NAMES = 4
const RENAMED = 8
const GAP = 0xffffffff

const WAITS = 1 << 30
const TAKEN = WAITS - 1

let slab
let used
renew()

/** Reads chunks from a native stream, or messages from a native reader. */
class Inlet {
  /** `words`: 32-bit words for each in the table, `count`: chunks taken at once at most. */
  constructor(source, words, count) {
    this.source = source
    this.words = words
    this.table = new Uint32Array(HEAD + words * count)
    this.bytes = Buffer.from(this.table.buffer)
    this.base = slab
    this.offset = 0
    this.index = 0
    this.ended = false
  }

  /** Whether there is a next one, to be had by `next`. */
  ready() {
    // Not `if`: those whom `fill` tells that there is something may take it.
    while (this.index >= this.table[COUNT]) if (!this.fill()) return false
    return true
  }

  /** The next chunk; `undefined` for a gap, whose size is `number()`. Call it only when `ready`. */
  next() {
    const length = this.table[HEAD + this.words * this.index]
    this.index += 1
    if (length === GAP) return undefined
    const begin = this.offset
    this.offset += length
    return this.base.subarray(begin, this.offset)
  }

  fill() {
    const { table } = this
    do {
      this.index = 0
      this.take(used === 0 ? slab : slab.subarray(used), used)
      if (table[COUNT] === 0 && table[NEED] > 0) {
        if (table[NEED] > SLAB / 2) {
          const own = Buffer.allocUnsafeSlow(table[NEED])
          this.source.take(own, this.bytes)
          this.base = own
          this.offset = 0
          this.note()
        } else {
          renew()
          this.take(slab, 0)
        }
      }
    } while (table[COUNT] === 0 && (table[FLAGS] & MORE) !== 0)
    return table[COUNT] > 0
  }

  take(buffer, begin) {
    this.source.take(buffer, this.bytes)
    this.base = slab
    this.offset = begin
    used = begin + this.table[BYTES]
    if (SLAB - used < LEAST) renew()
    this.note()
  }

  note() {
    this.ended = (this.table[FLAGS] & ENDED) !== 0
  }
}

function renew() {
  slab = Buffer.allocUnsafeSlow(SLAB)
  // Others read from it, too: who transfers a chunk's buffer to a worker gets an error, not their memory.
  markAsUntransferable(slab.buffer)
  used = 0
}

/** Reads messages: besides the data, who wrote it and its number. */
class MessageInlet extends Inlet {
  /** `before` is called when there are some, before the first of them is given: what happened earlier is told earlier. */
  constructor(reader, before, count = 256) {
    super(reader, 4, count)
    this.before = before
    this.writers = []
  }

  fill() {
    const found = super.fill()
    if (found) this.before()
    return found
  }

  note() {
    super.note()
    const flags = this.table[FLAGS]
    if ((flags & RENAMED) !== 0) this.writers.length = 0
    if ((flags & NAMES) !== 0) this.writers.push(...this.source.names())
  }

  /** What arrives from now on is not kept. */
  close() {
    this.source.close()
  }

  /** Who wrote the one that `next` has just given. */
  writer() {
    return this.writers[this.table[HEAD + 4 * (this.index - 1) + 1]]
  }

  /** Its number, or how many were missed. */
  number() {
    const at = HEAD + 4 * (this.index - 1)
    return this.table[at + 3] * 2 ** 32 + this.table[at + 2]
  }
}

/** Packs that are in nobody's hands. */
const packs = []

/** First in, first out; to take one out costs the same however many there are. */
class Queue {
  #items = []
  #head = 0

  get length() {
    return this.#items.length - this.#head
  }

  get first() {
    return this.#items[this.#head]
  }

  push(item) {
    this.#items.push(item)
  }

  unshift(item) {
    if (this.#head > 0) this.#items[--this.#head] = item
    else this.#items.unshift(item)
  }

  shift() {
    const item = this.first
    this.#items[this.#head++] = undefined
    if (this.#head > 1024 && this.length < this.#head) {
      this.#items = this.#items.slice(this.#head)
      this.#head = 0
    }
    return item
  }

  /** Takes out the first that fits, if there is one. */
  remove(fits) {
    const at = this.#items.findIndex((item, index) => index >= this.#head && fits(item))
    return at < 0 ? undefined : this.#items.splice(at, 1)[0]
  }

  /** Takes out all. */
  clear() {
    const items = this.#items.slice(this.#head)
    this.#items = []
    this.#head = 0
    return items
  }
}

/** Writes chunks to a native stream or writer: what is written in one turn of the event loop goes over together. */
class Outlet {
  /** `closed` is called where the other half takes nothing any more. */
  constructor(target, closed) {
    this.target = target
    this.closed = closed
    this.pack = undefined
    this.count = 0
    this.filled = 0
    this.scheduled = false
    /** The other half has no room, or is closed: what comes now has to queue. */
    this.blocked = false
    this.resting = false
    this.burst = 0
    this.burstCount = 0
    this.queue = new Queue()
    /** What waits, with what keeping it costs. */
    this.queuedBytes = 0
    this.waiting = []
    /** Called when there is room again after there was none. */
    this.freed = () => {}
    this.flush = this.flush.bind(this)
  }

  /**
   * Takes a chunk; calls back once there is room for another one, which may be at once. With `fail`, a chunk that still
   * queues when the node stops is refused; without it, it waits for the next start.
   */
  add(chunk, callback, fail) {
    if (this.blocked || this.queue.length > 0 || !this.put(chunk)) {
      this.queue.push({ chunk, size: chunk.length, callback, fail })
      this.queuedBytes += chunk.length + OVERHEAD
    } else {
      this.taken(callback, fail)
    }
  }

  /** Calls back for what was put, or queues that until there is room. */
  taken(callback, fail) {
    if (this.blocked) this.queue.unshift({ chunk: undefined, callback, fail })
    else callback()
  }

  /** Takes back a chunk that queues. False: it has gone already. */
  remove(callback) {
    const entry = this.queue.remove((entry) => entry.callback === callback && entry.chunk !== undefined)
    if (entry !== undefined) this.queuedBytes -= entry.size + OVERHEAD
    return entry !== undefined
  }

  /** The node has stopped: nobody shall wait for it who was not told to. */
  refuse(error) {
    for (const entry of this.queue.clear()) {
      const { chunk, size, callback, fail } = entry
      if (fail === undefined) {
        this.queue.push(entry)
      } else if (chunk === undefined) {
        callback()
      } else {
        this.queuedBytes -= size + OVERHEAD
        fail(error)
      }
    }
  }

  /** Calls back when nothing is left here; at once if so now. */
  whenIdle(callback) {
    this.flush()
    if (this.isIdle()) callback()
    else this.waiting.push(callback)
  }

  isIdle() {
    return !this.blocked && this.count === 0 && this.queue.length === 0
  }

  /** Puts a chunk to those that go over together. False: it has to queue. */
  put(chunk) {
    const large = chunk.length >= LARGE
    if (this.count > 0 && (large || this.filled + chunk.length > PACK)) {
      this.flush()
      if (this.blocked) return false
    }
    if (large) {
      this.pack = { bytes: chunk, lengths: Uint32Array.of(chunk.length), shared: false }
      this.filled = chunk.length
      this.count = 1
      this.send()
      return true
    }
    this.pack ??= packs.pop() ?? { bytes: Buffer.allocUnsafeSlow(PACK), lengths: new Uint32Array(PACK_COUNT), shared: true }
    this.pack.bytes.set(chunk, this.filled)
    this.pack.lengths[this.count] = chunk.length
    this.filled += chunk.length
    this.count += 1
    if (this.count === PACK_COUNT) {
      this.flush()
    } else if (!this.scheduled) {
      this.scheduled = true
      process.nextTick(this.flush)
    }
    return true
  }

  flush() {
    this.scheduled = false
    if (!this.blocked && this.count > 0) this.send()
  }

  /** Hands the pack over, as far as it is taken. */
  send() {
    const { pack } = this
    const result = this.target.write(pack.bytes, pack.lengths, this.count)
    this.burst += this.filled
    this.burstCount += this.count
    const taken = result & TAKEN
    if (taken < this.count) {
      if (pack.shared) {
        let gone = 0
        for (let i = 0; i < taken; i += 1) gone += pack.lengths[i]
        pack.bytes.copyWithin(0, gone, this.filled)
        pack.lengths.copyWithin(0, taken, this.count)
        this.filled -= gone
        this.count -= taken
      } else {
        // Its owner may write into it as soon as the call returns.
        pack.bytes = Buffer.from(pack.bytes)
      }
    } else {
      if (pack.shared && packs.length < MAX_PACKS) packs.push(pack)
      this.pack = undefined
      this.count = 0
      this.filled = 0
    }
    this.judge(result & ~TAKEN)
  }

  judge(state) {
    this.blocked = state !== 0
    if (this.blocked && state !== WAITS) return this.closed()
    if (this.blocked || (this.burst < BURST && this.burstCount < BURST_COUNT)) return
    this.blocked = true
    this.resting = true
    setImmediate(() => {
      this.resting = false
      this.burst = 0
      this.burstCount = 0
      this.proceed()
    })
  }

  /** There may be room: goes on where it had to wait. */
  proceed() {
    if (this.resting) return
    if (this.blocked) this.judge(this.target.proceed())
    while (!this.blocked && this.count > 0) this.send()
    while (!this.blocked && this.queue.length > 0) {
      const { chunk, size, callback, fail } = this.queue.first
      if (chunk === undefined) {
        this.queue.shift()
        guarded(callback)
      } else if (chunk.length !== size) {
        this.queue.shift()
        this.queuedBytes -= size + OVERHEAD
        const error = coded(new TypeError('the memory of a chunk was transferred before it could be sent'), 'DETACHED')
        guarded(() => (fail ?? callback)(error))
      } else {
        if (!this.put(chunk)) break
        this.queue.shift()
        this.queuedBytes -= size + OVERHEAD
        guarded(() => this.taken(callback, fail))
      }
    }
    if (this.blocked) return
    guarded(this.freed)
    if (this.isIdle()) this.waiting.splice(0).forEach(guarded)
  }

  /** Drops what is left: nobody will take it. */
  abandon(error) {
    this.pack = undefined
    this.count = 0
    this.filled = 0
    this.blocked = true
    this.queuedBytes = 0
    for (const { callback, fail } of this.queue.clear()) process.nextTick(fail ?? callback, error)
  }
}

module.exports = { Inlet, MessageInlet, Outlet }
