'use strict'
/**
 * Bad input, and operations at the wrong time. Each error names what is wrong and what to do.
 */
const assert = require('node:assert/strict')
const { once } = require('node:events')
const net = require('node:net')
const os = require('node:os')
const path = require('node:path')
const { test } = require('node:test')
const { createNode, Identity, MemoryNetwork } = require('../..')
const { pair, soon, started } = require('../helpers')

const ADDRESS = { address: '127.0.0.1' }

/** Options, the class of the error, and what its text has to contain. */
const BAD = [
  [{ address: 13 }, TypeError, /"address".*string/],
  [{ address: '' }, RangeError, /"address"/],
  [{ address: '127.0.0.1:13' }, RangeError, /"address".*not "127.0.0.1:13"/],
  [{ address: 'http://x' }, RangeError, /"address"/],
  [{ ...ADDRESS, port: 'http' }, RangeError, /"port".*0 to 65535.*"http"/],
  [{ ...ADDRESS, port: -1 }, RangeError, /"port"/],
  [{ ...ADDRESS, port: 65_536 }, RangeError, /"port".*65535/],
  [{ ...ADDRESS, port: 1.5 }, RangeError, /"port"/],
  [{ ...ADDRESS, port: NaN }, RangeError, /"port"/],
  [{ ...ADDRESS, port: '' }, RangeError, /"port"/],
  [{ ...ADDRESS, port: {} }, TypeError, /"port".*number/],
  [{ ...ADDRESS, port: true }, TypeError, /"port"/],
  [{ ...ADDRESS, minPeerNo: -1 }, RangeError, /"minPeerNo"/],
  [{ ...ADDRESS, minPeerNo: '3' }, TypeError, /"minPeerNo".*number/],
  [{ ...ADDRESS, minPeerNo: 6 }, RangeError, /"minPeerNo".*"maxPeerNo".*5/],
  [{ ...ADDRESS, minPeerNo: Infinity }, RangeError, /"minPeerNo"/],
  [{ ...ADDRESS, maxPeerNo: 2.5 }, RangeError, /"maxPeerNo".*Infinity/],
  [{ ...ADDRESS, maxPeerNo: NaN }, RangeError, /"maxPeerNo"/],
  [{ ...ADDRESS, pingTimeout: 1 }, RangeError, /"pingTimeout".*100/],
  [{ ...ADDRESS, pingTimeout: '3s' }, TypeError, /"pingTimeout".*milliseconds/],
  [{ ...ADDRESS, pingTimeout: Infinity }, RangeError, /"pingTimeout"/],
  [{ ...ADDRESS, seeds: { address: '127.0.0.1', port: 13 } }, TypeError, /"seeds".*array/],
  [{ ...ADDRESS, seeds: '127.0.0.1:13' }, TypeError, /"seeds".*array/],
  [{ ...ADDRESS, seeds: ['127.0.0.1:13'] }, TypeError, /"seeds\[0\]".*\{ address, port \}/],
  [{ ...ADDRESS, seeds: [null] }, TypeError, /"seeds\[0\]"/],
  [{ ...ADDRESS, seeds: [{ port: 13 }] }, TypeError, /"seeds\[0\]\.address"/],
  [{ ...ADDRESS, seeds: [{ ...ADDRESS, port: 13 }, { ...ADDRESS }] }, TypeError, /"seeds\[1\]\.port"/],
  [{ ...ADDRESS, seeds: [{ ...ADDRESS, port: 0 }] }, RangeError, /"seeds\[0\]\.port".*from 1/],
  [{ ...ADDRESS, logger: 'console' }, TypeError, /"logger".*trace/],
  [{ ...ADDRESS, logger: 1 }, TypeError, /"logger"/],
  [{ ...ADDRESS, advertise: 13 }, TypeError, /"advertise".*HOST:PORT/],
  [{ ...ADDRESS, advertise: ['203.0.113.7:8495', 1] }, TypeError, /"advertise"/],
  [{ ...ADDRESS, advertise: 'x' }, RangeError, /"advertise".*HOST:PORT/],
  [{ ...ADDRESS, preset: 'moon' }, RangeError, /"preset".*'lan'/],
  [{ ...ADDRESS, retention: { bytes: 1 } }, RangeError, /"retention".*33554432.*bytes: 1/],
  [{ ...ADDRESS, pace: 'some' }, RangeError, /"pace".*'all'/],
  [{ ...ADDRESS, uploadLimit: 1000 }, RangeError, /"uploadLimit".*43690.*"pingTimeout".*1000/],
  [{ ...ADDRESS, uploadLimit: 1e5, preset: 'lan' }, RangeError, /"uploadLimit".*131072/],
  [{ ...ADDRESS, maxMessage: 0 }, RangeError, /"maxMessage".*from 1/],
  [{ ...ADDRESS, maxMessage: '16' }, TypeError, /"maxMessage"/],
  [{ ...ADDRESS, identity: {} }, TypeError, /"identity".*Identity\.generate/],
  [{ ...ADDRESS, identity: Identity.generate(), keyFile: 'x' }, TypeError, /"keyFile".*"identity"/],
  [{ ...ADDRESS, keyFile: 1 }, TypeError, /"keyFile".*path/],
  [{ ...ADDRESS, networkSecret: 'short' }, RangeError, /"networkSecret".*16/],
  [{ ...ADDRESS, networkSecret: 1 }, TypeError, /"networkSecret"/],
  [{ ...ADDRESS, readFrom: 'then' }, TypeError, /"readFrom".*'oldest'/],
  [{ ...ADDRESS, readFrom: { last: -1 } }, RangeError, /"readFrom".*last/],
  [{ ...ADDRESS, unsigned: 'yes' }, TypeError, /"unsigned".*true or false/],
  [{ ...ADDRESS, transport: {} }, TypeError, /"transport".*MemoryNetwork/],
  [{ address: 'localhost.example', transport: new MemoryNetwork() }, RangeError, /"address"/]
]

test('each bad option is an error with a code that names the option and the cure', () => {
  for (const [options, kind, text] of BAD) {
    assert.throws(
      () => createNode(options),
      (error) => {
        assert.ok(error instanceof kind, `${JSON.stringify(options)}: ${error}`)
        assert.match(error.message, text)
        assert.equal(error.code, 'ERR_SMOKESIGNAL_BAD_OPTION')
        return true
      },
      JSON.stringify(options)
    )
  }
  for (const bad of [13, 'x', null]) assert.throws(() => createNode(bad), TypeError)
})

test('an error text never contains a secret', () => {
  const secret = 'hunter2hunter2'
  assert.throws(
    () => createNode({ ...ADDRESS, networkSecret: secret }),
    (error) => !error.message.includes(secret)
  )
})

test('addPeer rejects what is not an address, with an error that names it', async (t) => {
  const node = await started(t)
  const { port } = node.options
  const rejected = async (args, kind, text) => {
    const error = await node.addPeer(...args).then(
      () => assert.fail('resolved'),
      (reason) => reason
    )
    assert.ok(error instanceof kind, `${args}: ${error}`)
    assert.match(error.message, text)
    assert.match(error.code, /^ERR_SMOKESIGNAL_/)
  }
  await rejected([], TypeError, /"address"/)
  await rejected([undefined, port], TypeError, /"address"/)
  await rejected(['127.0.0.1'], TypeError, /"port"/)
  await rejected(['127.0.0.1', 0], RangeError, /"port".*1 to 65535/)
  await rejected(['127.0.0.1', 70_000], RangeError, /"port"/)
  await rejected(['127.0.0.1', 'x'], Error, /"port".*"x"/)
  await rejected(['127.0.0.1', port], Error, /itself|own|this node/i)
  await rejected(['no such host.invalid', port], Error, /no such host\.invalid/)
})

test('the callback of addPeer gets the error, also for bad arguments', async (t) => {
  const node = await started(t)
  const error = await soon(new Promise((resolve) => node.addPeer(undefined, undefined, resolve)))
  assert.ok(error instanceof TypeError)
})

test('operations on a node that is not running reject with a code, before start() and after stop()', async (t) => {
  const { a, b } = await pair(t)
  const { port } = b.options
  await a.stop()
  const fresh = createNode(ADDRESS)
  const rejects = (promise) =>
    soon(assert.rejects(promise, { code: 'ERR_SMOKESIGNAL_NOT_RUNNING', message: /start/ }))
  for (const node of [a, fresh]) {
    await rejects(node.addPeer('127.0.0.1', port))
    await rejects(node.open(b.id, 'name'))
    await rejects(node.reply(b.id))
    await rejects((async () => node.ask('question').next())())
  }
  // A message that is sent before the first start waits for it; after a stop it is refused.
  await rejects(a.send('data'))
  await fresh.send('data')
})

test('the arguments of the other methods are checked', async (t) => {
  const { a, b } = await pair(t)
  const rejects = (promise, expected) => soon(assert.rejects(promise, expected))
  await rejects(a.open(13, 'x'), { name: 'TypeError', message: /"id"/ })
  await rejects(a.open('not hex', 'x'), { name: 'RangeError', message: /"id".*64 hex/ })
  await rejects(a.open(b.id), { name: 'TypeError', message: /"name"/ })
  await rejects(a.open(b.id, ''), { name: 'RangeError', message: /"name".*255/ })
  await rejects(a.open(b.id, 'x'.repeat(256)), { name: 'RangeError', message: /"name"/ })
  await rejects(a.send(13), { name: 'TypeError', message: /"data".*string/ })
  await rejects(a.send(), { name: 'TypeError' })
  await rejects(a.send(Buffer.alloc(16 * 1024 * 1024 + 1)), {
    name: 'RangeError',
    code: 'ERR_SMOKESIGNAL_TOO_LARGE',
    message: /16777216/
  })
  assert.throws(() => a.accept(13), { name: 'TypeError', message: /"name"/ })
  assert.throws(() => a.accept(''), { name: 'RangeError' })
  assert.throws(() => a.ask({}), { name: 'TypeError' })
  assert.throws(() => a.ask('x', { timeout: '1s' }), { name: 'TypeError', message: /"timeout"/ })
  assert.throws(() => a.ask('x', { timeout: -1 }), { name: 'RangeError', message: /"timeout"/ })
  assert.throws(() => a.answer(), { name: 'TypeError', message: /"handler"/ })
  assert.throws(() => Identity.fromSeed(Buffer.alloc(31)), { name: 'RangeError', message: /32/ })
  assert.throws(() => Identity.load(path.join(os.tmpdir(), 'no', 'such', 'file')), {
    code: /^ERR_SMOKESIGNAL_/
  })
})

test('a port in use is the event error once, or a rejection if it is awaited, with the cause', async (t) => {
  const server = net.createServer().listen(0, '127.0.0.1')
  t.after(() => server.close())
  await once(server, 'listening')
  const { port } = server.address()
  const lines = []
  const node = createNode({ ...ADDRESS, port, logger: { fatal: (text) => lines.push(text) } })
  t.after(() => node.stop())
  // An awaited failure is not an event.
  const events = []
  node.on('error', (error) => events.push(error))
  const error = await node.start().catch((reason) => reason)
  assert.equal(error.code, 'ERR_SMOKESIGNAL_PORT_IN_USE')
  assert.equal(error.cause.code, 'EADDRINUSE')
  assert.match(error.message, new RegExp(`127.0.0.1:${port}`))
  assert.equal(node.listening, false)
  assert.equal(lines.length, 1)
  // A failure that nobody awaits is the event, and not an unhandled rejection.
  const failed = once(node, 'error')
  node.start()
  assert.equal((await soon(failed))[0].code, 'ERR_SMOKESIGNAL_PORT_IN_USE')
  // It is emitted once: a later failure, which is awaited, comes after anything else it could
  // cause.
  await assert.rejects(node.start(), { code: 'ERR_SMOKESIGNAL_PORT_IN_USE' })
  assert.equal(events.length, 1)
  // It can be started once the port is free.
  server.close()
  await once(server, 'close')
  await node.start()
  assert.equal(node.listening, true)
})

test('an aborted wait fails with the AbortError of Node.js', async (t) => {
  const { a, b } = await pair(t)
  const aborted = AbortSignal.abort()
  const expected = { name: 'AbortError', code: 'ABORT_ERR' }
  await assert.rejects(a.addPeer('127.0.0.1', b.options.port, { signal: aborted }), expected)
  await assert.rejects(a.open(b.id, 'x', { signal: aborted }), expected)
  await assert.rejects(a.send('x', { signal: aborted }), expected)
  const controller = new AbortController()
  const waiting = a.messages({ signal: controller.signal }).next()
  controller.abort()
  await soon(assert.rejects(waiting, expected))
  const node = createNode(ADDRESS)
  t.after(() => node.stop())
  await assert.rejects(node.start({ signal: aborted }), expected)
  await node.start()
  assert.equal(node.listening, true)
})

test('messages(), accept(), replies() and ask() end with stop(), and work again after start()', async (t) => {
  const { a, b } = await pair(t)
  const open = [a.messages(), a.accept('name'), a.replies(), a.ask('anybody?', { timeout: 60_000 })]
  const over = Promise.all(open.map((iteration) => iteration.next()))
  await a.stop()
  assert.deepEqual(
    await soon(over, 'the end of all'),
    open.map(() => ({ value: undefined, done: true }))
  )
  await a.start()
  if (!a.connected) await soon(Promise.race([once(a, 'connect'), a.addPeer('127.0.0.1', b.options.port)]))
  const messages = a.messages()
  const accepting = a.accept('name')
  const [first, stream] = [messages.next(), accepting.next()]
  b.broadcast.write('again')
  const opened = await b.open(a.id, 'name')
  opened.write('hello')
  assert.equal(String((await soon(first)).value.data), 'again')
  const { value: accepted } = await soon(stream)
  const [chunk] = await soon(once(accepted, 'data'))
  assert.equal(String(chunk), 'hello')
  await messages.return()
  await accepting.return()
  opened.resume().end()
  accepted.end()
  await soon(once(opened, 'close'), 'the end of the stream')
})
