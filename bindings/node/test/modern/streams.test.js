'use strict'
/**
 * Named streams to any node: `open` and `accept`.
 */
const assert = require('node:assert/strict')
const { once } = require('node:events')
const { Duplex, PassThrough, Readable, Writable } = require('node:stream')
const { pipeline } = require('node:stream/promises')
const { test } = require('node:test')
const { setImmediate } = require('node:timers/promises')
const { NodeStream } = require('../../lib/stream')
const { reserve } = require('../../lib/wakeups')
const { pair, started, soon } = require('../helpers')
const { apart, chain, failure, linked, read, take } = require('./common')

const MIB = 1024 * 1024

test('a stream to a neighbour goes over its link', async (t) => {
  const { a, b } = await pair(t)
  const { here, there } = await linked(a, b, 'file')
  assert.deepEqual([here.peer, here.name, here.path], [b.id, 'file', 'neighbour'])
  assert.deepEqual([there.peer, there.name, there.path], [a.id, 'file', 'neighbour'])
  here.end('there')
  there.end('and back')
  assert.deepEqual((await Promise.all([read(here), read(there)])).map(String), ['and back', 'there'])
})

test('a stream to a node that is not a neighbour goes over a connection of its own', async (t) => {
  const { left, right } = await apart(t)
  const { here, there } = await linked(left, right)
  assert.deepEqual([here.path, there.path], ['direct', 'direct'])
  here.end('hello')
  assert.equal(String(await read(there)), 'hello')
  assert.equal(left.peers.list.length, 1)
})

test('with relayOnly a stream is relayed by the nodes between', async (t) => {
  const [first, , , last] = await chain(t, { relayOnly: true })
  const { here, there } = await linked(first, last)
  assert.deepEqual([here.path, there.path], ['relayed', 'relayed'])
  const sent = Buffer.alloc(MIB, 'relayed')
  here.end(sent)
  there.end(sent)
  const [one, other] = await soon(Promise.all([read(here), read(there)]))
  assert.ok(one.equals(sent) && other.equals(sent))
})

test('one side may end while the other goes on', async (t) => {
  const { a, b } = await pair(t)
  const { here, there } = await linked(a, b)
  here.end('no more')
  assert.equal(String(await read(there)), 'no more')
  assert.equal(there.destroyed, false)
  there.write('still ')
  there.end('here')
  assert.equal(String(await read(here)), 'still here')
})

test('one write is one chunk at the other end', async (t) => {
  const { a, b } = await pair(t)
  const { here, there } = await linked(a, b)
  const sizes = [1, 5, 70_000, 2, 300_000, 1]
  sizes.forEach((size) => here.write(Buffer.alloc(size)))
  here.end()
  const found = []
  for await (const chunk of there) found.push(chunk.length)
  assert.deepEqual(found, sizes)
})

test('when a stream is destroyed with an error, the other end gets its text', async (t) => {
  const { a, b } = await pair(t)
  const { here, there } = await linked(a, b)
  here.on('error', () => {})
  there.resume()
  here.destroy(new Error('the disk is full'))
  const error = await failure(there)
  assert.equal(error.code, 'ERR_SMOKESIGNAL_STREAM_RESET')
  assert.match(error.message, /the disk is full/)
  assert.equal(error.cause.code, 'ECONNRESET')
})

test('a stream that is destroyed without an error does not look like one that has ended', async (t) => {
  const { a, b } = await pair(t)
  const { here, there } = await linked(a, b)
  here.write('half of')
  here.destroy()
  await assert.rejects(read(there), { code: 'ERR_SMOKESIGNAL_STREAM_RESET' })
})

test('a stream with a name that is not accepted is refused', async (t) => {
  const { a, b } = await pair(t)
  const stream = await a.open(b.id, 'nobody')
  stream.resume()
  const error = await failure(stream)
  assert.equal(error.code, 'ERR_SMOKESIGNAL_STREAM_REFUSED')
  assert.equal(error.cause.code, 'ECONNREFUSED')
  assert.equal(stream.destroyed, true)
})

test('a relayed stream with a name that is not accepted is refused', async (t) => {
  const { left, right } = await apart(t, { relayOnly: true })
  const stream = await left.open(right.id, 'nobody')
  stream.resume()
  assert.equal((await failure(stream)).code, 'ERR_SMOKESIGNAL_STREAM_REFUSED')
})

test('a pipeline into a stream that is refused fails', async (t) => {
  const { a, b } = await pair(t)
  const stream = await a.open(b.id, 'nobody')
  const source = Readable.from(Array.from({ length: 64 }, () => Buffer.alloc(65_536)))
  await assert.rejects(soon(pipeline(source, stream)), { code: 'ERR_SMOKESIGNAL_STREAM_REFUSED' })
})

test('a name is refused again after the iteration of accept was left', async (t) => {
  const { a, b } = await pair(t)
  const { here } = await linked(a, b)
  here.destroy()
  const stream = await a.open(b.id, 'test')
  stream.resume()
  assert.equal((await failure(stream)).code, 'ERR_SMOKESIGNAL_STREAM_REFUSED')
  b.accept('test')
})

test('a name can be accepted only once at a time', async (t) => {
  const node = await started(t)
  const accepting = node.accept('taken')
  assert.throws(() => node.accept('taken'), { code: 'ERR_SMOKESIGNAL_NAME_TAKEN', message: /taken/ })
  await accepting.return()
  await node.accept('taken').return()
})

for (const [title, turn] of [
  ['there', (here, there) => [here, there]],
  ['back', (here, there) => [there, here]]
]) {
  test(`a writer over the path ${title} waits for its reader, and does not block other streams`, async (t) => {
    const { a, b } = await pair(t)
    const [first, second] = [await linked(a, b), await linked(a, b)]
    const [writer, reader] = turn(first.here, first.there)
    let taken = 0
    const source = function* () {
      for (; taken < 64 * MIB; taken += 65_536) yield Buffer.alloc(65_536)
    }
    const written = pipeline(Readable.from(source()), writer)
    // Meanwhile as many bytes go through another stream.
    const [otherWriter, otherReader] = turn(second.here, second.there)
    const other = pipeline(
      Readable.from(Array.from({ length: 512 }, () => Buffer.alloc(65_536))),
      otherWriter
    )
    assert.equal((await read(otherReader)).length, 32 * MIB)
    await other
    assert.ok(taken < 16 * MIB, `${taken} bytes were taken`)
    let arrived = 0
    reader.on('data', (chunk) => (arrived += chunk.length))
    await soon(Promise.all([once(reader, 'end'), written]))
    assert.equal(arrived, 64 * MIB)
  })
}

test('16 MiB arrive unchanged', async (t) => {
  const { left, right } = await apart(t)
  const { here, there } = await linked(left, right)
  const sent = Buffer.allocUnsafe(16 * MIB)
  for (let at = 0; at < sent.length; at += 4) sent.writeUInt32LE(Math.imul(at, 2654435761) >>> 0, at)
  const pieces = function* () {
    for (let at = 0; at < sent.length; at += 100_000) yield sent.subarray(at, at + 100_000)
  }
  const [received] = await soon(Promise.all([read(there), pipeline(Readable.from(pieces()), here)]))
  assert.ok(received.equals(sent))
})

test('many streams at the same time keep their bytes apart', async (t) => {
  const { a, b } = await pair(t)
  const echo = (async () => {
    for await (const stream of b.accept('echo')) stream.pipe(stream)
  })()
  const answers = Array.from({ length: 100 }, async (_, number) => {
    const stream = await a.open(b.id, 'echo')
    const text = `${number},`.repeat(1000)
    stream.end(text)
    return String(await read(stream)) === text
  })
  assert.ok((await soon(Promise.all(answers))).every(Boolean))
  await b.stop()
  await soon(echo, 'the end of the iteration')
})

test('a chunk that is too large is an error, and the stream goes on', async (t) => {
  const { a, b } = await pair(t, { maxMessage: 1000 })
  const { here, there } = await linked(a, b)
  const failed = failure(here)
  here.write(Buffer.alloc(1001))
  const error = await failed
  assert.ok(error instanceof RangeError)
  assert.deepEqual([error.code, error.size, error.limit], ['ERR_SMOKESIGNAL_TOO_LARGE', 1001, 1000])
  here.end(Buffer.alloc(1000))
  assert.equal((await read(there)).length, 1000)
})

test('opening a stream to an unknown node fails with NOT_FOUND', async (t) => {
  const { a } = await pair(t, { pingTimeout: 200 })
  await assert.rejects(soon(a.open('07'.repeat(32), 'file')), {
    code: 'ERR_SMOKESIGNAL_NOT_FOUND',
    message: /(07){32}/
  })
})

test('a stream to oneself, a bad id and a bad name are refused', async (t) => {
  const node = await started(t)
  await assert.rejects(node.open(node.id, 'file'), { code: 'ERR_SMOKESIGNAL_MYSELF' })
  await assert.rejects(node.open('ann', 'file'), {
    name: 'RangeError',
    code: 'ERR_SMOKESIGNAL_BAD_OPTION',
    message: /"id".*64 hex digits.*"ann"/
  })
  // A key of small order, for which anybody can sign.
  await assert.rejects(node.open('0'.repeat(64), 'file'), {
    name: 'RangeError',
    code: 'ERR_SMOKESIGNAL_BAD_OPTION',
    message: /0{64}.*no key pair has it/
  })
  await assert.rejects(node.open(undefined, 'file'), {
    name: 'TypeError',
    code: 'ERR_SMOKESIGNAL_BAD_OPTION'
  })
  for (const name of ['', 'n'.repeat(256)]) {
    await assert.rejects(node.open('07'.repeat(32), name), {
      name: 'RangeError',
      code: 'ERR_SMOKESIGNAL_BAD_OPTION',
      message: /"name"/
    })
    assert.throws(() => node.accept(name), {
      name: 'RangeError',
      code: 'ERR_SMOKESIGNAL_BAD_OPTION',
      message: /"name"/
    })
  }
  await node.stop()
  await assert.rejects(node.open('07'.repeat(32), 'file'), {
    code: 'ERR_SMOKESIGNAL_NOT_RUNNING',
    message: /start\(\)/
  })
})

test('streams break when the node at the other end stops, and its accept ends', async (t) => {
  const { a, b } = await pair(t)
  const accepting = b.accept('test')
  const here = await a.open(b.id, 'test')
  await take(accepting, 1)
  const waiting = accepting.next()
  here.resume()
  await Promise.all([b.stop(), assert.rejects(once(here, 'end'), { code: 'ERR_SMOKESIGNAL_STREAM_CUT' })])
  assert.deepEqual(await waiting, { value: undefined, done: true })
})

test('a stream whose end has left does not fail when the link goes before that was noticed', async () => {
  // The native half of a stream whose writing direction is done, and whose link is gone, by the
  // time of the one wakeup for both.
  let isGone = false
  const native = {
    name: 'test',
    path: 'neighbour',
    write: (_bytes, _lengths, count) => count,
    resumeWrite: () => 0,
    finish: () => isGone,
    readInto(_buffer, table) {
      table.fill(0)
      if (!isGone) return
      new Uint32Array(table.buffer, table.byteOffset)[3] = 1 // It has ended.
      this.failure = { code: 'STREAM_CUT', message: 'cut' }
    },
    close() {}
  }
  const stream = new NodeStream(native, reserve(), 1000)
  stream.end('the last word')
  await setImmediate()
  isGone = true
  // Not by `once`, which listens for errors: without a listener one ends the process.
  const closed = new Promise((resolve) => stream.on('close', resolve))
  stream._due()
  await soon(closed)
  assert.equal(stream.writableFinished, true)
})

test('names can be accepted before the node has started', async (t) => {
  const a = await started(t)
  const b = require('smokesignal-p2p').createNode({
    address: '127.0.0.1',
    seeds: [{ address: '127.0.0.1', port: a.options.port }]
  })
  t.after(() => b.stop())
  const accepting = b.accept('early')
  await b.start()
  if (!a.peers.inList(b.id)) await soon(once(a, 'new peer'))
  const stream = await a.open(b.id, 'early')
  stream.end('bird')
  const [accepted] = await take(accepting, 1)
  assert.equal(String(await read(accepted)), 'bird')
})

test('a reply reaches the writer of a message', async (t) => {
  const { left, right } = await apart(t)
  const messages = right.messages()
  const replies = left.replies()
  await left.send('who wants to talk?')
  const [message] = await take(messages, 1)
  const reply = await right.reply(message)
  reply.end('I do')
  const again = await right.reply(message.from)
  again.end('I, too')
  const streams = await take(replies, 2)
  assert.deepEqual(
    streams.map(({ peer, name }) => [peer, name]),
    [
      [right.id, 'reply'],
      [right.id, 'reply']
    ]
  )
  assert.deepEqual((await Promise.all(streams.map(read))).map(String).sort(), ['I do', 'I, too'])
})

test('pipelines over streams end in order', async (t) => {
  const { a, b } = await pair(t)
  const { here, there } = await linked(a, b)
  const collected = []
  const sink = new Writable({ write: (chunk, _encoding, done) => (collected.push(chunk), done()) })
  await soon(
    Promise.all([pipeline(Readable.from(['a', 'b', 'c']), here), pipeline(there, new PassThrough(), sink)])
  )
  assert.equal(String(Buffer.concat(collected)), 'abc')
})

test('web streams work over named streams', async (t) => {
  const { a, b } = await pair(t)
  const { here, there } = await linked(a, b)
  const ends = [here, there].map((stream) => Duplex.toWeb(stream))
  const written = ends.map(async ({ writable }, index) => {
    const writer = writable.getWriter()
    await writer.write(Buffer.from(`from ${index}`))
    await writer.close()
  })
  const texts = ends.map(async ({ readable }) => {
    const parts = []
    for await (const part of readable) parts.push(part)
    return String(Buffer.concat(parts))
  })
  assert.deepEqual(await soon(Promise.all(texts)), ['from 1', 'from 0'])
  await soon(Promise.all(written))
})

test('the web stream of broadcast carries messages both ways', async (t) => {
  const { a, b } = await pair(t)
  const web = Duplex.toWeb(a.broadcast)
  const reading = web.readable.getReader()
  const arrived = b.messages()
  await web.writable.getWriter().write(Buffer.from('there'))
  assert.equal(String((await take(arrived, 1))[0].data), 'there')
  await b.send('back')
  assert.equal(String(Buffer.from((await soon(reading.read())).value)), 'back')
})
