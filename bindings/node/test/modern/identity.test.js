'use strict'
/**
 * The id of a node, and which nodes it lets in: `identity`, `keyFile`, `networkSecret`.
 */
const assert = require('node:assert/strict')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { test } = require('node:test')
const { createNode, Identity } = require('smokesignal-p2p')
const { pair, soon, started } = require('../helpers')
const { take } = require('./common')

const address = '127.0.0.1'

function folder(t) {
  const made = fs.mkdtempSync(path.join(os.tmpdir(), 'smokesignal-'))
  t.after(() => fs.rmSync(made, { recursive: true }))
  return made
}

test('an id has 64 hex digits, and each node has its own', () => {
  const [one, other] = [createNode({ address }), createNode({ address })]
  assert.match(one.id, /^[0-9a-f]{64}$/)
  assert.notEqual(one.id, other.id)
})

test('the same identity gives the same id, which others see', async (t) => {
  const identity = Identity.generate()
  const other = await started(t)
  const node = await started(t, { identity }, other)
  assert.equal(node.id, identity.id)
  if (!other.connected) await soon(require('node:events').once(other, 'connect'))
  assert.equal(other.peers.list[0].id, identity.id)
})

test('an identity is derived from 32 bytes', () => {
  const one = Identity.fromSeed(Buffer.alloc(32, 1))
  assert.equal(one.id, Identity.fromSeed(new Uint8Array(32).fill(1)).id)
  assert.notEqual(one.id, Identity.fromSeed(Buffer.alloc(32, 2)).id)
  assert.throws(() => Identity.fromSeed('seed'), { name: 'TypeError', code: 'ERR_SMOKESIGNAL_BAD_OPTION' })
  assert.throws(() => Identity.fromSeed(Buffer.alloc(31)), {
    name: 'RangeError',
    code: 'ERR_SMOKESIGNAL_BAD_OPTION',
    message: /32.*31/
  })
  assert.throws(() => new Identity(), {
    name: 'TypeError',
    code: 'ERR_SMOKESIGNAL_BAD_OPTION',
    message: /generate/
  })
})

test('an identity does not show its private key', () => {
  const seed = Buffer.alloc(32, 7)
  const identity = Identity.fromSeed(seed)
  const shown =
    require('node:util').inspect(identity, { showHidden: true, depth: 9 }) + JSON.stringify(identity)
  assert.ok(!shown.includes(seed.toString('hex')) && !shown.includes('7, 7, 7'), shown)
})

test('with a key file a node has the same id after a restart', async (t) => {
  const keyFile = path.join(folder(t), 'node.key')
  const first = await started(t, { keyFile })
  const { id } = first
  await first.stop()
  const second = await started(t, { keyFile })
  assert.equal(second.id, id)
  assert.equal(Identity.load(keyFile).id, id)
  assert.equal(Identity.loadOrCreate(keyFile).id, id)
  assert.match(fs.readFileSync(keyFile, 'utf8'), /^[0-9a-f]{64}\n$/)
  if (process.platform !== 'win32') assert.equal(fs.statSync(keyFile).mode & 0o777, 0o600)
})

test('a key file that holds something else is refused and left unchanged', (t) => {
  const keyFile = path.join(folder(t), 'node.key')
  fs.writeFileSync(keyFile, 'not a key\n')
  const refused = { name: 'Error', code: 'ERR_SMOKESIGNAL_BAD_KEY_FILE', message: /node\.key.*64 hex digits/ }
  assert.throws(() => createNode({ address, keyFile }), refused)
  assert.throws(() => Identity.load(keyFile), refused)
  assert.throws(() => Identity.loadOrCreate(keyFile), refused)
  assert.equal(fs.readFileSync(keyFile, 'utf8'), 'not a key\n')
})

test('a key file in a missing folder is refused', (t) => {
  const keyFile = path.join(folder(t), 'missing', 'node.key')
  const refused = { name: 'Error', code: 'ERR_SMOKESIGNAL_KEY_FILE', message: /missing.*node\.key/ }
  assert.throws(() => createNode({ address, keyFile }), refused)
  assert.throws(() => Identity.loadOrCreate(keyFile), refused)
  assert.throws(() => Identity.load(path.join(folder(t), 'node.key')), { code: 'ERR_SMOKESIGNAL_KEY_FILE' })
  for (const bad of [undefined, 5, '']) {
    assert.throws(() => Identity.load(bad), {
      name: 'TypeError',
      code: 'ERR_SMOKESIGNAL_BAD_OPTION',
      message: /"path"/
    })
  }
})

test('id may be assigned, and the network still knows the node by its key', async (t) => {
  const { a, b } = await pair(t)
  const { id } = a
  a.id = 'ann'
  assert.equal(a.id, 'ann')
  const messages = b.messages()
  await a.send('who am I?')
  assert.equal((await take(messages, 1))[0].from, id)
})

const networkSecret = 'correct horse battery staple'

test('nodes with the same secret let each other in', async (t) => {
  const { a, b } = await pair(t, { networkSecret })
  const messages = b.messages()
  await a.send('psst')
  assert.equal(String((await take(messages, 1))[0].data), 'psst')
  const third = await started(t, { networkSecret: Buffer.from(networkSecret) })
  assert.equal((await third.addPeer(address, a.options.port)).id, a.id)
})

test('a node with another secret, or with none, is refused', async (t) => {
  const member = await started(t, { networkSecret })
  const { port } = member.options
  for (const other of [{ networkSecret: `${networkSecret}!` }, {}]) {
    const stranger = await started(t, other)
    await assert.rejects(soon(stranger.addPeer(address, port)), {
      code: 'ERR_SMOKESIGNAL_WRONG_SECRET',
      message: new RegExp(String(port))
    })
    await assert.rejects(soon(member.addPeer(address, stranger.options.port)), {
      code: 'ERR_SMOKESIGNAL_WRONG_SECRET'
    })
    assert.deepEqual([member.connected, stranger.connected], [false, false])
  }
})

test('a seed that refuses the secret is reported as unreachable', async (t) => {
  const member = await started(t, { networkSecret })
  const stranger = createNode({ address, seeds: [{ address, port: member.options.port }] })
  t.after(() => stranger.stop())
  const told = require('node:events').once(stranger, 'seed unreachable')
  await stranger.start()
  const [{ seed, error }] = await soon(told)
  assert.deepEqual([seed, error.code], [`${address}:${member.options.port}`, 'ERR_SMOKESIGNAL_WRONG_SECRET'])
})
