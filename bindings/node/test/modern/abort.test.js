'use strict'
/**
 * Every wait can be aborted by an AbortSignal, before it begins and while it lasts.
 */
const assert = require('node:assert/strict')
const net = require('node:net')
const { once } = require('node:events')
const { test } = require('node:test')
const { createNode } = require('smokesignal-p2p')
const { pair, soon, started } = require('../helpers')
const { take } = require('./common')

const aborted = { name: 'AbortError', code: 'ABORT_ERR' }
const nobody = '07'.repeat(32)

/** Returns a node that was not started. It is stopped when the test is over. */
function unstarted(t) {
  const node = createNode({ address: '127.0.0.1' })
  t.after(() => node.stop())
  return node
}

/** Begins `wait(signal)` and aborts it. */
async function abortedWait(wait) {
  const controller = new AbortController()
  const reason = new Error('enough')
  const waiting = wait(controller.signal)
  setImmediate(() => controller.abort(reason))
  await assert.rejects(soon(waiting), (error) => {
    assert.deepEqual([error.name, error.code, error.cause], ['AbortError', 'ABORT_ERR', reason])
    return true
  })
}

/** Starts a server that accepts connections and sends nothing. */
async function silence(t) {
  const sockets = []
  const server = net.createServer((socket) => sockets.push(socket.on('error', () => {})))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    sockets.forEach((socket) => socket.destroy())
    server.close()
  })
  return server.address().port
}

test('a wait with a signal that is aborted already does not begin', async (t) => {
  const { a } = await pair(t)
  const signal = AbortSignal.abort()
  await assert.rejects(a.addPeer('127.0.0.1', 1, { signal }), aborted)
  await assert.rejects(a.open(nobody, 'file', { signal }), aborted)
  await assert.rejects(a.reply(nobody, { signal }), aborted)
  await assert.rejects(a.send('hello', { signal }), aborted)
  assert.throws(() => a.messages({ signal }), aborted)
  assert.throws(() => a.accept('file', { signal }), aborted)
  assert.throws(() => a.replies({ signal }), aborted)
  assert.throws(() => a.ask('who?', { signal }), aborted)
  // None of the messages was taken.
  await a.accept('file').return()
  await a.replies().return()
})

test('a start with a signal that is aborted already does not listen', async (t) => {
  const node = unstarted(t)
  await assert.rejects(node.start({ signal: AbortSignal.abort() }), aborted)
  assert.equal(node.listening, false)
  await node.start()
  assert.equal(node.listening, true)
})

test('an aborted start leaves the node stopped, and it can be started again', async (t) => {
  const node = unstarted(t)
  const controller = new AbortController()
  const starting = node.start({ signal: controller.signal })
  controller.abort()
  await assert.rejects(soon(starting), aborted)
  assert.equal(node.listening, false)
  await node.start()
  assert.equal(node.listening, true)
})

test('a stop goes on after its wait was aborted, and another stop waits for its end', async (t) => {
  const { a, b } = await pair(t)
  const left = once(b, 'disconnect')
  const [abortedWait, whole] = [a.stop({ signal: AbortSignal.abort() }), a.stop()]
  await assert.rejects(abortedWait, aborted)
  await whole
  assert.equal(a.listening, false)
  await soon(left)
})

test('addPeer can be aborted', async (t) => {
  const node = await started(t)
  const port = await silence(t)
  await abortedWait((signal) => node.addPeer('127.0.0.1', port, { signal }))
  await abortedWait((signal) => node.addPeer('127.0.0.1', port, undefined, { signal }))
  const controller = new AbortController()
  const told = new Promise((resolve) => {
    node.addPeer('127.0.0.1', port, resolve, { signal: controller.signal })
  })
  controller.abort()
  assert.equal((await soon(told)).code, 'ABORT_ERR')
})

test('open and reply can be aborted', async (t) => {
  const { a } = await pair(t)
  await abortedWait((signal) => a.open(nobody, 'file', { signal }))
  await abortedWait((signal) => a.reply({ from: nobody }, { signal }))
})

test('a send that waits for room can be aborted, and its message is not sent', async (t) => {
  const node = await started(t)
  // Without a peer the node takes some messages, until it is full.
  const large = Buffer.alloc(256 * 1024)
  const sending = Array.from({ length: 64 }, () => node.send(large))
  await abortedWait((signal) => node.send('aborted', { signal }))
  const other = createNode({
    address: '127.0.0.1',
    readFrom: 'oldest',
    seeds: [{ address: '127.0.0.1', port: node.options.port }]
  })
  t.after(() => other.stop())
  const messages = other.messages()
  await other.start()
  await soon(Promise.all(sending))
  await node.send('the last')
  const sizes = (await take(messages, 65)).map(({ data }) => data.length)
  assert.deepEqual(sizes, [...sending.map(() => large.length), 'the last'.length])
})

test('an aborted iteration ends', async (t) => {
  const { a } = await pair(t)
  for (const iterate of [
    (signal) => a.messages({ signal }),
    (signal) => a.accept('file', { signal }),
    (signal) => a.replies({ signal }),
    (signal) => a.ask('who?', { signal, timeout: 600_000 })
  ]) {
    let iteration
    await abortedWait((signal) => {
      iteration = iterate(signal)
      return iteration.next()
    })
    assert.deepEqual(await iteration.next(), { value: undefined, done: true })
  }
  // The names can be accepted again.
  await a.accept('file').return()
  await a.replies().return()
})

test('an iteration that is aborted while nobody waits fails at its next step', async (t) => {
  const { a } = await pair(t)
  const controller = new AbortController()
  const messages = a.messages({ signal: controller.signal })
  controller.abort()
  await assert.rejects(messages.next(), aborted)
  assert.equal((await messages.next()).done, true)
})

test('a signal that is aborted after the end of the wait has no effect', async (t) => {
  const controller = new AbortController()
  const { signal } = controller
  const { a, b } = await pair(t)
  const messages = b.messages()
  await a.send('hello', { signal })
  const accepting = b.accept('file')
  const stream = await a.open(b.id, 'file', { signal })
  controller.abort()
  assert.equal(String((await take(messages, 1))[0].data), 'hello')
  const [accepted] = await take(accepting, 1)
  const chunk = once(accepted, 'data')
  stream.write('still there')
  assert.equal(String((await soon(chunk))[0]), 'still there')
  const closed = [stream, accepted].map((end) => once(end, 'close'))
  stream.end()
  accepted.end()
  stream.resume()
  await soon(Promise.all(closed))
})

test('a signal that is not an AbortSignal is refused', async (t) => {
  const { a } = await pair(t)
  const refused = { name: 'TypeError', code: 'ERR_SMOKESIGNAL_BAD_OPTION', message: /"signal".*AbortSignal/ }
  for (const signal of [5, {}, new AbortController()]) {
    await assert.rejects(unstarted(t).start({ signal }), refused)
    await assert.rejects(a.addPeer('127.0.0.1', 1, { signal }), refused)
    await assert.rejects(a.open(nobody, 'file', { signal }), refused)
    await assert.rejects(a.send('hello', { signal }), refused)
    assert.throws(() => a.messages({ signal }), refused)
    assert.throws(() => a.accept('file', { signal }), refused)
    assert.throws(() => a.ask('who?', { signal }), refused)
  }
})
