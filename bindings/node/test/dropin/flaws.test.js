'use strict'
/**
 * A test for every flaw of smokesignal 0.2.x that its users met. (That of `netsplit resolved` is in
 * netsplit.test.js.)
 */
const assert = require('node:assert/strict')
const { once } = require('node:events')
const net = require('node:net')
const { test } = require('node:test')
const { createNode } = require('../..')
const { chunks, eventually, network, pair, seedsOf, soon, started, until } = require('../helpers')

test('chunks written to a Peer arrive at the other side, in both directions', async (t) => {
  // 0.2.x called `socket.emit` in place of `socket.send`, so that nothing was ever sent.
  const { toA, toB } = await pair(t)
  const [atA, atB] = [chunks(toB, 2), chunks(toA, 2)]
  toB.write('one')
  toB.write(Buffer.from('two'))
  toA.write('drei')
  toA.write('vier')
  assert.deepEqual(await atB, ['one', 'two'])
  assert.deepEqual(await atA, ['drei', 'vier'])
})

test('a chunk that is written to a Peer within add arrives', async (t) => {
  const a = await started(t)
  const b = createNode({ address: '127.0.0.1', seeds: seedsOf(a) })
  t.after(() => b.stop())
  b.peers.on('add', (peer) => peer.write('hello from add'))
  const arrived = soon(
    new Promise((resolve) => a.peers.on('add', (peer) => peer.on('data', (chunk) => resolve(String(chunk)))))
  )
  b.start()
  assert.equal(await arrived, 'hello from add')
})

test('a Peer delivers chunks that arrived before it had a listener', async (t) => {
  const { a, toA, toB } = await pair(t)
  toA.write('early')
  toA.write('bird')
  // This message takes another path and is sent last, so the first ones have left long ago.
  const marker = chunks(a.broadcast, 1)
  toA.node.broadcast.write('marker')
  await marker
  assert.deepEqual(await chunks(toB, 2), ['early', 'bird'])
})

test('stop() does not throw, with peers, without peers, before start() or twice', async (t) => {
  // 0.2.x called `remove` on an array, and closed a server that did not exist.
  const { a, b } = await pair(t)
  assert.doesNotThrow(() => a.stop())
  assert.doesNotThrow(() => a.stop())
  await a.stop()
  await b.stop()
  const c = createNode({ address: '127.0.0.1' })
  assert.doesNotThrow(() => c.stop())
  await c.start()
  assert.doesNotThrow(() => c.stop())
  await c.stop()
})

test('stop() removes all peers and skips none', async (t) => {
  const [a, ...others] = await network(t, 5, { minPeerNo: 4, maxPeerNo: 4 })
  await until(() => a.peers.list.length >= 2, [a.peers, 'add'])
  const removed = []
  const count = a.peers.list.length
  a.peers.on('remove', (peer) => removed.push(peer.id))
  await a.stop()
  assert.ok(removed.length >= count)
  assert.equal(new Set(removed).size, removed.length)
  assert.deepEqual(a.peers.list, [])
  assert.equal(others.length, 4)
})

test('a full network lets a newcomer in', async (t) => {
  // In 0.2.x every node refused, and the newcomer stayed alone.
  const options = { minPeerNo: 2, maxPeerNo: 2 }
  const nodes = await network(t, 3, options)
  await until(() => nodes.every((node) => node.peers.isFull()), ...nodes.map((node) => [node.peers, 'add']))
  const newcomer = await started(t, options, nodes[0])
  await until(() => newcomer.connected, [newcomer, 'connect'])
  const heard = Promise.all(nodes.map((node) => chunks(node.broadcast, 1)))
  newcomer.broadcast.write('here I am')
  assert.deepEqual(await heard, [['here I am'], ['here I am'], ['here I am']])
})

test('two nodes that dial each other at the same time end up with one link, and it works', async (t) => {
  // 0.2.x made two half links, and closed both.
  for (let round = 0; round < 20; round += 1) {
    const [a, b] = [await started(t), await started(t)]
    const peers = await Promise.all([
      a.addPeer('127.0.0.1', b.options.port),
      b.addPeer('127.0.0.1', a.options.port)
    ])
    assert.deepEqual([a.peers.dump(), b.peers.dump()], [[b.id], [a.id]])
    assert.deepEqual(peers, [a.peers.list[0], b.peers.list[0]])
    const heard = Promise.all([
      chunks(peers[0], 1),
      chunks(peers[1], 1),
      chunks(a.broadcast, 1),
      chunks(b.broadcast, 1)
    ])
    peers[0].write('to b')
    peers[1].write('to a')
    a.broadcast.write('all of a')
    b.broadcast.write('all of b')
    assert.deepEqual(await heard, [['to a'], ['to b'], ['all of b'], ['all of a']])
    await Promise.all([a.stop(), b.stop()])
  }
})

test('five nodes that start at the same time, each with all five as seeds, become one network', async (t) => {
  const first = []
  for (let i = 0; i < 5; i += 1) first.push(await started(t))
  const ports = first.map((node) => node.options.port)
  await Promise.all(first.map((node) => node.stop()))
  const seeds = ports.map((port) => ({ address: '127.0.0.1', port }))
  const nodes = ports.map((port) => createNode({ address: '127.0.0.1', port, seeds }))
  t.after(() => Promise.all(nodes.map((node) => node.stop())))
  nodes.forEach((node) => node.start())
  await eventually(() => nodes.every((node) => node.size === 5))
  const heard = Promise.all(nodes.map((node) => chunks(node.broadcast, 4)))
  nodes.forEach((node, i) => node.broadcast.write(`I am ${i}`))
  const all = await heard
  all.forEach((lines, i) =>
    assert.deepEqual(
      lines.sort(),
      [0, 1, 2, 3, 4].filter((n) => n !== i).map((n) => `I am ${n}`)
    )
  )
})

/**
 * Sends bytes to the port, and waits until the other side has closed the connection or has
 * answered.
 */
async function attack(port, bytes) {
  const socket = net.connect(port, '127.0.0.1')
  socket.on('error', () => {})
  await soon(once(socket, 'connect'))
  socket.write(bytes)
  socket.end()
  socket.resume()
  if (!socket.destroyed)
    await soon(new Promise((resolve) => socket.once('close', resolve)), 'the end of a hostile connection')
}

test('hostile lines neither crash a node nor interrupt it', async (t) => {
  // In 0.2.x each of these ended the process.
  const { a, b } = await pair(t)
  const handshake = (data) => `["smoke","handshake",${JSON.stringify(data)}]\n`
  const lines = [
    'GET / HTTP/1.1\r\nHost: x\r\n\r\n',
    'null\n',
    '{}\n',
    '[]\n',
    'not JSON\n',
    '["smoke","handshake",null]\n',
    handshake({ id: {} }),
    handshake({ id: 'x', __proto__: null }),
    '["smoke","pong",{"respondsTo":"__proto__"}]\n',
    '["smoke","peer request",{"id":"x","remoteAddress":"127.0.0.1","remotePort":-1}]\n',
    Buffer.alloc(64 * 1024, 0xff),
    Buffer.alloc(1024),
    Buffer.from('160301ffff0100fffc0303', 'hex'),
    '\n'.repeat(1000)
  ]
  for (const node of [a, b]) await Promise.all(lines.map((line) => attack(node.options.port, line)))
  assert.deepEqual([a.peers.dump(), b.peers.dump()], [[b.id], [a.id]])
  const heard = chunks(b.broadcast, 1)
  a.broadcast.write('still here')
  assert.deepEqual(await heard, ['still here'])
})

test('data that looks like a command of the protocol arrives unchanged', async (t) => {
  const { a, b, toA, toB } = await pair(t)
  const odd = ['["smoke","ping",{}]', '\n', '\0', '{"__proto__":1}', '\u2028', '\ud83d\ude00', 'null']
  const [all, direct] = [chunks(b.broadcast, odd.length), chunks(toB, odd.length)]
  odd.forEach((text) => {
    a.broadcast.write(text)
    toA.write(text)
  })
  assert.deepEqual(await all, odd)
  assert.deepEqual(await direct, odd)
})

test('messages written before the first peer, or before start(), arrive', async (t) => {
  const a = await started(t)
  const heard = chunks(a.broadcast, 3)
  const b = createNode({ address: '127.0.0.1', seeds: seedsOf(a) })
  t.after(() => b.stop())
  b.broadcast.write('before start')
  b.start()
  b.broadcast.write('while it starts')
  b.on('connect', () => b.broadcast.write('in connect'))
  assert.deepEqual(await heard, ['before start', 'while it starts', 'in connect'])
})

test('stop() right after a write hands the message over first', async (t) => {
  const { a, b } = await pair(t)
  const heard = chunks(a.broadcast, 100)
  for (let i = 0; i < 100; i += 1) b.broadcast.write(`last words ${i}`)
  b.stop()
  assert.equal((await heard)[99], 'last words 99')
})

test('for await over a Peer ends when the link does', async (t) => {
  const { b, toB } = await pair(t)
  const found = []
  const done = (async () => {
    for await (const chunk of toB) {
      found.push(String(chunk))
      if (found.length === 2) b.stop()
    }
  })()
  b.peers.list[0].write('one')
  b.peers.list[0].write('two')
  await soon(done, 'the end of for await')
  assert.deepEqual(found, ['one', 'two'])
})

test('a node with no other option than the address can find others and be found', async (t) => {
  // In 0.2.x a node without a port could not be created, and peers did not learn where a node
  // listens.
  const [a, b, c] = await network(t, 3)
  assert.ok([a, b, c].every(({ options }) => options.port > 0))
})

test('a message may be larger than a segment, and multi-byte text is never split', async (t) => {
  const { a, b, toA, toB } = await pair(t)
  const text = 'Grüße, 世界 🌍 '.repeat(20_000)
  const [all, direct] = [chunks(b.broadcast, 1), chunks(toB, 1)]
  a.broadcast.write(text)
  toA.write(text)
  assert.equal((await all)[0], text)
  assert.equal((await direct)[0], text)
})
