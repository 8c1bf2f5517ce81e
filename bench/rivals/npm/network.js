// Nodes of the npm package smokesignal in this process, over TCP on loopback, without encryption.
//
// Two random rings through all nodes are connected by the package's own `addPeer`, so that each
// node has at most four connections. Its own search for peers through a seed leaves nodes alone for
// ten seconds and more, because half of all nodes refuse at random. The package listens on all
// interfaces; it has no option for that.
'use strict'

const net = require('node:net')
const { setTimeout: sleep } = require('node:timers/promises')
const smokesignal = require('smokesignal')

const ADDRESS = '127.0.0.1'
// The time within which all nodes have to have their peers.
const JOINED_WITHIN = 10_000

exports.Network = class {
  // Starts one node for each sink, which is called with each message that the node reads.
  async start(sinks) {
    const ports = await freePorts(sinks.length)
    this.nodes = ports.map((port, number) => {
      const node = smokesignal.createNode({ address: ADDRESS, port })
      // A node's own writes do not arrive here. Each `data` is one message, because the stream is
      // never paused.
      node.broadcast.on('data', sinks[number])
      return node
    })
    await Promise.all(this.nodes.map(started))
    const links = linksOf(sinks.length)
    const degrees = sinks.map((_, number) => links.filter(link => link.includes(number)).length)
    for (const [one, other] of links) {
      this.nodes[one].addPeer(ADDRESS, ports[other])
      // One after the other: a node with two handshakes at the same time may confuse their peers.
      const before = this.nodes[one].peers.list.length
      await until(() => this.nodes[one].peers.list.length > before, 'a peer did not answer')
    }
    const joined = () => this.nodes.every((node, number) => node.peers.list.length >= degrees[number])
    await until(joined, 'not all nodes have their peers')
  }

  send(number, message) {
    this.nodes[number].broadcast.write(message)
  }
}

async function until(condition, otherwise) {
  const giveUp = performance.now() + JOINED_WITHIN
  while (!condition()) {
    if (performance.now() > giveUp) throw new Error(`${otherwise} within ${JOINED_WITHIN / 1000} s`)
    await sleep(1)
  }
}

function started(node) {
  return new Promise((resolve, reject) => {
    node.once('error', reject)
    node.start()
    node.server.once('listening', resolve)
  })
}

// Returns ports that were free a moment ago, because the package needs to be given one.
async function freePorts(count) {
  const servers = Array.from({ length: count }, () => net.createServer().listen(0, ADDRESS))
  await Promise.all(servers.map(server => new Promise(resolve => server.once('listening', resolve))))
  const ports = servers.map(server => server.address().port)
  await Promise.all(servers.map(server => new Promise(resolve => server.close(resolve))))
  return ports
}

// Returns the pairs of nodes to connect.
function linksOf(nodes) {
  const pairs = new Map()
  for (const seed of [1, 2]) {
    const order = shuffled(nodes, seed)
    order.forEach((one, at) => {
      const other = order[(at + 1) % nodes]
      pairs.set(`${Math.min(one, other)} ${Math.max(one, other)}`, [one, other])
    })
  }
  return [...pairs.values()]
}

// The graph is the same in every run.
function shuffled(count, seed) {
  let state = seed * 2654435761
  const random = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32
  return Array.from({ length: count }, (_, number) => [random(), number]).sort((a, b) => a[0] - b[0]).map(pair => pair[1])
}
