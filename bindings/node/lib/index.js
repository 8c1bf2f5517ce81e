'use strict'
/**
 * A small peer-to-peer network that you can write to. README.md beside this folder shows how.
 */
const net = require('node:net')
const native = require('./native')
const { Broadcast } = require('./broadcast')
const { Identity } = require('./identity')
const { MemoryNetwork } = require('./memory')
const { Node } = require('./node')
const { NodeStream, Peer } = require('./stream')
const { Peerlist } = require('./peerlist')
const { calling, coded, optionRange, optionType } = require('./errors')

/** Creates a node. Nothing happens before its `start()`. */
function createNode(options) {
  return new Node(options)
}

/** This machine's IPv4 address in a subnet, such as '192.168.2.1/255.255.255.0' or '10.0.0.0/8'. */
function localIp(subnet) {
  if (typeof subnet !== 'string') throw optionType('subnet', "a string, such as '192.168.2.0/24'", subnet)
  const [address] = subnet.split('/')
  if (net.isIPv6(address.trim())) throw optionRange('subnet', "an IPv4 subnet, such as '192.168.2.0/24'", subnet)
  try {
    return calling(() => native.localIp(subnet))
  } catch (error) {
    if (error.code !== 'ERR_SMOKESIGNAL_NO_LOCAL_ADDRESS') throw error
    throw coded(new Error("Couldn't determine IP address", { cause: error }), 'NO_LOCAL_ADDRESS')
  }
}

const smokesignal = { createNode, localIp, Identity, MemoryNetwork, Node, Peerlist, Peer, Broadcast, NodeStream }
// For those that import the default of a CommonJS package, by whichever compiler.
smokesignal.default = smokesignal

module.exports = smokesignal
