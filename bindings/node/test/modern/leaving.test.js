'use strict'
/**
 * What `stop` waits for and resolves to, and how readers learn of the end of a stream.
 */
const assert = require('node:assert/strict')
const { once } = require('node:events')
const { test } = require('node:test')
const { createNode } = require('smokesignal-p2p')
const { pair, seedsOf, soon, started } = require('../helpers')
const { becomes, chain, take } = require('./common')

test('what is sent before the first peer is read before stop() resolves', async (t) => {
  const seed = await started(t)
  const messages = seed.messages()
  for (let number = 0; number < 5; number += 1) {
    const writer = createNode({ address: '127.0.0.1', seeds: seedsOf(seed) })
    writer.start()
    await writer.send(`early ${number}`)
    const stopped = await soon(writer.stop(), 'the stop')
    assert.deepEqual(stopped, { confirmed: 1, behind: 0, missing: 0, unsent: 0, timedOut: false })
    const [message, end] = await take(messages, 2)
    assert.deepEqual([message.from, String(message.data)], [writer.id, `early ${number}`])
    assert.deepEqual(end, { from: writer.id, end: true })
  }
})

test('a node that is stopped before its first peer announces none, although it meets one', async (t) => {
  const seed = await started(t)
  const node = createNode({ address: '127.0.0.1', seeds: seedsOf(seed) })
  const events = []
  for (const name of ['connect', 'new peer', 'disconnect']) node.on(name, () => events.push(name))
  node.start()
  node.broadcast.end('the last word')
  assert.deepEqual((await soon(node.stop())).confirmed, 1)
  assert.deepEqual([events, node.peers.list, node.connected], [[], [], false])
})

test('stop() says how many messages reached nobody, after leaveTimeout', async () => {
  const alone = createNode({
    address: '127.0.0.1',
    seeds: [{ address: '127.0.0.1', port: 1 }],
    leaveTimeout: 100
  })
  assert.equal(alone.options.leaveTimeout, 100)
  await alone.start()
  await alone.send('one')
  await alone.send('two')
  const stopped = await soon(alone.stop())
  assert.deepEqual(stopped, { confirmed: 0, behind: 0, missing: 0, unsent: 2, timedOut: true })
  assert.deepEqual(await alone.stop(), { confirmed: 0, behind: 0, missing: 0, unsent: 0, timedOut: false })
  assert.throws(() => createNode({ address: '127.0.0.1', leaveTimeout: -1 }), /leaveTimeout/)
})

test('a reader learns of the end of a writer and of its new start', async (t) => {
  const { a, b } = await pair(t)
  const messages = b.messages()
  a.broadcast.write('all')
  a.broadcast.end('of it')
  const [all, ofIt, end] = await take(messages, 3)
  assert.deepEqual([String(all.data), String(ofIt.data)], ['all', 'of it'])
  assert.deepEqual(end, { from: a.id, end: true })
  await assert.rejects(a.send('more'), { code: 'ERR_SMOKESIGNAL_ENDED' })
  const stopped = await a.stop()
  assert.deepEqual([stopped.confirmed, stopped.behind], [1, 0])
  const connected = once(a, 'connect')
  await a.start()
  await b.addPeer('127.0.0.1', a.options.port)
  await soon(connected, 'the connection')
  await a.send('again')
  const [restarted, again] = await take(messages, 2)
  assert.deepEqual(restarted, { from: a.id, restarted: true })
  assert.deepEqual([again.seq, String(again.data)], [1, 'again'])
})

test('finish comes when the peers have read what was written, and end() calls back then', async (t) => {
  const { a, b } = await pair(t)
  const count = 2000
  for (let number = 0; number < count; number += 1) a.broadcast.write(Buffer.alloc(1000))
  const finished = once(a.broadcast, 'finish')
  await new Promise((resolve) => a.broadcast.end('the last one', resolve))
  await soon(finished)
  assert.equal(b.metrics().messagesReceived, count + 1)
  assert.equal(a.broadcast.writableFinished, true)
  b.broadcast.write('it still reads')
  assert.equal(String((await soon(once(a.broadcast, 'data')))[0]), 'it still reads')
})

test('finish waits for readers that are not peers, behind a slow line too', async (t) => {
  const nodes = await chain(t, { pace: 'all' }, { uploadLimit: 50_000 })
  const [writer, , , last] = nodes
  await becomes(() => writer.size === 4)
  assert.equal(await soon(writer.sendConfirmed('to begin with')), 3)
  const count = 40
  for (let number = 0; number < count; number += 1) writer.broadcast.write(Buffer.alloc(5000))
  await soon(new Promise((resolve) => writer.broadcast.end(resolve)), 'the end')
  assert.equal(last.metrics().messagesReceived, count + 1)
})

test('finish waits for a first peer, and stop() ends the wait', async (t) => {
  const seeds = [{ address: '127.0.0.1', port: 1 }]
  const alone = await started(t, { seeds, leaveTimeout: 300 })
  let finished = false
  alone.broadcast.on('finish', () => (finished = true))
  alone.broadcast.end('nobody reads this')
  await new Promise((resolve) => setTimeout(resolve, 20))
  assert.equal(finished, false)
  assert.equal((await soon(alone.stop())).unsent, 1)
  await becomes(() => finished)
})

test('a stream that nothing was written to finishes without a peer', async (t) => {
  const alone = await started(t)
  alone.broadcast.end()
  await soon(once(alone.broadcast, 'finish'))
})

test('an end of another node leaves broadcast open for reading', async (t) => {
  const { a, b } = await pair(t)
  const chunks = []
  b.broadcast.on('data', (chunk) => chunks.push(String(chunk)))
  let gaps = 0
  b.broadcast.on('gap', () => (gaps += 1))
  a.broadcast.end('last')
  await soon(once(b.broadcast, 'data'))
  await a.stop()
  assert.deepEqual([chunks, gaps, b.broadcast.readableEnded], [['last'], 0, false])
})
