// The receiving side: which messages have arrived from which writer, how late, and how often.
'use strict'

const LEAST_SIZE = 24
const PROBE = 0xffffffff
// Of 64 messages one counts for latency. If all did, more time would go into the clock than into
// the system.
const SAMPLE = 64

// A message of the workload: when it was due, its number, its writer and its kind.
exports.message = ({ due, seq, writer, probe = false, size }) => {
  const bytes = Buffer.alloc(Math.max(size, LEAST_SIZE), 'x')
  bytes.writeDoubleLE(due, 0)
  bytes.writeDoubleLE(seq, 8)
  bytes.writeUInt32LE(writer, 16)
  bytes.writeUInt32LE(probe ? PROBE : 0, 20)
  return bytes
}

exports.Board = class {
  constructor(nodes, writers, window) {
    this.nodes = nodes
    this.writers = writers
    this.step = Math.max(1, Math.floor((window ?? Infinity) / 8))
    this.everyLatency = window === null || window < 64
    // One cell for each reader and writer. `next` is above all numbers that have arrived, `ahead`
    // are those that arrived before their turn.
    const cell = () => ({ heard: false, mark: 0, next: 0, ahead: new Set() })
    this.cells = Array.from({ length: nodes * writers }, cell)
    this.readers = Array.from({ length: writers }, (_, writer) => this.readersOf(writer))
    this.waiting = new Array(writers).fill(null)
    this.measuredFrom = Infinity
    this.delivered = 0
    this.repeated = 0
    this.disordered = 0
    this.latencies = []
  }

  // Notes that this node has read this message.
  arrived(node, bytes) {
    if (bytes.length < LEAST_SIZE) return
    const [due, seq, writer] = [bytes.readDoubleLE(0), bytes.readDoubleLE(8), bytes.readUInt32LE(16)]
    const cell = this.cells[node * this.writers + writer]
    if (node === writer || cell === undefined) return
    if (bytes.readUInt32LE(20) === PROBE) {
      cell.heard = true
      return
    }
    if (seq === cell.next) {
      cell.next++
      while (cell.ahead.delete(cell.next)) cell.next++
    } else if (seq < cell.next || cell.ahead.has(seq)) {
      this.repeated++
      return
    } else {
      cell.ahead.add(seq)
      this.disordered++
    }
    this.delivered++
    if (seq >= cell.mark) {
      cell.mark = seq + 1
      if (cell.mark % this.step === 0) this.waiting[writer]?.(true)
    }
    if (due >= this.measuredFrom && (this.everyLatency || seq % SAMPLE === 0)) {
      this.latencies.push(performance.now() - due)
    }
  }

  // Resolves to true once a reader has advanced, and to false if none has for this long.
  more(writer, milliseconds) {
    return new Promise(resolve => {
      const timer = setTimeout(() => this.waiting[writer]?.(false), milliseconds)
      this.waiting[writer] = answer => {
        clearTimeout(timer)
        this.waiting[writer] = null
        resolve(answer)
      }
    })
  }

  readersOf(writer) {
    return this.cells.filter((_, at) => at % this.writers === writer && Math.floor(at / this.writers) !== writer)
  }

  // Returns how far the slowest reader of this writer is.
  slowest(writer) {
    return this.readers[writer].reduce((least, cell) => Math.min(least, cell.mark), Infinity)
  }

  allHear(writer) {
    return this.readers[writer].every(cell => cell.heard)
  }

  // Returns the latency in microseconds.
  latency() {
    const sorted = Float64Array.from(this.latencies).sort()
    const at = quantile => Math.round(1000 * (sorted[Math.max(0, Math.ceil(quantile * sorted.length) - 1)] ?? 0))
    return { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1) }
  }
}
