'use strict'
/**
 * `node.peers`: the list of neighbours. `PeerTracker` keeps it in step with the node's events.
 */
const { EventEmitter } = require('node:events')

class Peerlist extends EventEmitter {
  constructor(node) {
    super()
    Object.defineProperty(this, 'node', { value: node })
    this.list = []
  }

  /** Returns the Peer with this id, or this Peer, if it is in the list; else false. */
  inList(peer) {
    const id = typeof peer === 'object' && peer !== null ? peer.id : peer
    return (typeof id === 'string' && this.list.find((entry) => entry.id === id)) || false
  }

  /** Returns whether there are at least `maxPeerNo` peers. */
  isFull() {
    return this.list.length >= this.node.options.maxPeerNo
  }

  /** Returns whether there are at least `minPeerNo` peers. */
  isSufficientlyFilled() {
    return this.list.length >= this.node.options.minPeerNo
  }

  /** Returns the ids of all peers. */
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
