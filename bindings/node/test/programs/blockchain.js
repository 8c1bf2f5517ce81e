'use strict'
/**
 * A toy blockchain as a user of 0.2.x would have written it: blocks are numbered, and the longest
 * chain wins. It awaits nothing, and adds peers that do not exist.
 */
const { createHash } = require('crypto')
const { createNode } = require('smokesignal')
const split = require('split2')

const chain = [{ index: 0, data: 'genesis', hash: '0' }]
const hash = (block) =>
  createHash('sha256')
    .update(block.index + block.previous + block.data)
    .digest('hex')

class Ledger {
  constructor() {
    this.node = createNode({
      address: '127.0.0.1',
      port: Number(process.env.PORT) || undefined,
      minPeerNo: 1,
      seeds: process.env.SEED_PORT ? [{ address: '127.0.0.1', port: Number(process.env.SEED_PORT) }] : null
    })
    this.node.broadcast.pipe(split()).on('data', (line) => this.receive(JSON.parse(line)))
    this.node.on('new peer', (peer) => this.announce(peer))
    this.node.start()
    // Nothing listens at this address.
    this.node.addPeer('127.0.0.1', 1)
    this.node.addPeer()
  }

  announce(peer) {
    this.send({ type: 'chain', chain })
    console.log(`peer ${peer.id.length} ${typeof peer.remotePort}`)
  }

  mine(data) {
    const last = chain[chain.length - 1]
    const block = { index: last.index + 1, previous: last.hash, data }
    block.hash = hash(block)
    chain.push(block)
    this.send({ type: 'chain', chain })
  }

  send(message) {
    this.node.broadcast.write(`${JSON.stringify(message)}\n`)
  }

  receive(message) {
    if (message.type !== 'chain' || message.chain.length <= chain.length) return
    for (const block of message.chain.slice(1)) if (hash(block) !== block.hash) return console.log('forged')
    chain.splice(0, chain.length, ...message.chain)
    console.log(`chain ${chain.map(({ data }) => data).join('-')}`)
  }
}

const ledger = new Ledger()
process.stdin
  .pipe(split())
  .on('data', (line) => ledger.mine(line))
  .on('end', () => ledger.node.stop())
const waiting = setInterval(() => {
  if (!ledger.node.listening) return
  clearInterval(waiting)
  console.log(`port ${ledger.node.options.port}`)
}, 5)
