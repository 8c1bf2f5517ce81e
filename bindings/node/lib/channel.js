'use strict'
/**
 * A broadcast stream apart from `node.broadcast`: only those who open the same channel, in any node, read what is written to
 * it. For the socket.io adapter of this package.
 */
const { AT_ONCE, tooLarge } = require('./duplex')
const { Node, inner } = require('./node')
const { MessageInlet, Outlet } = require('./transfer')
const { again, bell, guarded, register, unregister } = require('./bell')
const { optionType } = require('./errors')

/** The node's id on the wire. */
function wireId(node) {
  return checked(node)._wireId
}

function openChannel(node, name) {
  return new Channel(checked(node), name)
}

function checked(node) {
  if (!(node instanceof Node)) throw optionType('node', 'a node from createNode()', node)
  return node
}

class Channel {
  constructor(node, name) {
    this.onmessage = () => {}
    this.ongap = () => {}
    this.ondrain = () => {}
    this.limit = node.options.maxMessage
    this.number = register(() => this.due())
    this.inlet = new MessageInlet(node[inner].reader(name, bell, this.number), () => node._happened())
    this.outlet = new Outlet(node[inner].writer(name, bell, this.number), () => {})
    this.outlet.freed = () => this.ondrain()
    this.detach = node._attachChannel(this)
    this.due()
  }

  /** True: it was taken. False: there is no room now, or the node is stopped; `ondrain` is called when that may have changed. */
  trySend(data) {
    if (data.length > this.limit) throw tooLarge(data.length, this.limit)
    if (this.inlet === undefined || this.outlet.blocked) return false
    this.outlet.add(data, () => {})
    return true
  }

  due() {
    this.outlet.proceed()
    for (let count = 0; this.inlet?.ready(); count += 1) {
      if (count === AT_ONCE) return again(this.number)
      const { inlet } = this
      const data = inlet.next()
      const from = inlet.writer()
      guarded(() => (data === undefined ? this.ongap(from, inlet.number()) : this.onmessage(from, data)))
    }
  }

  /** The node was started (again). */
  reopen() {
    again(this.number)
  }

  /** It was stopped. */
  rest() {
    if (this.inlet === undefined) this.forget()
  }

  /** Reads no more; what was taken is still sent. */
  close() {
    if (this.inlet === undefined) return
    this.inlet.close()
    this.inlet = undefined
    this.outlet.whenIdle(() => this.forget())
  }

  forget() {
    this.detach()
    unregister(this.number)
  }
}

module.exports = { openChannel, wireId }
