'use strict'
/**
 * Stream libraries of the time of 0.2.x and of today work over `broadcast` and over a Peer.
 *
 * `p2p-rpc-stream`, which the README of 0.2.x names, has been removed from npm and cannot be
 * tested.
 */
const assert = require('node:assert/strict')
const { once } = require('node:events')
const { PassThrough, Readable, Transform, Writable, pipeline: pipelineWithCallback } = require('node:stream')
const { pipeline } = require('node:stream/promises')
const { test } = require('node:test')
const dnode = require('dnode')
const duplexify = require('duplexify')
const RemoteEvents = require('remote-events')
const rpc = require('rpc-stream')
const split = require('split2')
const through = require('through')
const { chunks, eventually, pair, soon } = require('../helpers')

/** Runs `body(one, other)` twice, with the two ends of a stream. */
function both(name, body) {
  test(`${name} (broadcast)`, async (t) => {
    const { a, b } = await pair(t)
    await body(a.broadcast, b.broadcast)
  })
  test(`${name} (Peer)`, async (t) => {
    const { toA, toB } = await pair(t)
    await body(toA, toB)
  })
}

const LONG = 'Grüße an alle, 世界 🌍! '.repeat(6000)

both('remote-events carries events in both directions', async (one, other) => {
  const [first, second] = [new RemoteEvents(), new RemoteEvents()]
  one.pipe(first.getStream()).pipe(one)
  other.pipe(second.getStream()).pipe(other)
  const heard = once(second, 'hello')
  first.emit('hello', 'Grüße 🌍', { n: [1, 2] })
  assert.deepEqual(await soon(heard), ['Grüße 🌍', { n: [1, 2] }])
  const back = once(first, 'long')
  second.emit('long', LONG)
  assert.deepEqual(await soon(back), [LONG])
})

both('rpc-stream calls functions of the other end', async (one, other) => {
  const server = rpc({
    hello: (name, callback) => callback(null, `hello, ${name}`),
    fail: (callback) => callback(new Error('no'))
  })
  server.pipe(one).pipe(server)
  const client = rpc()
  client.pipe(other).pipe(client)
  const remote = client.wrap(['hello', 'fail'])
  const call = (name, ...args) =>
    soon(new Promise((resolve) => remote[name](...args, (...result) => resolve(result))), name)
  assert.deepEqual(await call('hello', 'wörld'), [null, 'hello, wörld'])
  assert.equal((await call('hello', LONG))[1], `hello, ${LONG}`)
  assert.equal((await call('fail'))[0].message, 'no')
  const many = await Promise.all(Array.from({ length: 500 }, (_, i) => call('hello', i)))
  assert.deepEqual(
    many.map(([, text]) => text),
    Array.from({ length: 500 }, (_, i) => `hello, ${i}`)
  )
})

both('dnode calls functions, and functions that were passed as arguments', async (one, other) => {
  const server = dnode({ transform: (text, callback) => callback(text.toUpperCase()) }, { weak: false })
  const client = dnode({ name: 'client' }, { weak: false })
  const ready = once(client, 'remote')
  one.pipe(server).pipe(one)
  other.pipe(client).pipe(other)
  const [remote] = await soon(ready, 'remote')
  const call = (text) => soon(new Promise((resolve) => remote.transform(text, resolve)))
  assert.equal(await call('grüße'), 'GRÜSSE')
  assert.equal(await call(LONG), LONG.toUpperCase())
})

both('through, split2 and duplexify work in a chain', async (one, other) => {
  const lines = []
  other
    .pipe(split())
    .pipe(
      through(function (line) {
        this.queue(`${line}!\n`)
      })
    )
    .pipe(split())
    .on('data', (line) => lines.push(line))
  const source = new PassThrough()
  source.pipe(duplexify(one, one, { end: false }))
  source.write('eins\nzwei\ndr')
  source.write('ei\n')
  source.write(`${LONG}\n`)
  await eventually(() => lines.length === 4)
  assert.deepEqual(lines, ['eins!', 'zwei!', 'drei!', `${LONG}!`])
})

both('duplexify joins one stream for reading and one for writing', async (one, other) => {
  const joined = duplexify(one, one)
  const heard = chunks(joined, 1)
  other.write('to the joined one')
  assert.deepEqual(await heard, ['to the joined one'])
  const back = chunks(other, 1)
  joined.write('from the joined one')
  assert.deepEqual(await back, ['from the joined one'])
})

both('a message of 200 kB and one of 5 MB arrive whole', async (one, other) => {
  for (const size of [200_000, 5_000_000]) {
    const data = Buffer.alloc(size)
    for (let i = 0; i < size; i += 1) data[i] = (i * 31) & 255
    const heard = once(other, 'data')
    one.write(data)
    const [found] = await soon(heard, `${size} bytes`)
    assert.ok(found.equals(data))
  }
})

both(
  '20 000 lines through a pipeline to a slow reader all arrive in order, and the writer has to wait',
  async (one, other) => {
    const COUNT = 20_000
    const padding = 'ü'.repeat(100)
    let held = 0
    const drains = () => (held += 1)
    one.on('drain', drains)
    const lines = Readable.from(
      (function* () {
        for (let i = 0; i < COUNT; i += 1) yield `${i} ${padding}\n`
      })(),
      { objectMode: false }
    )
    let next = 0
    let stalls = 0
    const slow = new Writable({
      highWaterMark: 16,
      objectMode: true,
      write(line, encoding, callback) {
        assert.equal(line, `${next} ${padding}`)
        next += 1
        if (next % 5000 !== 0) return next % 50 === 0 ? setImmediate(callback) : callback()
        // Stalls once, for longer than anything that only waits for a turn of the event loop.
        stalls += 1
        setTimeout(callback, 100)
      }
    })
    const reading = new Promise((resolve, reject) =>
      pipelineWithCallback(other, split(), slow, (error) => (next === COUNT ? resolve() : reject(error)))
    )
    await soon(pipeline(lines, one), 'the writing pipeline')
    await eventually(() => next === COUNT)
    other.destroy()
    await soon(reading, 'the reading pipeline')
    assert.equal(stalls, 4)
    assert.ok(held > 0, 'nobody had to wait')
  }
)

both('async iteration over lines works, and an async generator in a pipeline', async (one, other) => {
  const found = []
  const reading = (async () => {
    for await (const line of other.pipe(split())) if (found.push(line) === 100) break
  })()
  await soon(
    pipeline(
      Readable.from(Array.from({ length: 100 }, (_, i) => i)),
      async function* (numbers) {
        for await (const number of numbers) yield `Zeile ${number} – ü\n`
      },
      one
    )
  )
  await soon(reading)
  assert.deepEqual(
    found,
    Array.from({ length: 100 }, (_, i) => `Zeile ${i} – ü`)
  )
})

both('a pipeline whose middle fails destroys both ends with the error', async (one, other) => {
  const failing = new Transform({
    transform(chunk, encoding, callback) {
      callback(new Error('in the middle'))
    }
  })
  const result = pipeline(other, failing, new PassThrough()).catch((error) => error)
  one.write('anything')
  assert.equal((await soon(result)).message, 'in the middle')
  assert.equal(other.destroyed, true)
})
