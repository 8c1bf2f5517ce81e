'use strict'
/**
 * MemoryNetwork: a network within the process that is cut, healed and frozen.
 */
const assert = require('node:assert/strict')
const { once } = require('node:events')
const { performance } = require('node:perf_hooks')
const { test } = require('node:test')
const { createNode, MemoryNetwork } = require('smokesignal-p2p')
const { soon, until } = require('../helpers')
const { becomes, linked, read, take } = require('./common')

const place = (number) => `10.0.0.${number}:8495`

/**
 * Starts `count` nodes that join through the first one. Resolves when each has counted all of them.
 */
async function gathered(t, transport, count) {
  const nodes = []
  for (let number = 1; number <= count; number += 1) {
    const seeds = number === 1 ? [] : [{ address: '10.0.0.1', port: 8495 }]
    const node = createNode({
      address: `10.0.0.${number}`,
      port: 8495,
      pingTimeout: 600,
      rngSeed: 1,
      seeds,
      transport
    })
    t.after(() => node.stop())
    await node.start()
    nodes.push(node)
  }
  await becomes(() => nodes.every((node) => node.size === count))
  return nodes
}

test("nodes of a memory network may have any address, and read each other's messages", async (t) => {
  const [a, b] = await gathered(t, new MemoryNetwork(), 2)
  assert.deepEqual([b.peers.list[0].remoteAddress, b.peers.list[0].remotePort], ['10.0.0.1', 8495])
  const messages = b.messages()
  await a.send('hello')
  assert.equal(String((await take(messages, 1))[0].data), 'hello')
  const { here, there } = await linked(a, b)
  here.end('stream')
  assert.equal(String(await read(there)), 'stream')
})

test('nodes of two memory networks do not meet', async (t) => {
  const [a] = await gathered(t, new MemoryNetwork(), 1)
  const [b] = await gathered(t, new MemoryNetwork(), 1)
  assert.equal(a.options.port, b.options.port)
  await assert.rejects(soon(b.addPeer('10.0.0.2', 8495)), { code: 'ERR_SMOKESIGNAL_REFUSED' })
})

test('the parts of a cut network do not reach each other, and do again after heal()', async (t) => {
  const network = new MemoryNetwork()
  const [first, ...others] = await gathered(t, network, 4)
  const gone = once(first, 'disconnect')
  network.partition([[place(1)], [place(2), place(3), place(4)]])
  await soon(gone, 'disconnect')
  await becomes(() => first.size === 1 && others.every((node) => node.size === 3))
  await assert.rejects(soon(first.addPeer('10.0.0.2', 8495, { signal: AbortSignal.timeout(500) })), {
    code: 'ABORT_ERR'
  })
  const messages = others[2].messages()
  await others[0].send('within a part')
  assert.equal(String((await take(messages, 1))[0].data), 'within a part')
  network.heal()
  await becomes(() => [first, ...others].every((node) => node.size === 4))
  await others[1].send('whole again')
  assert.equal(String((await take(messages, 1))[0].data), 'whole again')
})

test('the peers of a frozen node close their links, and it comes back when it is thawed', async (t) => {
  const network = new MemoryNetwork()
  const [a, b] = await gathered(t, network, 2)
  const removed = once(a.peers, 'remove')
  network.freeze(place(2))
  assert.equal((await soon(removed, 'remove'))[0].id, b.id)
  network.thaw(place(2))
  await until(() => a.connected && b.connected, [a, 'connect'], [b, 'connect'])
  const messages = a.messages()
  await b.send('I am back')
  assert.equal(String((await take(messages, 1))[0].data), 'I am back')
})

test('reset() breaks the links, and the nodes make new ones', async (t) => {
  const network = new MemoryNetwork()
  const [a, b] = await gathered(t, network, 2)
  const [removed, added] = [once(b.peers, 'remove'), once(b, 'disconnect').then(() => once(b, 'connect'))]
  network.reset(place(2))
  assert.equal((await soon(removed, 'remove'))[0].id, a.id)
  await soon(added, 'connect')
})

test('bytes take as long as the latency of the network', async (t) => {
  const [a, b] = await gathered(t, new MemoryNetwork({ latency: [50, 60], bandwidth: 10_000_000 }), 2)
  const messages = b.messages()
  const begin = performance.now()
  await a.send('slow')
  await take(messages, 1)
  assert.ok(performance.now() - begin >= 49)
})

test('arguments that make no sense are refused', () => {
  const wrong = (name) => ({ code: 'ERR_SMOKESIGNAL_BAD_OPTION', message: new RegExp(`"${name}"`) })
  for (const latency of [5, [1], [2, 1], [-1, 1], ['1', '2'], [0, Infinity]]) {
    assert.throws(() => new MemoryNetwork({ latency }), { ...wrong('latency'), name: 'TypeError' })
  }
  for (const bandwidth of [0, -1, 1.5, '5'])
    assert.throws(() => new MemoryNetwork({ bandwidth }), { ...wrong('bandwidth'), name: 'RangeError' })
  const network = new MemoryNetwork()
  assert.throws(() => network.freeze('nowhere'), /IP:PORT.*"nowhere"/)
  assert.throws(() => network.partition([['10.0.0.1']]), /IP:PORT.*"10\.0\.0\.1"/)
  assert.throws(() => createNode({ address: 'host.example', transport: network }), {
    ...wrong('address'),
    name: 'RangeError'
  })
})
