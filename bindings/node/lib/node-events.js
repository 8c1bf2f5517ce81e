'use strict'
/**
 * Turns what happens in the network into events of a node, and keeps `node.peers` in step with it.
 *
 * The native half queues events. `dispatch` takes them one by one, changes the list of peers and
 * `node.connected` first, and then calls listeners in a fixed order: `connect`, `new peer`, `add`
 * for a new peer, `disconnect`, `remove` for one that is gone. If the event loop was blocked for so
 * long that the native queue overflowed, the list is compared with the peers that there are, so
 * that no arrival and no departure is missed.
 */
const { Peer } = require('./stream')
const { fromFailure } = require('./errors')
const { guarded } = require('./guarded')
const { reserve, unregister, wakeQueue } = require('./wakeups')

class NodeEvents {
  /**
   * @param node the Node, whose `peers` and `connected` are kept here
   * @param native its native node
   * @param number the wakeup number of the events
   */
  constructor(node, native, number) {
    this.node = node
    this.native = native
    this.events = native.events(wakeQueue, number)
    // The first poll registers for wakeups.
    this.events.poll()
  }

  /** Dispatches all events that have happened so far. */
  dispatch() {
    for (let event = this.events.poll(); event; event = this.events.poll()) this.#handle(event)
  }

  #handle(event) {
    const { node } = this
    switch (event.name) {
      case 'added':
        return this.#peerAdded()
      case 'removed':
        return this.#peerRemoved(event.id)
      case 'netsplit': {
        const { id: seed, size, sizeBefore, otherSize } = event
        guarded(() => node.logger.warn(`Netsplit! Lost connection to seed "${seed}"`))
        return guarded(() => node.emit('netsplit', { seed, size, sizeBefore, otherSize }))
      }
      case 'resolved': {
        const { duration, size } = event
        guarded(() => node.logger.info('Netsplit resolved!'))
        return guarded(() => node.emit('netsplit resolved', { duration, size }))
      }
      case 'unreachable': {
        const error = fromFailure(event.failure)
        guarded(() => node.logger.warn(`Seed "${event.seed}" cannot be reached: ${error.message}`))
        return guarded(() => node.emit('seed unreachable', { seed: event.seed, error }))
      }
      case 'incompatible': {
        const { address } = event
        const { ours, theirs, upgrade, text } = event.versions
        guarded(() => node.logger.warn(`A node at ${address} cannot connect: ${text}`))
        return guarded(() => node.emit('incompatible', { address, ours, theirs, upgrade }))
      }
      case 'lagging': {
        const { id: from, messages, bytes } = event
        return guarded(() => node.emit('lagging', { from, messages, bytes }))
      }
      case 'caught up':
        return guarded(() => node.emit('caught up', { from: event.id }))
      case 'timed out':
        return guarded(() => node.emit('reader timed out', { reader: event.id }))
      case 'conflict': {
        const { id, superseded } = event
        guarded(() => node.logger.warn(`Another process has the key of this node, ${id}`))
        return guarded(() => node.emit('identity conflict', { id, superseded }))
      }
      case 'missed': {
        const text = `${event.missed} events were dropped: the event loop was blocked for too long`
        guarded(() => node.logger.warn(text))
        return this.#reconcile()
      }
    }
  }

  /** Brings the list of peers in line with the links that there are, after events were dropped. */
  #reconcile() {
    const { peers } = this.node
    if (this.node._departsAlone) return
    const present = this.native.peers()
    peers
      .dump()
      .filter((id) => !present.includes(id))
      .forEach((id) => this.#peerRemoved(id))
    for (const id of present.filter((id) => !peers.inList(id))) {
      const number = reserve()
      const stream = this.native.peer(id, wakeQueue, number)
      if (stream) this.#addPeer(stream, number)
    }
  }

  #peerAdded() {
    const number = reserve()
    const stream = this.events.takePeer(wakeQueue, number)
    if (this.node._departsAlone) return unregister(number)
    // `#reconcile` may have added it before, after events were dropped.
    if (!this.node.peers.inList(stream.id)) this.#addPeer(stream, number)
  }

  #addPeer(stream, number) {
    const { node } = this
    const peer = new Peer(node, stream, number, node.options.maxMessage)
    const { list } = node.peers
    list.push(peer)
    const isFirst = list.length === 1
    if (isFirst) node.connected = true
    guarded(() => isFirst && node.emit('connect'))
    guarded(() => node.emit('new peer', peer))
    guarded(() => node.peers.emit('add', peer))
  }

  #peerRemoved(id) {
    const { node } = this
    const { list } = node.peers
    const at = list.findIndex((peer) => peer.id === id)
    if (at < 0) return
    const [peer] = list.splice(at, 1)
    const wasLast = list.length === 0
    if (wasLast) node.connected = false
    peer._linkClosed()
    guarded(() => wasLast && node.emit('disconnect'))
    guarded(() => node.peers.emit('remove', peer))
  }
}

module.exports = { NodeEvents }
