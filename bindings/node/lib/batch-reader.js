'use strict'
/**
 * Reads chunks and messages from the native half, many in one call.
 *
 * A `BatchReader` hands two buffers to native code: a slab that the bytes are copied into, one
 * chunk behind the other, and a table of 32-bit words that says what they are. The table begins
 * with a header of four words: the number of entries, the bytes written, the bytes that the next
 * chunk needs if it had no room, and flags (`src/batch.rs` has the other end of this layout). All
 * readers share one slab, and each chunk is a view of it, so that a small message costs no
 * allocation of its own. A chunk of more than half a slab gets its own memory.
 */
const { markAsUntransferable } = require('node:worker_threads')

/** Bytes of a slab. One retained message keeps at most this much memory alive. */
const SLAB_BYTES = 32 * 1024
/** A new slab begins where fewer bytes than this are left. */
const MIN_SLAB_REST = 2 * 1024

/** The words of the table's header. */
const HEADER_WORDS = 4
const [COUNT, BYTES, NEEDED, FLAGS] = [0, 1, 2, 3]
/** Flags: the stream has ended. */
const ENDED = 1
/** There is more to read: the table or the slab was full. */
const MORE = 2
/** There are new writers whose ids have to be fetched. */
const NEW_WRITERS = 4
/** The numbers of writers start again at 0. */
const WRITERS_RESET = 8

/**
 * Chunk entry: the length. Message entry: length, writer's number, sequence number (low, high), age
 * in milliseconds when the batch was fetched.
 */
const CHUNK_WORDS = 1
const MESSAGE_WORDS = 5
const [WRITER, SEQ_LOW, SEQ_HIGH, AGE] = [1, 2, 3, 4]
/** In place of a length: a gap. The sequence number is then the count of missed messages. */
const GAP = 0xffffffff
/** In place of a length: the end of a writer's stream, and its new start. */
const END = 0xfffffffe
const RESTARTED = 0xfffffffd
/** Entries that one call reads at most. */
const MAX_CHUNKS = 64
const MAX_MESSAGES = 256

let slab
let slabUsed
startSlab()

function startSlab() {
  slab = Buffer.allocUnsafeSlow(SLAB_BYTES)
  // Other chunks live in the same memory: transferring one to a worker fails instead of taking all.
  markAsUntransferable(slab.buffer)
  slabUsed = 0
}

/** Reads the chunks of a native stream. */
class BatchReader {
  /**
   * @param native the native stream or reader
   * @param words words of one table entry
   * @param count entries that one call reads at most
   */
  constructor(native, words = CHUNK_WORDS, count = MAX_CHUNKS) {
    this.native = native
    this.words = words
    this.table = new Uint32Array(HEADER_WORDS + words * count)
    this.tableBytes = Buffer.from(this.table.buffer)
    /** The memory that the present entries lie in, and where the next one begins. */
    this.memory = slab
    this.offset = 0
    /** The next entry of the table. */
    this.index = 0
    /** Whether the stream has ended. Entries may still be left. */
    this.ended = false
  }

  /** Returns whether there is a chunk for `next`. */
  ready() {
    // A loop, because code that `fill` notifies may take the chunks itself.
    while (this.index >= this.table[COUNT]) if (!this.fill()) return false
    return true
  }

  /**
   * Returns the next chunk, or `undefined` for what is none: a gap, an end, a new start. Call it
   * only after `ready` returned true.
   */
  next() {
    const length = this.table[HEADER_WORDS + this.words * this.index]
    this.index += 1
    if (length >= RESTARTED) return undefined
    const begin = this.offset
    this.offset += length
    return this.memory.subarray(begin, this.offset)
  }

  /** Fetches the next batch. Returns whether there was one. */
  fill() {
    const { table } = this
    do {
      this.index = 0
      this.readInto(slabUsed === 0 ? slab : slab.subarray(slabUsed), slabUsed)
      if (table[COUNT] === 0 && table[NEEDED] > 0) this.fillWithMoreRoom(table[NEEDED])
    } while (table[COUNT] === 0 && (table[FLAGS] & MORE) !== 0)
    return table[COUNT] > 0
  }

  /** Fetches a chunk for which the rest of the slab was too small. */
  fillWithMoreRoom(needed) {
    if (needed > SLAB_BYTES / 2) {
      const own = Buffer.allocUnsafeSlow(needed)
      this.native.readInto(own, this.tableBytes)
      this.memory = own
      this.offset = 0
      this.readFlags()
    } else {
      startSlab()
      this.readInto(slab, 0)
    }
  }

  /** Fetches a batch into a part of the slab that begins at `begin`. */
  readInto(buffer, begin) {
    this.native.readInto(buffer, this.tableBytes)
    this.memory = slab
    this.offset = begin
    slabUsed = begin + this.table[BYTES]
    if (SLAB_BYTES - slabUsed < MIN_SLAB_REST) startSlab()
    this.readFlags()
  }

  readFlags() {
    this.ended = (this.table[FLAGS] & ENDED) !== 0
  }
}

/** Reads broadcast messages: besides the data, the writer's id, the sequence number and the age. */
class MessageReader extends BatchReader {
  /**
   * @param native a native message reader
   * @param onBatch called when a batch has arrived, before its first message is taken. It reports
   *   what happened to the node before those messages were written.
   */
  constructor(native, onBatch) {
    super(native, MESSAGE_WORDS, MAX_MESSAGES)
    this.onBatch = onBatch
    /** The ids of writers by their number. */
    this.writers = []
    /** When the batch was fetched. */
    this.fetched = 0
  }

  fill() {
    const found = super.fill()
    if (found) this.onBatch()
    return found
  }

  readFlags() {
    super.readFlags()
    this.fetched = performance.now()
    const flags = this.table[FLAGS]
    if ((flags & WRITERS_RESET) !== 0) this.writers.length = 0
    if ((flags & NEW_WRITERS) !== 0) this.writers.push(...this.native.newWriters())
  }

  /** Stops reading. Messages that arrive from now on are not kept. */
  close() {
    this.native.close()
  }

  /** Returns what `next` has just returned `undefined` for, as `messages()` yields it. */
  notice() {
    const from = this.writer()
    const length = this.table[HEADER_WORDS + MESSAGE_WORDS * (this.index - 1)]
    if (length === END) return { from, end: true }
    if (length === RESTARTED) return { from, restarted: true }
    return { from, missed: this.seq() }
  }

  /** Returns the id of the writer of the message that `next` has just returned. */
  writer() {
    return this.writers[this.#word(WRITER)]
  }

  /** Returns the sequence number of that message, or for a gap how many messages were missed. */
  seq() {
    return this.#word(SEQ_HIGH) * 2 ** 32 + this.#word(SEQ_LOW)
  }

  /** Returns how long ago that message was written, in milliseconds. */
  age() {
    return this.#word(AGE) + Math.round(performance.now() - this.fetched)
  }

  #word(word) {
    return this.table[HEADER_WORDS + MESSAGE_WORDS * (this.index - 1) + word]
  }
}

module.exports = { BatchReader, MessageReader }
