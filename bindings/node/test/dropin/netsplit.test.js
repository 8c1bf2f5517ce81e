'use strict'
/**
 * A network is cut in two and becomes whole again. In 0.2.x `netsplit resolved` never came.
 */
const assert = require('node:assert/strict')
const { once } = require('node:events')
const { test } = require('node:test')
const { createNode, MemoryNetwork } = require('../..')
const { chunks, eventually, soon } = require('../helpers')

const SEED = { address: '10.0.0.1', port: 1 }
const LONG = { timeout: 110_000 }

test('netsplit reports the lost seed, and netsplit resolved comes when it is back', LONG, async (t) => {
  const network = new MemoryNetwork()
  const warnings = []
  const nodes = [1, 2, 3, 4, 5].map((i) =>
    createNode({
      address: `10.0.0.${i}`,
      port: 1,
      transport: network,
      pingTimeout: 800,
      seeds: [SEED],
      logger: { warn: (text) => warnings.push(text), info: (text) => warnings.push(text) }
    })
  )
  t.after(() => Promise.all(nodes.map((node) => node.stop())))
  await Promise.all(nodes.map((node) => node.start()))
  await eventually(() => nodes.every((node) => node.size === 5 && node.peers.isSufficientlyFilled()))
  const [seed, , ...cut] = nodes
  // Only a seed that was seen in the network can be lost. Nodes report their seeds every half
  // second here.
  await new Promise((resolve) => setTimeout(resolve, 3000))
  const split = new Promise((resolve) =>
    cut.forEach((node) => node.once('netsplit', (event) => resolve({ node, event })))
  )
  network.partition([
    ['10.0.0.1:1', '10.0.0.2:1'],
    ['10.0.0.3:1', '10.0.0.4:1', '10.0.0.5:1']
  ])
  const { node, event } = await split
  assert.equal(event.seed, seed.id)
  assert.ok(event.size >= 1 && event.size <= 3, `${event.size}`)
  assert.ok(event.sizeBefore >= event.size && event.sizeBefore <= 5, `${event.sizeBefore}`)
  assert.ok(event.otherSize === undefined || event.otherSize <= 2)
  const resolved = once(node, 'netsplit resolved')
  network.heal()
  const [{ duration, size }] = await resolved
  assert.ok(duration > 0 && duration < 120_000, `${duration}`)
  // While links change, a node may be counted twice.
  assert.ok(size >= 4 && size <= 10, `${size}`)
  assert.ok(warnings.some((text) => /netsplit/i.test(text)))
  const heard = Promise.all(nodes.slice(1).map((node) => chunks(node.broadcast, 1)))
  seed.broadcast.write('whole again')
  assert.deepEqual(
    await heard,
    [1, 2, 3, 4].map(() => ['whole again'])
  )
})

test('a seed that is only down is not a netsplit, and a node without peers keeps trying', LONG, async (t) => {
  const network = new MemoryNetwork()
  const node = createNode({
    address: '10.0.0.2',
    port: 1,
    transport: network,
    seeds: [SEED],
    pingTimeout: 800
  })
  const seed = createNode({ ...SEED, transport: network, pingTimeout: 800 })
  t.after(() => Promise.all([node.stop(), seed.stop()]))
  const wrong = []
  node.on('netsplit', (event) => wrong.push(event))
  await node.start()
  assert.equal(node.connected, false)
  await seed.start()
  await soon(once(node, 'connect'), 'connect')
  const gone = once(node, 'disconnect')
  await seed.stop()
  await soon(gone, 'disconnect')
  await seed.start()
  await soon(once(node, 'connect'), 'connect again')
  assert.deepEqual(wrong, [])
})
