'use strict'
/**
 * Writes chunks and messages to the native half, many in one call.
 *
 * Small chunks are copied into a batch, which goes over at the end of the current turn of the event
 * loop or when it is full; a large chunk goes over alone. While native code has no room the writer
 * is `blocked`: chunks wait in a queue and their callbacks wait with them, which is the
 * back-pressure that users see. The native half wakes the writer's number when there is room, and
 * `resume` goes on in order. After `BURST_BYTES` or `BURST_MESSAGES` the writer blocks itself for
 * one turn of the event loop, so that a fast producer does not starve timers, sockets and readers.
 */
const { guarded } = require('./guarded')
const { operate } = require('./operation')
const { coded } = require('./errors')
const { Queue } = require('./queue')

/** A chunk of this many bytes or more goes over alone: one more copy costs more than a call. */
const LARGE_BYTES = 8 * 1024
/** What one batch holds at most. */
const BATCH_BYTES = 64 * 1024
const BATCH_MESSAGES = 1024
/** What is written before other work gets a turn. */
const BURST_BYTES = 4 * 1024 * 1024
const BURST_MESSAGES = 16 * 1024
/** The bytes that a queued chunk counts for beyond its own. */
const ENTRY_OVERHEAD = 128
/**
 * Empty batches that are kept for the next writer; further ones are left to the garbage collector.
 */
const MAX_SPARE_BATCHES = 16

/** The state that a native write returns: bits above the count of chunks that were taken. */
const WAITS = 1 << 30
const TAKEN_MASK = WAITS - 1

/** Empty batches, ready to be used again by any writer of this thread. */
const spareBatches = []

class BatchWriter {
  /**
   * @param native the native stream or writer
   * @param onClosed called when native code takes nothing any more
   */
  constructor(native, onClosed) {
    this.native = native
    this.onClosed = onClosed
    /** Called when there is room again after there was none. */
    this.onDrain = () => {}
    /** The batch that is being filled: `{ bytes, lengths, shared }`. */
    this.batch = undefined
    /** Chunks and bytes in it. */
    this.count = 0
    this.filled = 0
    /** Whether a flush is due at the end of this turn. */
    this.scheduled = false
    /** Whether native code has no room or is closed. New chunks are queued then. */
    this.blocked = false
    /** Whether it is blocked only to let other work have a turn. */
    this.yielding = false
    this.burstBytes = 0
    this.burstMessages = 0
    /** Entries `{ chunk, size, callback, onRefused }`; without `chunk`, only a callback is due. */
    this.queue = new Queue()
    /** The bytes of queued chunks, with what keeping them costs. */
    this.queuedBytes = 0
    this.idleCallbacks = []
    /** Whether the node has ended its stream, since its last start. */
    this.ended = false
    this.flush = this.flush.bind(this)
  }

  /**
   * Writes a chunk, and calls back once there is room for another one, possibly within this call.
   * With `onRefused`, a chunk that is still queued when the node stops is refused with an error;
   * without it, the chunk waits for the next start.
   */
  write(chunk, callback, onRefused) {
    if (this.blocked || this.queue.length > 0 || !this.append(chunk)) {
      this.queue.push({ chunk, size: chunk.length, callback, onRefused })
      this.queuedBytes += chunk.length + ENTRY_OVERHEAD
    } else {
      this.appended(callback, onRefused)
    }
  }

  /** Removes the queued chunk with this callback. Returns false if it has been sent already. */
  cancel(callback) {
    const entry = this.queue.remove((entry) => entry.callback === callback && entry.chunk !== undefined)
    if (entry !== undefined) this.queuedBytes -= entry.size + ENTRY_OVERHEAD
    return entry !== undefined
  }

  /** Refuses all queued chunks that have an `onRefused`, because the node has stopped. */
  refuseQueued(error) {
    for (const entry of this.queue.clear()) {
      const { chunk, size, callback, onRefused } = entry
      if (onRefused === undefined) {
        this.queue.push(entry)
      } else if (chunk === undefined) {
        callback()
      } else {
        this.queuedBytes -= size + ENTRY_OVERHEAD
        onRefused(error)
      }
    }
  }

  /** Drops everything that is left, and fails the callbacks with `error`. */
  discard(error) {
    this.clearBatch()
    this.blocked = true
    this.queuedBytes = 0
    for (const { callback, onRefused } of this.queue.clear()) process.nextTick(onRefused ?? callback, error)
  }

  /** Calls back when nothing is left to hand over; immediately if that is the case now. */
  whenIdle(callback) {
    this.flush()
    if (this.isIdle()) callback()
    else this.idleCallbacks.push(callback)
  }

  /**
   * Ends what the node writes. Call it when nothing is left to hand over. Resolves when the peers
   * have read it, or when nothing has moved for `leaveTimeout`.
   */
  async finish() {
    this.ended = true
    try {
      await operate((...to) => this.native.finish(...to))
    } catch {
      // The node was stopped: its stream has ended with it, and `stop` reports the readers.
    }
  }

  /** Returns the bytes that native code has not taken yet. */
  waiting() {
    return this.filled + this.queuedBytes
  }

  isIdle() {
    return !this.blocked && this.count === 0 && this.queue.length === 0
  }

  /** Hands the present batch over. */
  flush() {
    this.scheduled = false
    if (!this.blocked && this.count > 0) this.submit()
  }

  /** Goes on after a wait. Called when native code may have room again. */
  resume() {
    if (this.yielding) return
    if (this.blocked) this.applyState(this.native.resumeWrite())
    while (!this.blocked && this.count > 0) this.submit()
    while (!this.blocked && this.queue.length > 0) if (!this.writeQueued()) break
    if (this.blocked) return
    guarded(this.onDrain)
    if (this.isIdle()) this.idleCallbacks.splice(0).forEach(guarded)
  }

  /** Writes the first queued chunk. Returns false if it has to stay in the queue. */
  writeQueued() {
    const { chunk, size, callback, onRefused } = this.queue.at(0)
    if (chunk === undefined) {
      this.queue.shift()
      guarded(callback)
      return true
    }
    const detached = chunk.length !== size
    if (!detached && !this.append(chunk)) return false
    this.queue.shift()
    this.queuedBytes -= size + ENTRY_OVERHEAD
    if (detached) {
      guarded(() => (onRefused ?? callback)(detachedError(size)))
    } else {
      guarded(() => this.appended(callback, onRefused))
    }
    return true
  }

  /** Calls back for a chunk that was appended, or queues the callback until there is room. */
  appended(callback, onRefused) {
    if (this.blocked) this.queue.unshift({ chunk: undefined, callback, onRefused })
    else callback()
  }

  /**
   * Appends a chunk to the batch. Returns false if there is no room, and the chunk has to be
   * queued.
   */
  append(chunk) {
    const large = chunk.length >= LARGE_BYTES
    if (this.count > 0 && (large || this.filled + chunk.length > BATCH_BYTES)) {
      this.flush()
      if (this.blocked) return false
    }
    if (large) {
      this.batch = { bytes: chunk, lengths: Uint32Array.of(chunk.length), shared: false }
      this.filled = chunk.length
      this.count = 1
      this.submit()
      return true
    }
    this.batch ??= spareBatches.pop() ?? newBatch()
    this.batch.bytes.set(chunk, this.filled)
    this.batch.lengths[this.count] = chunk.length
    this.filled += chunk.length
    this.count += 1
    if (this.count === BATCH_MESSAGES) {
      this.flush()
    } else if (!this.scheduled) {
      this.scheduled = true
      process.nextTick(this.flush)
    }
    return true
  }

  /** Hands the batch to native code, and keeps the part that was not taken. */
  submit() {
    const { batch } = this
    const result = this.native.write(batch.bytes, batch.lengths, this.count)
    this.burstBytes += this.filled
    this.burstMessages += this.count
    const taken = result & TAKEN_MASK
    if (taken < this.count) {
      this.keepRest(taken)
    } else {
      if (batch.shared && spareBatches.length < MAX_SPARE_BATCHES) spareBatches.push(batch)
      this.clearBatch()
    }
    this.applyState(result & ~TAKEN_MASK)
  }

  keepRest(taken) {
    const { batch } = this
    if (!batch.shared) {
      // Its owner may change the memory as soon as the write returns.
      batch.bytes = Buffer.from(batch.bytes)
      return
    }
    let sent = 0
    for (let i = 0; i < taken; i += 1) sent += batch.lengths[i]
    batch.bytes.copyWithin(0, sent, this.filled)
    batch.lengths.copyWithin(0, taken, this.count)
    this.filled -= sent
    this.count -= taken
  }

  clearBatch() {
    this.batch = undefined
    this.count = 0
    this.filled = 0
  }

  /** Acts on the state that native code returned: 0, `WAITS`, or closed. */
  applyState(state) {
    this.blocked = state !== 0
    if (this.blocked && state !== WAITS) return this.onClosed()
    if (this.blocked || (this.burstBytes < BURST_BYTES && this.burstMessages < BURST_MESSAGES)) return
    this.blocked = true
    this.yielding = true
    setImmediate(() => {
      this.yielding = false
      this.burstBytes = 0
      this.burstMessages = 0
      this.resume()
    })
  }
}

/** Returns the error for a chunk whose memory has gone to a worker, for example. */
function detachedError(size) {
  const text = `the memory of a chunk of ${size} bytes was transferred before it could be sent`
  return coded(new TypeError(`${text}; write a copy of it`), 'DETACHED')
}

function newBatch() {
  const bytes = Buffer.allocUnsafeSlow(BATCH_BYTES)
  return { bytes, lengths: new Uint32Array(BATCH_MESSAGES), shared: true }
}

module.exports = { BatchWriter }
