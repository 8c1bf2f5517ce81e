'use strict'

// The bytes between servers: values keep their type, and malformed bytes do no harm.

const test = require('node:test')
const assert = require('node:assert/strict')
const { Writer, Reader, DecodeError } = require('../../lib/socket.io/values')
const wire = require('../../lib/socket.io/wire')
const { openChannel, wireId } = require('../../lib/channel')
const { LIMIT, cluster, newNode, until, once } = require('./helpers')

function write(value) {
  const writer = Writer.take()
  try {
    writer.value(value)
    return writer.finish()
  } catch (error) {
    writer.release()
    throw error
  }
}

const VALUES = [
  undefined,
  null,
  true,
  false,
  0,
  1,
  63,
  64,
  -1,
  2 ** 31 - 1,
  -(2 ** 31),
  2 ** 31,
  2 ** 53,
  1.5,
  -0,
  NaN,
  Infinity,
  5n,
  -(2n ** 70n),
  '',
  'a',
  'x'.repeat(21),
  'x'.repeat(22),
  'é'.repeat(21),
  '日本'.repeat(20),
  'x'.repeat(63),
  'x'.repeat(64),
  'y'.repeat(100_000),
  [],
  [1, '1', [2]],
  Array.from({ length: 100 }, (_, i) => i),
  [undefined, null],
  {},
  { a: 1, é: { b: undefined } },
  Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`k${i}`, i])),
  { ['k'.repeat(42)]: 1, ['日'.repeat(42)]: 2, ['k'.repeat(43)]: 3 },
  Buffer.from('bytes'),
  { deep: [{ blob: Buffer.alloc(100, 1) }] },
  new Uint8Array([1, 2]),
  new Float64Array([1.5]),
  new Uint8Array([3]).buffer,
  new Date(5),
  new Map([
    [1, { a: 2 }],
    ['1', 3]
  ]),
  new Set([1, '1']),
  JSON.parse('{"__proto__": {"polluted": true}}')
]

test('values keep their type', () => {
  for (const value of [...VALUES, VALUES]) {
    const reader = new Reader(write(value))
    assert.deepStrictEqual(reader.value(), value)
    assert.equal(reader.offset, reader.end)
  }
  assert.equal({}.polluted, undefined)
})

test('an object arrives as JSON would have it', () => {
  class Point {
    x = 1
    get y() {
      return 2
    }
    method() {}
  }
  class Known {
    toJSON() {
      return { known: [new Date(1)] }
    }
  }
  const value = { point: new Point(), known: new Known(), call() {}, [Symbol('s')]: 1 }
  assert.deepEqual(new Reader(write(value)).value(), {
    point: { x: 1 },
    known: { known: [new Date(1)] },
    call: undefined
  })
})

test('a value that emits while it is encoded does not disturb the encoding', () => {
  const value = { a: 'x', toJSON: () => ({ inner: write(['inside']).length, text: 'after' }) }
  assert.deepEqual(new Reader(write([value, 'end'])).value(), [{ inner: 8, text: 'after' }, 'end'])
})

test('values that cannot be encoded are refused', () => {
  const circular = { list: [] }
  circular.list.push(circular, circular)
  assert.throws(() => write(circular), /contains itself/)
  let deep = []
  for (let i = 0; i < 1000; i++) deep = [deep]
  assert.throws(() => write(deep), RangeError)
  assert.throws(() => write(Array.from({ length: 1 << 21 }, () => 1)), RangeError)
  assert.throws(
    () =>
      write({
        toJSON() {
          throw new Error('of the value')
        }
      }),
    /of the value/
  )
  assert.deepEqual(new Reader(write('still works')).value(), 'still works')
})

/** Returns a random number generator with a fixed seed. */
function random() {
  let state = 1
  return (below) => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff
    return (state >>> 8) % below
  }
}

test('malformed bytes are refused without harm', () => {
  const next = random()
  const bytes = write(VALUES.filter((value) => value?.length !== 100_000))
  for (let round = 0; round < 50_000; round++) {
    const broken = Buffer.from(bytes.subarray(next(bytes.length)))
    for (let i = next(4); i >= 0; i--) broken[next(broken.length)] = next(256)
    try {
      new Reader(broken).value()
    } catch (error) {
      assert.ok(error instanceof DecodeError, error.stack)
    }
  }
  // A length beyond the end of the message reserves no memory.
  for (const tag of [6, 7, 8, 9, 12, 13, 14]) {
    const large = Buffer.from([tag, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f])
    assert.throws(() => new Reader(large).value(), DecodeError)
  }
  assert.throws(() => new Reader(Buffer.alloc(1000, 0xc1)).value(), DecodeError)
})

/** Returns one message of each kind. */
function messages(nsp) {
  const opts = { rooms: ['room', 1], except: [2], flags: { volatile: true, timeout: 5 } }
  const session = {
    sid: 's',
    pid: 'p',
    rooms: ['r'],
    data: {},
    offset: 'o',
    seen: new Map([['a', 1]]),
    gone: new Set(),
    resend: new Map([['a', [1]]]),
    age: 5
  }
  const published = [
    [1],
    [2],
    [3, { packet: { type: 2, data: ['event', 1] }, opts }],
    [3, { packet: { type: 2, data: ['event', 1] }, opts, requestId: 'r' }],
    [4, { opts, rooms: ['a'] }],
    [5, { opts, rooms: [1] }],
    [6, { opts, close: false }],
    [66, { groups: [{ seen: session.seen, gone: session.gone, sessions: [session] }] }],
    [67, { pid: 'p' }],
    [7, { opts, requestId: 'r' }],
    [9, { packet: ['event'], requestId: 'r' }],
    [13]
  ].map(([type, data]) => wire.encodePublished('12345678', 1, { type, nsp, data }))
  const direct = [
    [8, { requestId: 'r', sockets: [{ id: 's', handshake: {}, rooms: [1], data: null }] }],
    [10, { requestId: 'r', packet: 1 }],
    [11, { requestId: 'r', clientCount: 1 }],
    [12, { requestId: 'r', packet: Buffer.from('x') }],
    [64, { requestId: 'r', pid: 'p', offset: 'o' }],
    [65, { requestId: 'r', session }],
    [65, { requestId: 'r', moved: 'm' }]
  ].map(([type, data]) => wire.encodeDirect('12345678', 'abcdefgh', { type, nsp, data }))
  return { published: published.map(({ bytes }) => bytes), direct }
}

test('each message is decoded as it was encoded, and malformed ones are refused', () => {
  const next = random()
  const { published, direct } = messages('/')
  const read = {
    published: (bytes) => wire.readPublished(wire.openPublished(bytes), 'uid'),
    direct: (bytes) => wire.readDirect(wire.openDirect(bytes), 'uid')
  }
  for (const [kind, frames] of Object.entries({ published, direct })) {
    for (const frame of frames) {
      assert.equal(read[kind](frame).nsp, '/')
      for (let round = 0; round < 3000; round++) {
        const broken = Buffer.from(frame.subarray(0, frame.length - next(3)))
        for (let i = next(4); i >= 0; i--) broken[next(broken.length)] = next(256)
        try {
          read[kind](broken)
        } catch (error) {
          assert.ok(error instanceof DecodeError, error.stack)
        }
      }
    }
  }
})

test('a hostile member that sends random bytes to the servers does no harm', LIMIT, async (t) => {
  const servers = await cluster(t, 2, { connectionStateRecovery: {} })
  const client = await servers[0].connect()
  const hostile = newNode(servers[0].node)
  await hostile.start()
  t.after(() => hostile.stop())
  await until(() => hostile.peers.list.length > 0)
  const channel = openChannel(hostile, 'socket.io')
  const send = async (chunk) => {
    while (!channel.trySend(chunk))
      await new Promise((resolve) => {
        channel.ondrain = resolve
      })
  }
  const next = random()
  const { published, direct } = messages('/')
  const chunk = (frame) => wire.joinFrames([frame], frame.length)
  await send(Buffer.from('nothing of the kind'))
  await send(Buffer.alloc(0))
  for (let round = 0; round < 3000; round++) {
    const frame = Buffer.from(published[next(published.length)])
    for (let i = next(4); i >= 0; i--) frame[next(frame.length)] = next(256)
    await send(chunk(frame))
  }
  // Events that only socket.io may emit, and values that JSON cannot encode.
  for (const name of ['connection', 'connect', 'new_namespace']) {
    await send(
      chunk(wire.encodePublished('12345678', 1, { type: 9, nsp: '/', data: { packet: [name, 1] } }).bytes)
    )
  }
  const opts = { rooms: [], except: [], flags: {} }
  await send(
    chunk(
      wire.encodePublished('12345678', 9e6, {
        type: 3,
        nsp: '/',
        data: { packet: { type: 2, data: ['event', 5n] }, opts }
      }).bytes
    )
  )
  // Each message comes from another server.
  for (let i = 0; i < 1000; i++) {
    await send(chunk(wire.encodePublished(`${10_000_000 + i}`, 1, { type: 2, nsp: '/' }).bytes))
  }
  const { tag } = servers[0].adapter
  const stream = await hostile.open(wireId(servers[0].node), 'socket.io')
  stream.on('error', () => {})
  for (let round = 0; round < 1000; round++) {
    const frame = Buffer.from(direct[next(direct.length)])
    frame.write(tag, 9)
    for (let i = next(3); i >= 0; i--) frame[17 + next(frame.length - 17)] = next(256)
    if (!stream.write(chunk(frame))) await once(stream, 'drain')
  }
  stream.write(Buffer.from('nothing of the kind'))
  const before = servers[0].adapter.bus.malformed
  await until(() => servers[0].adapter.bus.malformed > before || before > 100)

  await until(() => servers[0].adapter.nodesMap.size >= 64)
  assert.ok(servers[0].adapter.nodesMap.size <= 65)
  // No node can send in the name of another node's server.
  assert.ok(
    [...servers[0].adapter.nodesMap.keys()].every(
      (uid) => uid === servers[1].adapter.uid || uid.startsWith(`${wireId(hostile)}:`)
    )
  )
  servers[1].io.emit('still here')
  await until(() => client.events.some(([name]) => name === 'still here'))
  channel.close()
})
