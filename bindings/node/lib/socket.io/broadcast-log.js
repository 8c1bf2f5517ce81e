'use strict'
/**
 * The recent broadcasts of one namespace, in the order in which this server saw them.
 *
 * Each entry has a position in the log, counted from 1. It is also in the queue of its writer, by
 * the number that the writer gave it. Entries leave in order, when they are too old or the log is
 * full.
 */
const { Queue } = require('../queue')

/** What the log may take in memory, in bytes. The oldest entry goes first. */
const LOG_BYTES = 16 << 20
/** What an entry takes beside the bytes of its broadcast, roughly. */
const ENTRY_BYTES = 200

class BroadcastLog {
  /** @param {number} duration how long entries are kept, in ms */
  constructor(duration) {
    this.duration = duration
    this.entries = new Queue()
    this.bytes = 0
    /** The last position that was given out. */
    this.end = 0
  }

  /** The first position that is still here. */
  get first() {
    return this.end - this.entries.length + 1
  }

  /** Returns the entry at a position, or `undefined` if it has left. */
  at(position) {
    return position >= this.first ? this.entries.at(position - this.first) : undefined
  }

  /**
   * Appends a broadcast and returns its position.
   *
   * @param {object} entry `{ writer, number, rooms, except, bytes, size }`
   */
  append(entry) {
    entry.size += ENTRY_BYTES
    entry.position = ++this.end
    entry.time = Date.now()
    this.entries.push(entry)
    entry.writer.entries.push(entry)
    this.bytes += entry.size
    while (this.bytes > LOG_BYTES) this.#evict()
    const oldest = this.entries.at(0)
    if (oldest && oldest.time + this.duration < entry.time) this.expire(entry.time)
    return entry.position
  }

  /** Marks that broadcasts are missing at this position. */
  markGap() {
    const newest = this.entries.at(this.entries.length - 1)
    if (newest && !newest.writer) return
    this.end++
    this.entries.push({ writer: undefined, size: ENTRY_BYTES, time: Date.now() })
    this.bytes += ENTRY_BYTES
  }

  /** Removes entries that are older than `duration`. */
  expire(now) {
    while (this.entries.length > 0 && this.entries.at(0).time + this.duration < now) this.#evict()
  }

  #evict() {
    const { writer, number, size } = this.entries.shift()
    this.bytes -= size
    if (!writer) return
    writer.entries.shift()
    writer.evicted = number
  }
}

module.exports = { BroadcastLog }
