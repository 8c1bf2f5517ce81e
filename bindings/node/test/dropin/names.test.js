'use strict'
/**
 * Names, defaults, events and their order are those of the README and the code of smokesignal
 * 0.2.x.
 */
const assert = require('node:assert/strict')
const { once, EventEmitter } = require('node:events')
const os = require('node:os')
const { test } = require('node:test')
const smokesignal = require('../..')
const { chunks, network, pair, seedsOf, soon, started, until } = require('../helpers')

const { createNode, localIp } = smokesignal
const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal']

/** Records these events of a node and of its list of peers. */
function noted(node) {
  const log = []
  const note = (name) => (peer) =>
    log.push({ name, peer, connected: node.connected, count: node.peers.list.length })
  for (const name of ['connect', 'disconnect', 'new peer']) node.on(name, note(name))
  for (const name of ['add', 'remove']) node.peers.on(name, note(name))
  return log
}

test('a node has the names and the defaults of 0.2.x', () => {
  const node = createNode({ address: '127.0.0.1', port: 14 })
  assert.ok(node instanceof EventEmitter)
  const { address, port, minPeerNo, maxPeerNo, seeds, pingTimeout } = node.options
  assert.deepEqual(
    { address, port, minPeerNo, maxPeerNo, seeds, pingTimeout },
    { address: '127.0.0.1', port: 14, minPeerNo: 3, maxPeerNo: 5, seeds: [], pingTimeout: 3000 }
  )
  assert.equal(typeof node.id, 'string')
  assert.equal(node.listening, false)
  assert.equal(node.connected, false)
  assert.equal(node.peers, node.peerlist)
  assert.ok(node.peers instanceof EventEmitter)
  assert.equal(node.peers.node, node)
  assert.deepEqual(node.peers.list, [])
  assert.deepEqual(node.peers.dump(), [])
  assert.equal(node.peers.isFull(), false)
  assert.equal(node.peers.isSufficientlyFilled(), false)
  for (const name of ['start', 'stop', 'addPeer']) assert.equal(typeof node[name], 'function', name)
  for (const name of LEVELS) assert.equal(typeof node.logger[name], 'function', name)
  for (const name of ['write', 'end', 'pipe', 'unpipe', 'read', 'pause', 'resume', 'setEncoding']) {
    assert.equal(typeof node.broadcast[name], 'function', name)
  }
  assert.ok(node.broadcast instanceof require('node:stream').Duplex)
})

test('two nodes have different ids', () => {
  assert.notEqual(createNode({ address: '127.0.0.1' }).id, createNode({ address: '127.0.0.1' }).id)
})

test('the options of a node are a copy of what was given, and null means the default', () => {
  const seeds = [{ address: '127.0.0.1', port: '13', name: 'first' }]
  const given = {
    address: '127.0.0.1',
    port: '8495',
    seeds,
    minPeerNo: null,
    logger: null,
    pingTimeout: undefined
  }
  const node = createNode(given)
  assert.equal(node.options.port, 8495)
  assert.deepEqual(node.options.seeds, [{ address: '127.0.0.1', port: 13, name: 'first' }])
  assert.equal(node.options.minPeerNo, 3)
  assert.equal(node.options.pingTimeout, 3000)
  node.options.seeds.length = 0
  node.options.port = 1
  assert.deepEqual(given, {
    address: '127.0.0.1',
    port: '8495',
    seeds,
    minPeerNo: null,
    logger: null,
    pingTimeout: undefined
  })
  assert.equal(seeds.length, 1)
})

test('numbers of peers have the limits of 0.2.x, and 0 is the default', () => {
  const counts = (options) => {
    const { minPeerNo, maxPeerNo } = createNode({ address: '127.0.0.1', ...options }).options
    return [minPeerNo, maxPeerNo]
  }
  assert.deepEqual(counts({ minPeerNo: 0, maxPeerNo: 0 }), [3, 5])
  assert.deepEqual(counts({ maxPeerNo: 2 }), [2, 2])
  assert.deepEqual(counts({ maxPeerNo: 1 }), [1, 1])
  assert.deepEqual(counts({ maxPeerNo: Infinity }), [3, Infinity])
  assert.deepEqual(counts({ minPeerNo: 4 }), [4, 5])
})

test('localIp finds the address in a subnet, with a mask of either kind', () => {
  assert.equal(localIp('127.0.0.1/255.0.0.0'), '127.0.0.1')
  assert.equal(localIp('127.0.0.0/8'), '127.0.0.1')
  assert.equal(localIp('127.0.0.1'), '127.0.0.1')
  const addresses = Object.values(os.networkInterfaces())
    .flat()
    .filter(({ family }) => family === 'IPv4')
  for (const { address } of addresses) assert.equal(localIp(`${address}/32`), address)
})

test('localIp fails if no address fits, and for a text that is not a subnet', () => {
  assert.throws(() => localIp('203.0.113.0/24'), { name: 'Error', message: "Couldn't determine IP address" })
  for (const bad of ['', 'nonsense', '300.1.1.1/8', '10.0.0.0/33', '10.0.0.0/x', '10.0.0.0/255.0.255.0']) {
    assert.throws(
      () => localIp(bad),
      (error) => error instanceof Error && error.message !== "Couldn't determine IP address",
      bad
    )
  }
  assert.throws(() => localIp('::1/128'), /IPv4/)
  assert.throws(() => localIp(), TypeError)
})

test('a missing address is the error of 0.2.x, and a missing port is not an error', () => {
  for (const options of [undefined, {}, { port: 13 }, { port: 13, address: null }]) {
    assert.throws(() => createNode(options), { message: '"address" option is not set' })
  }
  assert.equal(createNode({ address: '127.0.0.1' }).options.port, 0)
})

test('after start() the chosen port stands in the options and the node listens', async (t) => {
  const node = createNode({ address: '127.0.0.1', port: undefined })
  t.after(() => node.stop())
  await node.start()
  assert.equal(node.listening, true)
  assert.ok(node.options.port > 0)
  await node.stop()
  assert.equal(node.listening, false)
})

test('the first peer emits connect, new peer and add in one turn; the last one emits disconnect and remove', async (t) => {
  const a = await started(t)
  const b = createNode({ address: '127.0.0.1', seeds: seedsOf(a) })
  t.after(() => b.stop())
  const log = noted(b)
  let turn = 0
  b.on('connect', () => setImmediate(() => (turn = log.length)))
  const added = once(b.peers, 'add')
  b.start()
  const [peer] = await soon(added, 'add')
  assert.deepEqual(log, [
    { name: 'connect', peer: undefined, connected: true, count: 1 },
    { name: 'new peer', peer, connected: true, count: 1 },
    { name: 'add', peer, connected: true, count: 1 }
  ])
  assert.equal(peer.id, a.id)
  await new Promise(setImmediate)
  assert.equal(turn, 3)
  log.length = 0
  const removed = once(b.peers, 'remove')
  await a.stop()
  await soon(removed, 'remove')
  assert.deepEqual(log, [
    { name: 'disconnect', peer: undefined, connected: false, count: 0 },
    { name: 'remove', peer, connected: false, count: 0 }
  ])
})

test('a second peer emits no connect, and no disconnect comes while a peer is left', async (t) => {
  const { a, b } = await pair(t)
  const log = noted(a)
  const c = await started(t, { seeds: [] })
  await c.addPeer('127.0.0.1', a.options.port)
  await until(() => log.some(({ name }) => name === 'add'), [a.peers, 'add'])
  await b.stop()
  await until(() => log.some(({ name, peer }) => name === 'remove' && peer.id === b.id), [a.peers, 'remove'])
  assert.deepEqual(
    log.filter(({ name }) => name.endsWith('connect')),
    []
  )
})

test('inList returns the Peer or false, for a Peer and for an id', async (t) => {
  const { a, b, toB } = await pair(t)
  assert.equal(a.peers.inList(b.id), toB)
  assert.equal(a.peers.inList(toB), toB)
  assert.equal(a.peers.inList({ id: b.id }), toB)
  assert.equal(a.peerlist.inList(b.id), toB)
  for (const other of [a.id, 'nobody', '', 13, undefined, null, {}])
    assert.equal(a.peers.inList(other), false)
  assert.deepEqual(a.peers.dump(), [b.id])
  assert.equal(a.peers.isFull(), false)
})

test('a Peer has the names of 0.2.x, and the address where it listens', async (t) => {
  const { a, b, toB, toA } = await pair(t)
  assert.ok(toB instanceof require('node:stream').Duplex)
  assert.equal(toB.id, b.id)
  assert.equal(toB.node, a)
  assert.equal(toB.closed, false)
  assert.equal(toB.remoteAddress, '127.0.0.1')
  assert.equal(toB.remotePort, b.options.port)
  assert.equal(toA.remotePort, a.options.port)
})

test('close() of a Peer closes the link on both sides, with end and then close once each, even if nobody reads', async (t) => {
  const { a, b, toB, toA } = await pair(t, { minPeerNo: 1 })
  const log = []
  for (const [side, peer] of [
    ['a', toB],
    ['b', toA]
  ]) {
    for (const event of ['end', 'close']) peer.on(event, () => log.push(side + event))
  }
  const gone = Promise.all([
    once(a.peers, 'remove'),
    once(b.peers, 'remove'),
    once(toB, 'close'),
    once(toA, 'close')
  ])
  toB.close()
  toB.close()
  const [[removed]] = await soon(gone, 'the end of the link')
  assert.equal(removed, toB)
  assert.equal(toB.closed, true)
  assert.deepEqual(
    log.filter((name) => name.startsWith('a')),
    ['aend', 'aclose']
  )
  assert.deepEqual(
    log.filter((name) => name.startsWith('b')),
    ['bend', 'bclose']
  )
  assert.equal(a.peers.inList(toB), false)
  toB.close()
})

test('peers.close() closes all links', async (t) => {
  const [a, ...others] = await network(t, 3, { minPeerNo: 1, maxPeerNo: 5 })
  await until(() => a.peers.list.length > 0, [a.peers, 'add'])
  const peers = a.peers.list.slice()
  const closed = Promise.all(peers.map((peer) => once(peer, 'close')))
  assert.equal(a.peers.close(), a.peers)
  await soon(closed, 'close of all')
  assert.equal(others.length, 2)
})

test('addPeer calls back with the Peer or an error', async (t) => {
  const a = await started(t)
  const b = await started(t)
  const outcome = (address, port) =>
    soon(new Promise((resolve) => b.addPeer(address, port, (...args) => resolve(args))))
  const [none, peer] = await outcome('127.0.0.1', a.options.port)
  assert.equal(none, null)
  assert.equal(b.peers.inList(a.id), peer)
  const c = await started(t)
  const port = c.options.port
  await c.stop()
  const [error] = await outcome('127.0.0.1', port)
  assert.ok(error instanceof Error)
  assert.match(error.code, /^ERR_SMOKESIGNAL_/)
  assert.match(error.message, new RegExp(String(port)))
  const [own] = await outcome('127.0.0.1', b.options.port)
  assert.equal(own.code, 'ERR_SMOKESIGNAL_MYSELF')
})

test('addPeer also returns a promise of the Peer', async (t) => {
  const [a, b] = [await started(t), await started(t)]
  const peer = await b.addPeer('127.0.0.1', String(a.options.port))
  assert.equal(peer, b.peers.inList(a.id))
  // Adding it again succeeds, because there is a link already.
  assert.equal(await b.addPeer('127.0.0.1', a.options.port), peer)
})

test('an addPeer that fails and that nobody awaits is logged', async (t) => {
  const lines = []
  const gone = await started(t)
  const { port } = gone.options
  await gone.stop()
  let logged
  const written = new Promise((resolve) => (logged = resolve))
  const logger = {
    error: (...args) => {
      lines.push(args)
      logged()
    }
  }
  const node = await started(t, { logger })
  node.addPeer('127.0.0.1', port)
  await soon(written, 'a log line')
  assert.match(String(lines[0][0]), new RegExp(`127.0.0.1:${port}`))
})

test('a second start() waits for the first, start() of a running node does nothing, and the same holds for stop()', async (t) => {
  const node = createNode({ address: '127.0.0.1' })
  t.after(() => node.stop())
  await Promise.all([node.start(), node.start()])
  const { port } = node.options
  await node.start()
  assert.equal(node.options.port, port)
  await Promise.all([node.stop(), node.stop()])
  await node.stop()
  assert.equal(node.listening, false)
})

test('stop() before start() does nothing, and start() may follow stop() immediately', async (t) => {
  const a = await started(t)
  const b = createNode({ address: '127.0.0.1', seeds: seedsOf(a) })
  t.after(() => b.stop())
  b.stop()
  b.start()
  b.stop()
  // The first start may emit `connect` while the node stops again, so the last one has to be over.
  await b.start()
  assert.equal(b.listening, true)
  await until(() => b.connected, [b, 'connect'])
})

test('after stop() and start() the node has the same id, options.port is the new port, and broadcast works again', async (t) => {
  const { a, b } = await pair(t)
  const { broadcast, id } = b
  const heard = []
  broadcast.on('data', (chunk) => heard.push(String(chunk)))
  const gone = once(a.peers, 'remove')
  await b.stop()
  await soon(gone, 'remove')
  assert.deepEqual(b.peers.list, [])
  await b.start()
  await until(() => b.connected, [b, 'connect'])
  await until(() => a.connected, [a, 'connect'])
  assert.equal(b.peers.list[0].node, b)
  assert.equal(a.peers.inList(id).remotePort, b.options.port)
  assert.equal(b.id, id)
  assert.equal(b.broadcast, broadcast)
  const [atA] = [chunks(a.broadcast, 1)]
  broadcast.write('again')
  assert.deepEqual(await atA, ['again'])
  a.broadcast.write('and back')
  await until(() => heard.length === 1, [broadcast, 'data'])
  assert.deepEqual(heard, ['and back'])
})

test('an assigned id reads back, and the network still uses the id of the key', async (t) => {
  const a = await started(t)
  const b = createNode({ address: '127.0.0.1', seeds: seedsOf(a) })
  t.after(() => b.stop())
  const { id } = b
  b.id = 'alice'
  assert.equal(b.id, 'alice')
  const arrived = once(a, 'new peer')
  await b.start()
  assert.equal(b.id, 'alice')
  const [peer] = await soon(arrived, 'a peer')
  assert.equal(peer.id, id)
})

test('a logger may have any of the six methods, which are called with it as this; the others do nothing', async (t) => {
  for (const level of LEVELS) {
    const lines = []
    const logger = {
      prefix: level,
      [level](...args) {
        assert.equal(this, logger)
        lines.push([this.prefix, ...args])
      }
    }
    const node = createNode({ address: '127.0.0.1', logger })
    for (const name of LEVELS) node.logger[name]('a', 1)
    assert.deepEqual(
      lines.filter((line) => line[1] === 'a'),
      [[level, 'a', 1]]
    )
  }
})

test('the logger of a node gets lines about its own peers, and none about those of other nodes', async (t) => {
  const keep = () => {
    const lines = []
    const logger = { lines, own: 'method of its own' }
    for (const name of LEVELS) logger[name] = (...args) => lines.push(`${name} ${args.join(' ')}`)
    return logger
  }
  const [one, two] = [keep(), keep()]
  const a = await started(t, { logger: one })
  const b = await started(t, { logger: two }, a)
  await until(() => b.connected && a.connected, [a, 'connect'], [b, 'connect'])
  await Promise.all([a.stop(), b.stop()])
  assert.equal(a.logger.own, 'method of its own')
  assert.equal(a.options.logger, one)
  assert.ok(
    one.lines.some((line) => line.includes(b.id.slice(0, 8))),
    one.lines.join('\n')
  )
  assert.ok(
    two.lines.some((line) => line.includes(a.id.slice(0, 8))),
    two.lines.join('\n')
  )
  for (const [{ lines }, own] of [
    [one, a],
    [two, b]
  ]) {
    assert.ok(!lines.some((line) => line.includes(`peer=${own.id.slice(0, 8)}`)), lines.join('\n'))
  }
})

test('the default export and an import are the object that require returns', async () => {
  assert.equal(smokesignal.default, smokesignal)
  const imported = await import('../../lib/index.mjs')
  assert.equal(imported.default, smokesignal)
  assert.equal(imported.createNode, createNode)
  assert.equal(imported.localIp, localIp)
})

test("an address that is the router's makes the node listen at all of the machine's", async (t) => {
  const a = await started(t)
  const b = createNode({ address: '203.0.113.7', seeds: seedsOf(a) })
  t.after(() => b.stop())
  const arrived = once(a, 'new peer')
  await b.start()
  assert.equal(b.options.address, '203.0.113.7')
  const [peer] = await soon(arrived, 'a peer')
  assert.equal(peer.remoteAddress, '203.0.113.7')
  assert.equal(peer.remotePort, b.options.port)
  const c = await started(t)
  const found = await c.addPeer('127.0.0.1', b.options.port)
  assert.equal(found.id, b.id)
})
