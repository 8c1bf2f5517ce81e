'use strict'
/**
 * `node.peers`: the neighbours.
 */
const { EventEmitter } = require('node:events')

class Peerlist extends EventEmitter {
  constructor(node) {
    super()
    Object.defineProperty(this, 'node', { value: node })
    this.list = []
  }

  /** The peer with this id, or this peer, if it is in the list; else false. */
  inList(peer) {
    const id = typeof peer === 'object' && peer !== null ? peer.id : peer
    return (typeof id === 'string' && this.list.find((entry) => entry.id === id)) || false
  }

  isFull() {
    return this.list.length >= this.node.options.maxPeerNo
  }

  isSufficientlyFilled() {
    return this.list.length >= this.node.options.minPeerNo
  }

  /** The ids of all peers. */
  dump() {
    return this.list.map((peer) => peer.id)
  }

  /** Closes all links. */
  close() {
    this.list.slice().forEach((peer) => peer.close())
    return this
  }
}

module.exports = { Peerlist }
