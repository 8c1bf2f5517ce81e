'use strict'
/**
 * A simulated network inside this process, for tests. It is the option `transport` of its nodes:
 * they dial and listen in memory, at any IP address, while everything above the bytes is the real
 * thing.
 */
const net = require('node:net')
const native = require('./native')
const { optionRange, optionType } = require('./errors')

/** The longest latency: an hour, in ms. */
const MAX_LATENCY = 3_600_000

const hidden = Symbol('native')

class MemoryNetwork {
  /**
   * @param options.latency `[least, most]` ms one way, drawn anew for each write; default none
   * @param options.bandwidth bytes per second of each direction of a connection; default unlimited
   */
  constructor(options) {
    const { latency, bandwidth } = options ?? {}
    if (latency !== undefined && !isLatency(latency)) {
      throw optionType('latency', 'an array [least, most] of milliseconds, an hour at most', latency)
    }
    if (bandwidth !== undefined && !(Number.isSafeInteger(bandwidth) && bandwidth > 0)) {
      throw optionRange('bandwidth', 'a whole number of bytes per second, at least 1', bandwidth)
    }
    Object.defineProperty(this, hidden, { value: new native.NativeMemoryNetwork(latency, bandwidth) })
  }

  /** Cuts the network: nodes reach only those of their own group. Nodes are named `IP:PORT`. */
  partition(groups) {
    if (!Array.isArray(groups) || !groups.every((group) => Array.isArray(group))) {
      const example = "[['10.0.0.1:8495'], ['10.0.0.2:8495']]"
      throw optionType('groups', `an array of arrays of nodes, such as ${example}`, groups)
    }
    groups.flat().forEach((node) => checkNode(node))
    this[hidden].partition(groups)
  }

  /** Ends all cuts. */
  heal() {
    this[hidden].heal()
  }

  /** Keeps a node from sending and receiving until it is thawed. */
  freeze(node) {
    this[hidden].freeze(checkNode(node))
  }

  /** Ends a freeze. */
  thaw(node) {
    this[hidden].thaw(checkNode(node))
  }

  /** Breaks all connections of a node. */
  reset(node) {
    this[hidden].reset(checkNode(node))
  }
}

function isLatency(value) {
  const isTime = (ms) => typeof ms === 'number' && ms >= 0 && ms <= MAX_LATENCY
  return Array.isArray(value) && value.length === 2 && value.every(isTime) && value[0] <= value[1]
}

/** Returns an address `IP:PORT`, with an IPv6 address in brackets. */
function checkNode(node) {
  const [, inBrackets, bare, port] = /^(?:\[(.+)\]|([0-9.]+)):([0-9]{1,5})$/.exec(String(node)) ?? []
  if (typeof node !== 'string') throw optionType('node', "where it listens, as a string 'IP:PORT'", node)
  if (!(net.isIPv6(inBrackets ?? '') || net.isIPv4(bare ?? '')) || Number(port) > 65535) {
    throw optionRange('node', "where it listens, as 'IP:PORT'", node)
  }
  return node
}

module.exports = { MemoryNetwork, nativeNetwork: (network) => network[hidden] }
