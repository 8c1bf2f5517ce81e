'use strict'
/**
 * Start, stop and addPeer as promises, and the addresses that a node advertises.
 */
const assert = require('node:assert/strict')
const net = require('node:net')
const { once } = require('node:events')
const { test } = require('node:test')
const { createNode } = require('smokesignal-p2p')
const { pair, seedsOf, soon, started, until } = require('../helpers')
const { take } = require('./common')

const address = '127.0.0.1'

/** Returns a port that nothing listens at. */
async function freePort() {
  const server = net.createServer().listen(0, address)
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  return port
}

test('start resolves when the node listens, and options.port is its port', async (t) => {
  const node = createNode({ address })
  t.after(() => node.stop())
  assert.deepEqual([node.listening, node.options.port, node.size], [false, 0, 0])
  await node.start()
  assert.equal(node.listening, true)
  assert.ok(node.options.port > 0)
  const socket = net.connect(node.options.port, address)
  await soon(once(socket, 'connect'))
  socket.destroy()
})

test('start and stop may be called again, in any order', async (t) => {
  const node = createNode({ address })
  t.after(() => node.stop())
  await node.stop()
  await Promise.all([node.start(), node.start()])
  await node.start()
  await Promise.all([node.stop(), node.stop()])
  assert.equal(node.listening, false)
  const stopping = node.start().then(() => node.stop())
  await stopping
  node.start()
  node.stop()
  node.start()
  await node.start()
  assert.equal(node.listening, true)
  await node.stop()
  assert.equal(node.listening, false)
})

test('a port that is in use is an error with a code, and the node can be started when it is free', async (t) => {
  const first = await started(t)
  const second = createNode({ address, port: first.options.port })
  t.after(() => second.stop())
  await assert.rejects(second.start(), (error) => {
    assert.deepEqual([error.code, error.cause.code], ['ERR_SMOKESIGNAL_PORT_IN_USE', 'EADDRINUSE'])
    return error.message.includes(String(first.options.port))
  })
  assert.equal(second.listening, false)
  await first.stop()
  await second.start()
  assert.equal(second.listening, true)
})

test('addPeer resolves to the peer', async (t) => {
  const [a, b] = [await started(t), await started(t)]
  const peer = await b.addPeer(address, String(a.options.port))
  assert.deepEqual(
    [peer.id, peer.remoteAddress, peer.remotePort, peer.node],
    [a.id, address, a.options.port, b]
  )
  assert.equal(b.peers.list[0], peer)
  assert.equal(await b.addPeer(address, a.options.port), peer)
})

test('a peer that cannot be added is an error with a code', async (t) => {
  const node = await started(t)
  const port = await freePort()
  await assert.rejects(soon(node.addPeer(address, port)), (error) => {
    assert.deepEqual([error.code, error.cause.code], ['ERR_SMOKESIGNAL_REFUSED', 'ECONNREFUSED'])
    return error.message.includes(`${address}:${port}`)
  })
  await assert.rejects(soon(node.addPeer(address, node.options.port)), { code: 'ERR_SMOKESIGNAL_MYSELF' })
  await assert.rejects(soon(node.addPeer('nowhere.invalid', 8495)), {
    code: 'ERR_SMOKESIGNAL_RESOLVE',
    message: /nowhere\.invalid/
  })
  await assert.rejects(node.addPeer('a b', 8495), { code: 'ERR_SMOKESIGNAL_BAD_ADDRESS' })
  await assert.rejects(node.addPeer(5, 8495), {
    name: 'TypeError',
    code: 'ERR_SMOKESIGNAL_BAD_OPTION',
    message: /"address"/
  })
  for (const bad of [0, 65536, 1.5]) {
    await assert.rejects(node.addPeer(address, bad), {
      name: 'RangeError',
      code: 'ERR_SMOKESIGNAL_BAD_OPTION',
      message: /"port"/
    })
  }
  await assert.rejects(node.addPeer(address), {
    name: 'TypeError',
    code: 'ERR_SMOKESIGNAL_BAD_OPTION',
    message: /"port"/
  })
  await node.stop()
  await assert.rejects(node.addPeer(address, port), { code: 'ERR_SMOKESIGNAL_NOT_RUNNING' })
})

test('addPeer fails with a code if something else than a node answers', async (t) => {
  const server = net
    .createServer((socket) => socket.on('error', () => {}).end('HTTP/1.1 400 Bad Request\r\n\r\n'))
    .listen(0, address)
  await once(server, 'listening')
  t.after(() => server.close())
  const node = await started(t)
  await assert.rejects(soon(node.addPeer(address, server.address().port)), {
    code: 'ERR_SMOKESIGNAL_HANDSHAKE'
  })
})

test('addPeer fails with a code of its own if the other side closes during the handshake', async (t) => {
  const server = net.createServer((socket) => socket.on('error', () => {}).destroy()).listen(0, address)
  await once(server, 'listening')
  t.after(() => server.close())
  const node = await started(t)
  await assert.rejects(soon(node.addPeer(address, server.address().port)), {
    code: 'ERR_SMOKESIGNAL_CLOSED_EARLY',
    message: /may be full or busy/
  })
})

/** Resolves to the address that others see of a node with these options. */
async function seen(t, options) {
  const other = await started(t)
  const node = createNode({ seeds: seedsOf(other), ...options })
  t.after(() => node.stop())
  await node.start()
  await until(() => other.connected, [other, 'connect'])
  const { id, remoteAddress, remotePort } = other.peers.list[0]
  assert.equal(id, node.id)
  return { node, remoteAddress, remotePort }
}

test('others see the advertised address', async (t) => {
  const { remoteAddress, remotePort } = await seen(t, { address, advertise: '203.0.113.7:8495' })
  assert.deepEqual([remoteAddress, remotePort], ['203.0.113.7', 8495])
})

test('port 0 in advertise stands for the port where the node listens', async (t) => {
  const { node, remoteAddress, remotePort } = await seen(t, {
    address,
    advertise: ['203.0.113.7:0', '203.0.113.8:0']
  })
  assert.deepEqual([remoteAddress, remotePort], ['203.0.113.7', node.options.port])
})

test('an address of another machine is advertised, and the node listens on all interfaces', async (t) => {
  const { node, remoteAddress, remotePort } = await seen(t, { address: '203.0.113.7' })
  assert.deepEqual(
    [remoteAddress, remotePort, node.options.address],
    ['203.0.113.7', node.options.port, '203.0.113.7']
  )
  const peer = await (await started(t)).addPeer(address, node.options.port)
  assert.equal(peer.id, node.id)
})

test('a node does not start if an advertised host name has no address', async (t) => {
  const node = createNode({ address, advertise: 'nowhere.invalid:8495' })
  t.after(() => node.stop())
  await assert.rejects(soon(node.start()), { code: 'ERR_SMOKESIGNAL_ADVERTISE', message: /nowhere\.invalid/ })
  assert.equal(node.listening, false)
})

test('a node with maxPeerNo 1 takes part, and logs that it does not forward', async (t) => {
  const hub = await started(t)
  const warned = new Promise((resolve) => {
    const logger = { warn: (text) => resolve(text) }
    started(t, { maxPeerNo: 1, logger }, hub).then((node) => (leaf = node))
  })
  let leaf
  assert.match(await soon(warned), /maxPeerNo is 1: this node forwards nothing/)
  await until(() => hub.connected && leaf?.connected, [hub, 'connect'], [leaf ?? hub, 'connect'])
  assert.equal(leaf.peers.isFull(), true)
  const messages = leaf.messages()
  await hub.send('to the leaf')
  assert.equal(String((await take(messages, 1))[0].data), 'to the leaf')
})

test('a node without a limit accepts any number of peers', async (t) => {
  const hub = await started(t, { maxPeerNo: Infinity })
  for (let count = 1; count <= 8; count += 1) await (await started(t)).addPeer(address, hub.options.port)
  await until(() => hub.peers.list.length === 8, [hub.peers, 'add'])
  assert.deepEqual([hub.peers.isFull(), hub.peers.isSufficientlyFilled()], [false, true])
})

test('an unreachable seed is reported once, with the cause', async (t) => {
  const port = await freePort()
  const node = createNode({ address, seeds: [{ address, port }] })
  t.after(() => node.stop())
  const told = once(node, 'seed unreachable')
  await node.start()
  const [{ seed, error }] = await soon(told)
  assert.deepEqual(
    [seed, error.code, error.cause.code],
    [`${address}:${port}`, 'ERR_SMOKESIGNAL_REFUSED', 'ECONNREFUSED']
  )
})

test('await using stops the node at the end of the block', async (t) => {
  const dispose = Symbol.asyncDispose ?? Symbol.for('Symbol.asyncDispose')
  const { a, b } = await pair(t)
  const left = once(b, 'disconnect')
  await a[dispose]()
  assert.equal(a.listening, false)
  await soon(left)
  await a[dispose]()
  const messages = b.messages()
  await messages[dispose]()
  assert.equal((await messages.next()).done, true)
})
