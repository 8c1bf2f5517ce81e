'use strict'
/**
 * `send` and `messages`, and the options that determine what a node reads.
 */
const assert = require('node:assert/strict')
const { once } = require('node:events')
const { test } = require('node:test')
const { setTimeout } = require('node:timers/promises')
const { createNode } = require('smokesignal-p2p')
const { network, pair, seedsOf, soon, started, until } = require('../helpers')
const { becomes, take } = require('./common')

test('messages carry their writer, their number and their data', async (t) => {
  const { a, b } = await pair(t)
  const messages = b.messages()
  await a.send('text')
  await a.send(Buffer.from([1, 2]))
  await a.send(new Uint8Array([3]))
  await a.send(new Uint16Array([4]))
  await a.send(new Uint8Array([5, 6]).buffer)
  await a.send('')
  const taken = await take(messages, 6)
  assert.deepEqual(
    taken.map(({ from, seq, data }) => [from, seq, data.toString('hex')]),
    ['74657874', '0102', '03', '0400', '0506', ''].map((data, index) => [a.id, index + 1, data])
  )
  assert.ok(taken.every(({ data }) => Buffer.isBuffer(data)))
})

test('messages carry their age, with the time for which nobody has read them', async (t) => {
  const { a, b } = await pair(t)
  const [early, late, events] = [b.messages(), b.messages(), []]
  b.broadcast.on('message', (data, from, age) => events.push([String(data), from, age]))
  const begun = performance.now()
  for (let number = 0; number < 3; number += 1) await a.send(String(number))
  const arrived = await take(early, 3)
  // The first of a batch is fetched with the others, which wait in JavaScript.
  const ages = (await take(late, 1)).map(({ age }) => age)
  await setTimeout(300)
  ages.push(...(await take(late, 2)).map(({ age }) => age))
  const most = performance.now() - begun + 1000
  for (const age of [...arrived.map((message) => message.age), ...ages]) {
    assert.ok(Number.isInteger(age) && age >= 0 && age <= most, String(age))
  }
  assert.ok(ages[1] >= 299 && ages[2] >= 299, String(ages))
  await until(() => events.length === 3, [b.broadcast, 'message'])
  for (const [index, [data, from, age]] of events.entries()) {
    assert.deepEqual([data, from], [String(index), a.id])
    assert.ok(Number.isInteger(age) && age >= 0 && age <= most, String(age))
  }
})

test('every reader of a node gets every message since it was created', async (t) => {
  const { a, b } = await pair(t)
  const first = b.messages()
  await a.send('one')
  await take(first, 1)
  const second = b.messages()
  await a.send('two')
  const [[one], [two]] = await Promise.all([take(first, 1), take(second, 1)])
  assert.deepEqual([String(one.data), String(two.data), one.seq, two.seq], ['two', 'two', 2, 2])
})

test('a node does not read its own messages', async (t) => {
  const { a, b } = await pair(t)
  const [own, others] = [a.messages(), b.messages()]
  await a.send('mine')
  await take(others, 1)
  await b.send('yours')
  const [message] = await take(own, 1)
  assert.deepEqual([String(message.data), message.from], ['yours', b.id])
})

test('a message sent before the first peer waits for it, and arrives', async (t) => {
  const a = createNode({ address: '127.0.0.1' })
  t.after(() => a.stop())
  await a.send('before the start')
  await a.start()
  await a.send('before the first peer')
  const b = createNode({ address: '127.0.0.1', seeds: seedsOf(a), readFrom: 'oldest' })
  t.after(() => b.stop())
  const messages = b.messages()
  await b.start()
  assert.deepEqual(
    (await take(messages, 2)).map(({ data }) => String(data)),
    ['before the start', 'before the first peer']
  )
})

test('send and broadcast.write arrive in the order of the calls', async (t) => {
  const { a, b } = await pair(t)
  const messages = b.messages()
  const sent = []
  for (let number = 0; number < 1000; number += 1) {
    if (number % 3 === 0) sent.push(a.send(String(number)))
    else a.broadcast.write(String(number))
  }
  await soon(Promise.all(sent))
  const taken = await take(messages, 1000)
  assert.deepEqual(
    taken.map(({ data }) => Number(data)),
    Array.from({ length: 1000 }, (_, number) => number)
  )
})

test('a message that is too large is refused, with its size and the limit', async (t) => {
  const { a, b } = await pair(t, { maxMessage: 1000 })
  const messages = b.messages()
  await assert.rejects(a.send(Buffer.alloc(1001)), (error) => {
    assert.ok(error instanceof RangeError)
    assert.deepEqual([error.code, error.size, error.limit], ['ERR_SMOKESIGNAL_TOO_LARGE', 1001, 1000])
    return /1001.*1000/.test(error.message)
  })
  await a.send(Buffer.alloc(1000))
  assert.equal((await take(messages, 1))[0].data.length, 1000)
})

test('send refuses what is neither text nor bytes, and fails on a stopped node', async (t) => {
  const node = await started(t)
  for (const data of [undefined, null, 5, {}, [1]]) {
    await assert.rejects(node.send(data), {
      name: 'TypeError',
      code: 'ERR_SMOKESIGNAL_BAD_OPTION',
      message: /"data"/
    })
  }
  await node.stop()
  await assert.rejects(node.send('too late'), { code: 'ERR_SMOKESIGNAL_NOT_RUNNING', message: /start\(\)/ })
})

test('lost messages are a gap, in messages() and as an event, and reading goes on', async (t) => {
  const a = await started(t)
  // Messages as large as those of the other node are above its limit.
  const b = createNode({ address: '127.0.0.1', maxMessage: 1000, seeds: seedsOf(a) })
  t.after(() => b.stop())
  await b.start()
  if (!b.connected) await soon(once(b, 'connect'))
  const messages = b.messages()
  const gap = once(b.broadcast, 'gap')
  b.broadcast.resume()
  await a.send('small')
  await a.send(Buffer.alloc(500_000))
  await a.send('small again')
  const [before, missing, after] = await take(messages, 3)
  assert.deepEqual([before.seq, String(before.data)], [1, 'small'])
  assert.deepEqual(missing, { from: a.id, missed: 1 })
  assert.deepEqual([after.seq, String(after.data)], [3, 'small again'])
  assert.deepEqual(await soon(gap), [{ from: a.id, missed: 1 }])
})

test('messages() ends when the node stops, and another one reads after the next start', async (t) => {
  const { a, b } = await pair(t)
  const messages = b.messages()
  await a.send('the last one')
  await take(messages, 1)
  const waiting = messages.next()
  await b.stop()
  assert.deepEqual(await waiting, { value: undefined, done: true })
  assert.deepEqual(await messages.next(), { value: undefined, done: true })
  await b.start()
  if (!b.connected) await soon(once(b, 'connect'))
  const again = b.messages()
  await a.send('and one more')
  assert.equal(String((await take(again, 1))[0].data), 'and one more')
})

test('leaving the loop ends the iteration', async (t) => {
  const { a, b } = await pair(t)
  const messages = b.messages()
  await a.send('enough')
  for await (const { data } of messages) {
    assert.equal(String(data), 'enough')
    break
  }
  await a.send('unheard')
  assert.deepEqual(await messages.next(), { value: undefined, done: true })
})

test('several pending calls of next() get messages in order', async (t) => {
  const { a, b } = await pair(t)
  const messages = b.messages()
  const waiting = [messages.next(), messages.next(), messages.next()]
  for (const text of ['a', 'b', 'c']) await a.send(text)
  assert.deepEqual(
    (await soon(Promise.all(waiting))).map(({ value }) => String(value.data)),
    ['a', 'b', 'c']
  )
})

/** Starts a node that has five messages of another one. Resolves to options to join through it. */
async function withHistory(t) {
  const { a, b } = await pair(t)
  const heard = b.messages()
  for (let number = 1; number <= 5; number += 1) await a.send(String(number))
  await take(heard, 5)
  return { a, seeds: seedsOf(a) }
}

for (const [readFrom, expected] of [
  ['oldest', ['1', '2', '3', '4', '5', 'now']],
  [{ last: 2 }, ['4', '5', 'now']],
  [{ last: 0 }, ['now']],
  ['now', ['now']],
  [undefined, ['now']]
]) {
  test(`a node with readFrom ${JSON.stringify(readFrom)} reads ${expected.join(', ')}`, async (t) => {
    const { a, seeds } = await withHistory(t)
    const joiner = createNode({ address: '127.0.0.1', seeds, readFrom })
    t.after(() => joiner.stop())
    const messages = joiner.messages()
    await joiner.start()
    await until(
      () => a.peers.inList(joiner.id) && joiner.peers.inList(a.id),
      [a, 'new peer'],
      [joiner, 'new peer']
    )
    await a.send('now')
    assert.deepEqual(
      (await take(messages, expected.length)).map(({ data }) => String(data)),
      expected
    )
  })
}

test("unsigned nodes read each other's messages", async (t) => {
  const { a, b } = await pair(t, { unsigned: true })
  const messages = b.messages()
  await a.send('trust me')
  assert.equal((await take(messages, 1))[0].from, a.id)
})

test('signed and unsigned nodes do not connect', async (t) => {
  const signed = await started(t)
  const unsigned = await started(t, { unsigned: true })
  for (const [from, to] of [
    [signed, unsigned],
    [unsigned, signed]
  ]) {
    await assert.rejects(soon(from.addPeer('127.0.0.1', to.options.port)), (error) =>
      /^ERR_SMOKESIGNAL_/.test(error.code)
    )
    assert.equal(from.connected, false)
  }
})

test('size counts the nodes of the network, and the metrics what has happened', async (t) => {
  const nodes = await network(t, 3)
  await becomes(() => nodes.every((node) => node.size === 3 && node.peers.list.length === 2))
  const messages = nodes.slice(1).map((node) => node.messages())
  const { links, slowestReader, ...counted } = nodes[1].metrics()
  assert.ok(slowestReader == null)
  assert.deepEqual(links.map(({ peer }) => peer).sort(), nodes[1].peers.list.map(({ id }) => id).sort())
  for (const link of links) {
    assert.ok(link.roundTrip > 0 && link.roundTrip < 5000, `${link.roundTrip} ms`)
    assert.ok(link.bytesSentPerSecond >= 0 && link.bytesReceivedPerSecond >= 0 && link.bytesUnsent >= 0)
  }
  assert.deepEqual(counted, {
    networkSize: 3,
    peers: 2,
    messagesWaiting: 0,
    bytesRetained: 0,
    bytesUnread: 0,
    readers: 0,
    readersBehind: 0,
    bytesUnconfirmed: 0,
    messagesSent: 0,
    bytesSent: 0,
    messagesReceived: 0,
    bytesReceived: 0,
    messagesMissed: 0,
    duplicatesReceived: 0,
    messagesUnknown: 0,
    framesUnknown: 0,
    writers: []
  })
  await nodes[0].send('one')
  await Promise.all(messages.map((reader) => take(reader, 1)))
  const { messagesSent, bytesSent } = nodes[0].metrics()
  assert.deepEqual([messagesSent, bytesSent], [1, 3])
  const { messagesReceived, messagesMissed, bytesRetained, bytesUnread } = nodes[1].metrics()
  assert.deepEqual([messagesReceived, messagesMissed], [1, 0])
  assert.ok(bytesRetained > 3 && bytesUnread >= 0)
  assert.equal(nodes[0].size, 3)
  // The figures are a tenth of a second old.
  await becomes(() => nodes[1].metrics().writers.length === 1)
  const none = { writer: nodes[0].id, messagesBehind: 0, bytesBehind: 0, secondsBehind: 0 }
  assert.deepEqual(nodes[1].metrics().writers, [none])
  const [peer] = nodes[2].peers.list
  assert.equal(peer.metrics().peer, peer.id)
  await nodes[2].stop()
  assert.equal(peer.metrics(), undefined)
  assert.deepEqual([nodes[2].metrics().links, nodes[2].metrics().writers], [[], []])
  assert.equal(nodes[2].size, 0)
  await becomes(() => nodes[0].size === 2)
})

test('a program that listens for messages only keeps nothing for a stream that it does not read', async (t) => {
  const { a, b } = await pair(t)
  let read = 0
  b.broadcast.on('message', () => (read += 1))
  for (let number = 0; number < 100; number += 1) await a.send(Buffer.alloc(10_000))
  await becomes(() => read === 100)
  assert.equal(b.metrics().bytesUnread, 0)
  // From here on it is read, however that is done.
  const begin = [
    (stream) => stream.on('data', () => {}),
    (stream) => stream.on('readable', () => {}),
    (stream) => stream.read(),
    (stream) => stream.pause(),
    (stream) => void stream[Symbol.asyncIterator]().next()
  ]
  for (const reads of begin) {
    const { a, b } = await pair(t)
    await a.send('before')
    await becomes(() => b.metrics().messagesReceived === 1)
    assert.equal(b.metrics().bytesUnread, 0)
    const chunks = []
    const { push } = b.broadcast
    b.broadcast.push = (chunk) => chunks.push(String(chunk)) && push.call(b.broadcast, chunk)
    reads(b.broadcast)
    await a.send('after')
    await becomes(() => chunks.length > 0 || b.metrics().bytesUnread > 0)
    b.broadcast.read()
    assert.deepEqual(chunks, ['after'])
  }
})

test('sendConfirmed resolves to how many nodes have the message', async (t) => {
  const nodes = await network(t, 3)
  await becomes(() => nodes.every((node) => node.size === 3))
  const messages = nodes.slice(1).map((node) => node.messages())
  nodes[0].send('before')
  assert.equal(await soon(nodes[0].sendConfirmed('confirmed')), 2)
  for (const reader of messages) {
    const [before, confirmed] = await take(reader, 2)
    assert.deepEqual([String(before.data), String(confirmed.data)], ['before', 'confirmed'])
  }
  const alone = await started(t)
  await assert.rejects(alone.sendConfirmed('x', { signal: AbortSignal.timeout(20) }), {
    code: 'ABORT_ERR'
  })
  const waiting = assert.rejects(alone.sendConfirmed('y'), { code: 'ERR_SMOKESIGNAL_NOT_RUNNING' })
  alone.stop()
  await soon(waiting)
  await assert.rejects(nodes[0].sendConfirmed(Buffer.alloc(2 ** 24 + 1)), {
    code: 'ERR_SMOKESIGNAL_TOO_LARGE'
  })
})

test('a writer that waits for all names a reader that stands still for readerTimeout', async (t) => {
  const { a, b } = await pair(t, { pace: 'all', readerTimeout: 500, leaveTimeout: 0 })
  const messages = b.messages()
  const timedOut = once(a, 'reader timed out')
  a.broadcast.write('the first')
  await take(messages, 1)
  // More than the 8 MiB that a reader may be behind.
  for (let count = 0; count < 48; count += 1) a.broadcast.write(Buffer.alloc(2 ** 20))
  const [event] = await soon(timedOut, 'the event')
  assert.deepEqual(event, { reader: b.id.slice(0, 16) })
  await messages.return()
})
