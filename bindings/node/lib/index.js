'use strict'
/**
 * The entry of the package: creates nodes, and exports the classes that users meet. README.md in
 * the folder above shows how to use it. `node.js` is the place to read on.
 */
const net = require('node:net')
const native = require('./native')
const { Broadcast } = require('./broadcast')
const { Identity } = require('./identity')
const { MemoryNetwork } = require('./memory-network')
const { Node } = require('./node')
const { NodeStream, Peer } = require('./stream')
const { Peerlist } = require('./peerlist')
const { calling, coded, optionRange, optionType } = require('./errors')

/** Creates a node. It neither listens nor connects before its `start()`. */
function createNode(options) {
  return new Node(options)
}

/**
 * Returns this machine's IPv4 address in a subnet, such as `10.0.0.0/8` or
 * `192.168.2.1/255.255.255.0`.
 */
function localIp(subnet) {
  if (typeof subnet !== 'string') throw optionType('subnet', "a string, such as '192.168.2.0/24'", subnet)
  const [address] = subnet.split('/')
  if (net.isIPv6(address.trim())) {
    throw optionRange('subnet', "an IPv4 subnet, such as '192.168.2.0/24'", subnet)
  }
  try {
    return calling(() => native.localIp(subnet))
  } catch (error) {
    if (error.code !== 'ERR_SMOKESIGNAL_NO_LOCAL_ADDRESS') throw error
    throw coded(new Error("Couldn't determine IP address", { cause: error }), 'NO_LOCAL_ADDRESS')
  }
}

const smokesignal = {
  createNode,
  localIp,
  Identity,
  MemoryNetwork,
  Node,
  Peerlist,
  Peer,
  Broadcast,
  NodeStream
}
// For compilers that import the default of a CommonJS package.
smokesignal.default = smokesignal

module.exports = smokesignal
