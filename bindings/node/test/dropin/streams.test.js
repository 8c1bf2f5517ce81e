'use strict'
/**
 * `broadcast` and Peer behave like other streams of Node.js. Most tests run with both.
 */
const assert = require('node:assert/strict')
const { once } = require('node:events')
const { Duplex, PassThrough, Readable, Transform, Writable } = require('node:stream')
const { pipeline, finished } = require('node:stream/promises')
const { test } = require('node:test')
const { chunks, eventually, pair, soon, started, until } = require('../helpers')

/** Runs `body(t, from, to, nodes)` twice: what is written to `from` arrives at `to`. */
function both(name, body) {
  test(`${name} (broadcast)`, async (t) => {
    const { a, b } = await pair(t)
    await body(t, a.broadcast, b.broadcast, { a, b })
  })
  test(`${name} (Peer)`, async (t) => {
    const { a, b, toA, toB } = await pair(t)
    // The stream of a to b, and that of b to a.
    await body(t, toB, toA, { a, b })
  })
}

/**
 * Resolves when everything that was written to `from` so far has been handed over and has arrived
 * at the other node.
 */
async function arrived({ a, b }, from) {
  await new Promise((resolve) => from.write('', resolve))
  const answering = b.answer(() => 'yes')
  const question = a.ask('are you there?', { timeout: 10_000 })
  await soon(question.next(), 'an answer')
  await question.return()
  answering.close()
}

both('one write is one chunk at the reader, whatever its size', async (t, from, to) => {
  const sizes = [1, 2, 1000, 8191, 8192, 65_535, 65_536, 65_537, 200_000, 3, 1_000_000, 1]
  const found = []
  const done = new Promise((resolve) => {
    to.on('data', (chunk) => {
      found.push(chunk)
      if (found.length === sizes.length) resolve()
    })
  })
  const sent = sizes.map((size, i) => Buffer.alloc(size, i + 1))
  sent.forEach((chunk) => from.write(chunk))
  await soon(done, 'all chunks')
  assert.deepEqual(
    found.map((chunk) => chunk.length),
    sizes
  )
  found.forEach((chunk, i) => assert.ok(chunk.equals(sent[i])))
})

both('chunks that were corked leave at uncork, one chunk for each write', async (t, from, to) => {
  const heard = chunks(to, 3)
  from.cork()
  from.write('one')
  from.write('two')
  from.write('three')
  await new Promise(setImmediate)
  assert.equal(from.writableCorked, 1)
  from.uncork()
  assert.deepEqual(await heard, ['one', 'two', 'three'])
})

both('a writer may reuse its buffer after the callback of write', async (t, from, to) => {
  const heard = chunks(to, 200)
  const buffer = Buffer.alloc(20_000)
  for (let i = 0; i < 200; i += 1) {
    buffer.fill(i)
    await new Promise((resolve) => from.write(buffer, resolve))
  }
  buffer.fill('x')
  const found = await heard
  assert.equal(found.length, 200)
  found.slice(0, 128).forEach((text, i) => assert.equal(text.charCodeAt(19_999), i))
})

both('read() of a paused stream returns one message at a time', async (t, from, to, nodes) => {
  assert.equal(to.read(), null) // It begins to read.
  const sent = Array.from({ length: 50 }, (_, i) => `message ${i}`)
  sent.forEach((text) => from.write(text))
  await arrived(nodes, from)
  const found = []
  to.on('readable', () => {
    for (let chunk = to.read(); chunk !== null; chunk = to.read()) found.push(String(chunk))
  })
  await eventually(() => found.length >= sent.length)
  assert.deepEqual(found, sent)
})

both(
  'read(size) splits a message, and its rest comes before the next message',
  async (t, from, to, nodes) => {
    assert.equal(to.read(), null) // It begins to read.
    from.write('abcdef')
    from.write('second')
    await arrived(nodes, from)
    await soon(once(to, 'readable'))
    assert.equal(String(to.read(2)), 'ab')
    assert.equal(String(to.read()), 'cdef')
    let next
    await eventually(() => (next = to.read()) !== null)
    assert.equal(String(next), 'second')
  }
)

both('a chunk that unshift puts back is read again by itself', async (t, from, to, nodes) => {
  assert.equal(to.read(), null) // It begins to read.
  from.write('first')
  from.write('second')
  await arrived(nodes, from)
  await soon(once(to, 'readable'))
  const first = to.read()
  to.unshift(first)
  const found = []
  to.on('data', (chunk) => found.push(String(chunk)))
  await until(() => found.length === 2, [to, 'data'])
  assert.deepEqual(found, ['first', 'second'])
})

both('pause() within a listener holds the rest back, and resume() goes on', async (t, from, to, nodes) => {
  const found = []
  to.on('data', (chunk) => {
    found.push(String(chunk))
    to.pause()
  })
  for (let i = 0; i < 5; i += 1) from.write(`message ${i}`)
  await until(() => found.length === 1, [to, 'data'])
  await arrived(nodes, from)
  assert.equal(found.length, 1)
  for (let i = 2; i <= 5; i += 1) {
    to.resume()
    await until(() => found.length === i, [to, 'data'])
  }
  assert.deepEqual(
    found,
    [0, 1, 2, 3, 4].map((i) => `message ${i}`)
  )
})

both('for await yields one message per step', async (t, from, to, nodes) => {
  assert.equal(to.read(), null) // It begins to read.
  const sent = Array.from({ length: 30 }, (_, i) => `message ${i}`)
  sent.forEach((text) => from.write(text))
  await arrived(nodes, from)
  const found = []
  for await (const chunk of to.iterator({ destroyOnReturn: false })) {
    found.push(String(chunk))
    // Reads more slowly than messages arrive.
    await new Promise(setImmediate)
    if (found.length === sent.length) break
  }
  assert.deepEqual(found, sent)
})

both('setEncoding yields strings, and joins a character that two messages share', async (t, from, to) => {
  to.setEncoding('utf8')
  const euro = Buffer.from('€')
  const found = []
  to.on('data', (chunk) => found.push(chunk))
  from.write('Grüße 🌍')
  from.write(euro.subarray(0, 1))
  from.write(euro.subarray(1))
  from.write('end')
  await until(() => found.at(-1) === 'end', [to, 'data'])
  assert.deepEqual(found, ['Grüße 🌍', '€', 'end'])
})

both('setEncoding works for a paused reader, too', async (t, from, to, nodes) => {
  to.setEncoding('utf8')
  assert.equal(to.read(), null) // It begins to read.
  from.write('ä')
  from.write(Buffer.from('€').subarray(0, 1))
  from.write(Buffer.from('€').subarray(1))
  from.write('b')
  await arrived(nodes, from)
  const found = []
  to.on('readable', () => {
    for (let chunk = to.read(); chunk !== null; chunk = to.read()) found.push(chunk)
  })
  await eventually(() => found.join('') === 'ä€b')
})

both('a string is written in its encoding', async (t, from, to) => {
  const heard = chunks(to, 3)
  from.setDefaultEncoding('latin1')
  from.write('68c3bc', 'hex')
  from.write('aGk=', 'base64')
  from.write('\u0041')
  assert.deepEqual(await heard, ['hü', 'hi', 'A'])
})

both('a Uint8Array can be written like a Buffer', async (t, from, to) => {
  const heard = chunks(to, 1)
  from.write(new Uint8Array([0x68, 0x69]))
  assert.deepEqual(await heard, ['hi'])
})

both('writing what is not data throws a TypeError, and the stream goes on', async (t, from, to) => {
  for (const bad of [13, {}, [], true, undefined])
    assert.throws(() => from.write(bad), { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' })
  assert.throws(() => from.write(null), { code: 'ERR_STREAM_NULL_VALUES' })
  const heard = chunks(to, 1)
  from.write('fine')
  assert.deepEqual(await heard, ['fine'])
})

both('nothing is delivered within a call of write, resume, on or read', async (t, from, to, nodes) => {
  let inside = false
  let within = 0
  let count = 0
  const during = (call) => {
    inside = true
    call()
    inside = false
  }
  assert.equal(to.read(), null) // It begins to read.
  from.write('waiting')
  await arrived(nodes, from)
  during(() =>
    to.on('data', () => {
      count += 1
      if (inside) within += 1
    })
  )
  during(() => to.resume())
  for (let i = 0; i < 200; i += 1) during(() => from.write(`message ${i}`))
  await until(() => count === 201, [to, 'data'])
  assert.equal(within, 0)
})

both('callbacks of write come in order, each once, after the call', async (t, from) => {
  const log = []
  const done = Promise.all(
    [0, 1, 2, 3].map(
      (i) =>
        new Promise((resolve) =>
          from.write(`message ${i}`, (error) => {
            log.push([i, error ?? null])
            resolve()
          })
        )
    )
  )
  assert.deepEqual(log, [])
  await done
  assert.deepEqual(
    log,
    [0, 1, 2, 3].map((i) => [i, null])
  )
})

both('write() returns false when too much waits, and drain comes when there is room', async (t, from, to) => {
  to.pause()
  const chunk = Buffer.alloc(64 * 1024)
  let written = 0
  // A stalled reader blocks only its own link, and the node itself buffers far less than this.
  while (from.write(chunk)) {
    written += 1
    assert.ok(written < 10_000, 'no back-pressure')
  }
  assert.equal(from.writableNeedDrain, true)
  const drained = once(from, 'drain')
  let bytes = 0
  to.on('data', (data) => (bytes += data.length))
  to.resume()
  await soon(drained, 'drain')
  assert.equal(from.writableNeedDrain, false)
  await until(() => bytes === (written + 1) * chunk.length, [to, 'data'])
})

both('end() ends writing with finish, and reading goes on', async (t, from, to) => {
  const heard = chunks(to, 2)
  from.write('one')
  const finish = once(from, 'finish')
  from.end('last')
  await soon(finish, 'finish')
  assert.equal(from.writableFinished, true)
  assert.deepEqual(await heard, ['one', 'last'])
  const back = chunks(from, 1)
  to.write('back')
  assert.deepEqual(await back, ['back'])
  assert.equal(from.destroyed, false)
})

both(
  'a write after end() fails with the error of Node.js, in the callback and as an event',
  async (t, from) => {
    from.end()
    const failed = once(from, 'error')
    const called = new Promise((resolve) => from.write('late', resolve))
    assert.equal((await called).code, 'ERR_STREAM_WRITE_AFTER_END')
    assert.equal((await failed)[0].code, 'ERR_STREAM_WRITE_AFTER_END')
  }
)

both(
  'destroy() closes once even if it is called twice, and a write afterwards fails with the error of Node.js',
  async (t, from) => {
    let count = 0
    from.on('close', () => (count += 1))
    const closed = once(from, 'close')
    assert.equal(from.destroy(), from)
    from.destroy()
    await soon(closed, 'close')
    await new Promise(setImmediate)
    assert.equal(count, 1)
    assert.equal(from.closed, true)
    const error = await new Promise((resolve) => from.write('late', resolve))
    assert.equal(error.code, 'ERR_STREAM_DESTROYED')
  }
)

both('destroy(error) emits the error before close', async (t, from) => {
  const log = []
  from.on('error', (error) => log.push(error.message))
  from.on('close', () => log.push('close'))
  from.destroy(new Error('enough'))
  await eventually(() => log.length === 2)
  assert.deepEqual(log, ['enough', 'close'])
})

both('an oversized write fails with the limit in the text, and other writes do not', async (t, from, to) => {
  const limit = 16 * 1024 * 1024
  const large = Buffer.alloc(limit + 1)
  const error = await new Promise((resolve) => from.write(large, resolve))
  assert.ok(error instanceof RangeError)
  assert.equal(error.code, 'ERR_SMOKESIGNAL_TOO_LARGE')
  assert.match(error.message, /16777217.*16777216/)
  assert.equal(from.destroyed, false)
  const failed = once(from, 'error')
  from.write(large)
  assert.equal((await soon(failed))[0].code, 'ERR_SMOKESIGNAL_TOO_LARGE')
  const heard = new Promise((resolve) => to.once('data', resolve))
  from.write(large.subarray(1))
  assert.equal((await soon(heard, 'the largest message')).length, limit)
})

both('a pipeline into it resolves when everything is written', async (t, from, to) => {
  const heard = chunks(to, 3)
  await soon(pipeline(Readable.from(['a', 'b', 'c']), from), 'the pipeline')
  assert.deepEqual(await heard, ['a', 'b', 'c'])
})

both('pipe to a slow destination loses nothing and keeps the order', async (t, from, to) => {
  const found = []
  const slow = new Writable({
    highWaterMark: 10,
    write(chunk, encoding, callback) {
      found.push(String(chunk))
      setImmediate(callback)
    }
  })
  to.pipe(slow)
  for (let i = 0; i < 500; i += 1) if (!from.write(`message ${i}`)) await once(from, 'drain')
  await eventually(() => found.length === 500)
  assert.deepEqual(
    found,
    Array.from({ length: 500 }, (_, i) => `message ${i}`)
  )
})

both('after unpipe chunks wait, and a pipe to another destination gets them', async (t, from, to, nodes) => {
  const [first, second] = [new PassThrough(), new PassThrough()]
  const one = chunks(first, 1)
  to.pipe(first)
  from.write('one')
  assert.deepEqual(await one, ['one'])
  to.unpipe(first)
  const two = chunks(second, 1)
  from.write('two')
  await arrived(nodes, from)
  assert.equal(first.readableLength, 0)
  to.pipe(second)
  assert.deepEqual(await two, ['two'])
})

both('two destinations of one pipe get everything', async (t, from, to) => {
  const targets = [new PassThrough(), new PassThrough()]
  const heard = Promise.all(targets.map((target) => chunks(target, 3)))
  targets.forEach((target) => to.pipe(target))
  for (const text of ['a', 'b', 'c']) from.write(text)
  assert.deepEqual(await heard, [
    ['a', 'b', 'c'],
    ['a', 'b', 'c']
  ])
})

both('transforms, Duplex.from and chains of pipes work behind it', async (t, from, to) => {
  const upper = new Transform({
    transform(chunk, encoding, callback) {
      callback(null, String(chunk).toUpperCase())
    }
  })
  const heard = chunks(to.pipe(upper), 2)
  const wrapped = Duplex.from({ readable: new PassThrough(), writable: from })
  // At the end of the test the link closes before the stream was ended.
  wrapped.on('error', () => {})
  wrapped.write('one')
  wrapped.write('two')
  assert.deepEqual(await heard, ['ONE', 'TWO'])
})

both('a listener may remove itself or others while it is called', async (t, from, to) => {
  const log = []
  const second = (chunk) => log.push(`second ${chunk}`)
  to.on('data', function first(chunk) {
    log.push(`first ${chunk}`)
    to.removeListener('data', first)
    to.removeListener('data', second)
    to.on('data', (data) => log.push(`third ${data}`))
  })
  to.on('data', second)
  from.write('a')
  from.write('b')
  await eventually(() => log.includes('third b'))
  assert.deepEqual(log, ['first a', 'second a', 'third b'])
})

both(
  'after once("data") without another reader, chunks wait for the next reader',
  async (t, from, to, nodes) => {
    const first = once(to, 'data')
    from.write('one')
    assert.equal(String((await soon(first))[0]), 'one')
    to.pause()
    from.write('two')
    from.write('three')
    await arrived(nodes, from)
    const rest = chunks(to, 2)
    to.resume()
    assert.deepEqual(await rest, ['two', 'three'])
  }
)

test('finished() and for await over broadcast end when it is destroyed, and not when the node stops', async (t) => {
  const { a, b } = await pair(t)
  const over = finished(b.broadcast, { writable: false }).catch((error) => error)
  let ended = false
  over.then(() => (ended = true))
  await b.stop()
  await new Promise(setImmediate)
  assert.equal(ended, false)
  await b.start()
  await until(() => b.connected && a.connected, [b, 'connect'], [a, 'connect'])
  const loop = (async () => {
    for await (const chunk of b.broadcast) return String(chunk)
  })()
  a.broadcast.write('once')
  assert.equal(await soon(loop), 'once')
  // Leaving the loop destroys the stream, as with any stream.
  assert.equal(b.broadcast.destroyed, true)
  await soon(over, 'finished')
  assert.equal(b.listening, true)
})

test('end() on broadcast, as stdin at its end calls it, leaves reading and the node alive', async (t) => {
  const { a, b } = await pair(t)
  const stdin = new PassThrough()
  const stdout = new PassThrough()
  stdin.pipe(b.broadcast).pipe(stdout)
  stdin.end('the only line')
  await soon(once(b.broadcast, 'finish'))
  const heard = chunks(stdout, 1)
  a.broadcast.write('answer')
  assert.deepEqual(await heard, ['answer'])
  assert.equal(b.listening, true)
  assert.equal(b.connected, true)
})

test('broadcast stays ended after stop() and start(), and reading goes on', async (t) => {
  const { a, b } = await pair(t)
  b.broadcast.end()
  await soon(once(b.broadcast, 'finish'))
  await b.stop()
  await b.start()
  await until(() => b.connected && a.connected, [b, 'connect'], [a, 'connect'])
  assert.equal(b.broadcast.writable, false)
  const heard = chunks(b.broadcast, 1)
  a.broadcast.write('still read')
  assert.deepEqual(await heard, ['still read'])
})

test('end() of a Peer ends one direction, and the other side sees an end only when the link closes', async (t) => {
  const { a, b, toA, toB } = await pair(t)
  const all = chunks(toB, 1)
  toA.end('last words')
  assert.deepEqual(await all, ['last words'])
  assert.equal(a.peers.inList(b.id), toB)
  const back = chunks(toA, 1)
  toB.write('understood')
  assert.deepEqual(await back, ['understood'])
})

test('destroying a Peer closes its link, and destroying broadcast leaves the node running', async (t) => {
  const { a, b, toA, toB } = await pair(t, { minPeerNo: 1 })
  b.broadcast.destroy()
  await soon(once(b.broadcast, 'close'))
  assert.equal(b.connected, true)
  const gone = Promise.all([once(a.peers, 'remove'), once(b.peers, 'remove')])
  const ended = once(toA, 'close')
  toB.destroy()
  await soon(gone, 'remove on both sides')
  await soon(ended, 'close')
  await b.stop()
  await b.start()
})

test('a write that can no longer be sent calls back with an error, as that of a socket does', async (t) => {
  for (const way of ['destroy', 'stop']) {
    const { b, toA, toB } = await pair(t, { minPeerNo: 1 })
    toA.pause()
    const chunk = Buffer.alloc(64 * 1024)
    const results = []
    let written = 0
    const write = () => {
      written += 1
      return toB.write(chunk, (error) => results.push(error ?? null))
    }
    while (write());
    // These are queued behind it.
    write()
    write()
    if (way === 'destroy') toB.destroy()
    else b.stop()
    await eventually(() => results.length === written)
    assert.ok(results.at(-1) instanceof Error)
  }
})

test('an empty message reaches the event message and messages(), and is nothing in the stream', async (t) => {
  const { a, b } = await pair(t)
  const events = []
  b.broadcast.on('message', (data, from) => events.push([String(data), from]))
  const read = []
  b.broadcast.on('data', (chunk) => read.push(String(chunk)))
  const iteration = b.messages()
  const yielded = [iteration.next(), iteration.next(), iteration.next()]
  for (const text of ['before', '', 'behind']) a.broadcast.write(text)
  const messages = await soon(Promise.all(yielded), 'messages')
  assert.deepEqual(
    messages.map(({ value }) => [String(value.data), value.from]),
    [
      ['before', a.id],
      ['', a.id],
      ['behind', a.id]
    ]
  )
  const [
    {
      value: { seq }
    }
  ] = messages
  assert.deepEqual(
    messages.map(({ value }) => value.seq),
    [seq, seq + 1, seq + 2]
  )
  await until(() => events.length === 3 && read.length === 2, [b.broadcast, 'message'], [b.broadcast, 'data'])
  assert.deepEqual(events, [
    ['before', a.id],
    ['', a.id],
    ['behind', a.id]
  ])
  assert.deepEqual(read, ['before', 'behind'])
  await iteration.return()
})

test('the event message does not depend on whether the stream is read, and its listener may remove itself', async (t) => {
  const { a, b } = await pair(t)
  b.broadcast.pause()
  const log = []
  b.broadcast.once('message', (data) => log.push(`once ${data}`))
  const always = (data) => log.push(`always ${data}`)
  b.broadcast.on('message', always)
  for (const text of ['1', '2', '3']) a.broadcast.write(text)
  await until(() => log.includes('always 3'), [b.broadcast, 'message'])
  assert.deepEqual(log, ['once 1', 'always 1', 'always 2', 'always 3'])
  b.broadcast.removeListener('message', always)
  // The stream still has the messages that were not read meanwhile.
  const unread = chunks(b.broadcast, 3)
  b.broadcast.resume()
  assert.deepEqual(await unread, ['1', '2', '3'])
  const again = once(b.broadcast, 'message')
  a.broadcast.write('4')
  assert.equal(String((await soon(again))[0]), '4')
})

test('an exception of a listener is uncaught, and later messages still arrive', async (t) => {
  const { a, b } = await pair(t)
  const seen = []
  const thrown = []
  const keep = (error) => thrown.push(error.message)
  process.setUncaughtExceptionCaptureCallback(keep)
  t.after(() => process.setUncaughtExceptionCaptureCallback(null))
  b.broadcast.on('data', (chunk) => {
    seen.push(String(chunk))
    throw new Error(`data ${chunk}`)
  })
  b.broadcast.on('message', (data) => {
    throw new Error(`message ${data}`)
  })
  for (const text of ['1', '2', '3']) a.broadcast.write(text)
  await eventually(() => thrown.length === 6)
  assert.deepEqual(seen, ['1', '2', '3'])
  assert.deepEqual(thrown.sort(), ['data 1', 'data 2', 'data 3', 'message 1', 'message 2', 'message 3'])
})

test('a callback of write that throws does not block other writes', async (t) => {
  const a = await started(t)
  const thrown = []
  process.setUncaughtExceptionCaptureCallback((error) => thrown.push(error.message))
  t.after(() => process.setUncaughtExceptionCaptureCallback(null))
  // Without a peer it is queued.
  const chunk = Buffer.alloc(100_000)
  while (
    a.broadcast.write(chunk, () => {
      throw new Error('from a callback')
    })
  )
    if (a.broadcast.writableLength > 1e8) break
  const sends = [a.send('one'), a.send('two'), a.send('three')]
  const b = await started(t, {}, a)
  b.broadcast.resume()
  await soon(Promise.all(sends), 'send')
  await eventually(() => a.broadcast.writableLength === 0)
  assert.ok(thrown.length > 0)
  assert.ok(thrown.every((text) => text === 'from a callback'))
})

test('a stalled local reader blocks no other node, and gets a gap', async (t) => {
  const { a, b } = await pair(t)
  const c = await started(t, {}, a)
  await until(() => c.connected, [c, 'connect'])
  await eventually(() => [a, b, c].every((node) => node.size === 3))
  // Nobody reads the stream of b, but it has listeners for its events.
  b.broadcast.pause()
  const gaps = []
  b.broadcast.on('gap', (gap) => gaps.push(gap))
  let atC = 0
  c.broadcast.on('data', (chunk) => (atC += chunk.length))
  const chunk = Buffer.alloc(256 * 1024)
  const count = 600
  for (let i = 0; i < count; i += 1) {
    chunk.writeUInt32BE(i)
    if (!a.broadcast.write(Buffer.from(chunk))) await soon(once(a.broadcast, 'drain'), 'drain')
  }
  await eventually(() => atC === count * chunk.length)
  const found = []
  b.broadcast.on('data', (data) => found.push(data.readUInt32BE(0)))
  b.broadcast.resume()
  await eventually(() => found.at(-1) === count - 1)
  const missed = gaps.reduce((sum, gap) => sum + gap.missed, 0)
  assert.ok(missed > 0, 'the reader was stalled behind what is retained')
  assert.ok(gaps.every((gap) => gap.from === a.id))
  assert.equal(missed + found.length, count)
  assert.deepEqual(
    found,
    found.slice().sort((one, other) => one - other)
  )
})
