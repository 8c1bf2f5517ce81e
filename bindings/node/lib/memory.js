'use strict'
/**
 * A simulated network inside this process, for tests of programs.
 */
const net = require('node:net')
const native = require('./native')
const { optionRange, optionType } = require('./errors')

/** An hour, in ms. */
const LONGEST = 3_600_000

const hidden = Symbol('native')

class MemoryNetwork {
  /** `latency`: `[least, most]` ms one way, drawn for each write; `bandwidth`: bytes a second of each direction of a connection. */
  constructor(options) {
    const { latency, bandwidth } = options ?? {}
    const isTime = (value) => typeof value === 'number' && value >= 0 && value <= LONGEST
    const isRange = Array.isArray(latency) && latency.length === 2 && latency.every(isTime) && latency[0] <= latency[1]
    if (latency !== undefined && !isRange) {
      throw optionType('latency', 'an array [least, most] of milliseconds, an hour at most', latency)
    }
    if (bandwidth !== undefined && !(Number.isSafeInteger(bandwidth) && bandwidth > 0)) {
      throw optionRange('bandwidth', 'a whole number of bytes per second from 1 on', bandwidth)
    }
    Object.defineProperty(this, hidden, { value: new native.NativeMemoryNetwork(latency, bandwidth) })
  }

  /** Cuts the network: nodes reach those in their group only. Nodes are named `IP:PORT`. */
  partition(groups) {
    const fits = Array.isArray(groups) && groups.every((group) => Array.isArray(group))
    if (!fits) throw optionType('groups', "an array of arrays of nodes, such as [['10.0.0.1:8495'], ['10.0.0.2:8495']]", groups)
    groups.flat().forEach((node) => checkNode(node))
    this[hidden].partition(groups)
  }

  /** Ends all cuts. */
  heal() {
    this[hidden].heal()
  }

  /** This node sends and receives nothing until it is thawed. */
  freeze(node) {
    this[hidden].freeze(checkNode(node))
  }

  thaw(node) {
    this[hidden].thaw(checkNode(node))
  }

  /** Breaks this node's connections. */
  reset(node) {
    this[hidden].reset(checkNode(node))
  }
}

function checkNode(node) {
  const [, inBrackets, bare, port] = /^(?:\[(.+)\]|([0-9.]+)):([0-9]{1,5})$/.exec(String(node)) ?? []
  if (typeof node !== 'string') throw optionType('node', "where it listens, as a string 'IP:PORT'", node)
  if (!(net.isIPv6(inBrackets ?? '') || net.isIPv4(bare ?? '')) || Number(port) > 65535) {
    throw optionRange('node', "where it listens, as 'IP:PORT'", node)
  }
  return node
}

module.exports = { MemoryNetwork, nativeNetwork: (network) => network[hidden] }
