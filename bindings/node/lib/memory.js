'use strict'
/**
 * A simulated network inside this process, for tests of programs.
 */
const native = require('./native')
const { calling, optionRange, optionType } = require('./errors')

const hidden = Symbol('native')

class MemoryNetwork {
  /** `latency`: `[least, most]` ms one way, drawn for each write; `bandwidth`: bytes a second of each direction of a connection. */
  constructor({ latency, bandwidth } = {}) {
    const isTime = (value) => typeof value === 'number' && value >= 0 && Number.isFinite(value)
    if (latency !== undefined && !(Array.isArray(latency) && latency.length === 2 && latency.every(isTime) && latency[0] <= latency[1])) {
      throw optionType('latency', 'an array [least, most] of milliseconds', latency)
    }
    if (bandwidth !== undefined && !(Number.isSafeInteger(bandwidth) && bandwidth > 0)) {
      throw optionRange('bandwidth', 'a whole number of bytes per second from 1 on', bandwidth)
    }
    Object.defineProperty(this, hidden, { value: new native.NativeMemoryNetwork(latency, bandwidth) })
  }

  /** Cuts the network: nodes reach those in their group only. Nodes are named `IP:PORT`. */
  partition(groups) {
    calling(() => this[hidden].partition(groups))
  }

  /** Ends all cuts. */
  heal() {
    this[hidden].heal()
  }

  /** This node sends and receives nothing until it is thawed. */
  freeze(node) {
    calling(() => this[hidden].freeze(node))
  }

  thaw(node) {
    calling(() => this[hidden].thaw(node))
  }

  /** Breaks this node's connections. */
  reset(node) {
    calling(() => this[hidden].reset(node))
  }
}

module.exports = { MemoryNetwork, nativeNetwork: (network) => network[hidden] }
