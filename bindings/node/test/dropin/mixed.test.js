'use strict'
/**
 * Networks of JavaScript and Rust nodes, each a process of its own.
 */
const assert = require('node:assert/strict')
const { spawn } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')
const { once } = require('node:events')
const { test } = require('node:test')
const split = require('split2')
const { chunks, eventually, program, soon, started, until } = require('../helpers')

const TARGET = path.join(__dirname, '..', '..', '..', '..', 'target')
const NAME = process.platform === 'win32' ? 'smokesignal.exe' : 'smokesignal'
const BINARY =
  process.env.SMOKESIGNAL_BIN
  ?? ['release', 'debug'].map((kind) => path.join(TARGET, kind, NAME)).find((file) => fs.existsSync(file))

const OPTIONS = {
  skip:
    BINARY === undefined
    && 'there is no smokesignal program: build it with `cargo build`, or name it in SMOKESIGNAL_BIN',
  timeout: 110_000
}

/** A node of the command line program: takes JSON objects, and keeps those that it prints. */
function rust(t, seed, args = []) {
  const child = spawn(BINARY, ['run', '--json', ...(seed ? ['--seed', `127.0.0.1:${seed}`] : []), ...args], {
    stdio: 'pipe'
  })
  t.after(() => child.kill('SIGKILL'))
  const events = []
  const lines = child.stdout.pipe(split(JSON.parse))
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (text) => (stderr += text))
  lines.on('data', (event) => events.push(event))
  child.stdin.on('error', () => {})
  const send = (command) => child.stdin.write(`${JSON.stringify(command)}\n`)
  /** Resolves to the first event of this name that matches. */
  const event = async (name, holds = () => true) => {
    const found = () => events.find((entry) => entry.event === name && holds(entry))
    await eventually(() => {
      if (child.exitCode !== null && !found()) throw new Error(`it ended without ${name}: ${stderr}`)
      return found()
    })
    return found()
  }
  return { child, events, send, event, ended: once(child, 'close') }
}

/** A node of `test/programs/json-node.js`. */
function javascript(t, seed) {
  const { child, ended } = program('json-node.js', { args: seed ? [String(seed)] : [] })
  t.after(() => child.kill('SIGKILL'))
  const events = []
  child.stdout.pipe(split(JSON.parse)).on('data', (event) => events.push(event))
  const send = (command) => child.stdin.write(`${JSON.stringify(command)}\n`)
  const event = async (name, holds = () => true) => {
    const found = () => events.find((entry) => entry.event === name && holds(entry))
    await eventually(found)
    return found()
  }
  return { child, events, send, event, ended }
}

test(
  "a Rust node and a JavaScript node read each other's messages, binary ones as well",
  OPTIONS,
  async (t) => {
    const node = await started(t)
    const other = rust(t, node.options.port)
    const { id, port } = await other.event('listening')
    await other.event('connect')
    await until(() => node.connected, [node, 'connect'])
    const [peer] = node.peers.list
    assert.equal(peer.id, id)
    assert.equal(peer.remotePort, port)
    node.broadcast.pause() // It is read later, from here on.
    const heard = once(node.broadcast, 'message')
    other.send({ cmd: 'broadcast', data: 'Grüße 🌍' })
    const [data, from] = await soon(heard)
    assert.deepEqual([String(data), from], ['Grüße 🌍', id])
    node.broadcast.write('und zurück')
    assert.equal((await other.event('message', ({ data: text }) => text === 'und zurück')).from, node.id)
    node.broadcast.write(Buffer.from([0xff, 0, 1]))
    assert.equal((await other.event('message', ({ base64 }) => base64 !== undefined)).base64, '/wAB')
    const large = 'ü'.repeat(1_000_000)
    const whole = chunks(node.broadcast, 2)
    other.send({ cmd: 'broadcast', data: large })
    node.broadcast.resume()
    const [first, second] = await whole
    assert.equal(first, 'Grüße 🌍')
    assert.ok(second === large, 'the large one is whole')
  }
)

test(
  'both kinds write to each other directly, to the Peer and over the stream that the command line program uses',
  OPTIONS,
  async (t) => {
    const node = await started(t)
    const other = rust(t, node.options.port)
    const { id } = await other.event('listening')
    await other.event('connect')
    await until(() => node.connected, [node, 'connect'])
    // Writes to the Peer.
    node.peers.list[0].write('to the neighbour')
    assert.equal((await other.event('direct')).data, 'to the neighbour')
    // Writes to the stream that the command line program uses.
    const accepting = node.accept('direct')
    const incoming = accepting.next()
    const stream = await soon(node.open(id, 'direct'), 'a stream')
    assert.equal(stream.peer, id)
    stream.on('error', () => {})
    stream.write('to any node')
    assert.equal((await other.event('direct', ({ data }) => data === 'to any node')).from, node.id)
    other.send({ cmd: 'direct', to: node.id, data: 'from Rust' })
    // Uses the existing stream, or opens one of its own.
    const back = new Promise((resolve) => {
      stream.on('data', resolve)
      incoming.then(({ value }) => value?.on('error', () => {}).on('data', resolve))
    })
    assert.equal(String(await soon(back, 'the answer')), 'from Rust')
    await accepting.return()
    stream.destroy()
  }
)

test(
  'each line arrives once and in order between pipe --lines and a JavaScript node that pipes',
  OPTIONS,
  async (t) => {
    const COUNT = 2000
    const node = await started(t)
    const child = spawn(BINARY, ['pipe', '--lines', '--keep', '--seed', `127.0.0.1:${node.options.port}`], {
      stdio: 'pipe'
    })
    t.after(() => child.kill('SIGKILL'))
    await until(() => node.connected, [node, 'connect'])
    const fromJavascript = []
    child.stdout.pipe(split()).on('data', (line) => fromJavascript.push(line))
    const fromRust = []
    node.broadcast.on('data', (chunk) => fromRust.push(String(chunk)))
    for (let i = 0; i < COUNT; i += 1) {
      if (!node.broadcast.write(`js ${i} ü`)) await once(node.broadcast, 'drain')
      if (!child.stdin.write(`rust ${i} ü\n`)) await once(child.stdin, 'drain')
    }
    await eventually(() => fromJavascript.length >= COUNT && fromRust.length >= COUNT)
    assert.deepEqual(
      fromJavascript,
      Array.from({ length: COUNT }, (_, i) => `js ${i} ü`)
    )
    // One line is one message, with its newline or without.
    assert.deepEqual(
      fromRust.map((line) => line.trimEnd()),
      Array.from({ length: COUNT }, (_, i) => `rust ${i} ü`)
    )
  }
)

test(
  'with three nodes of each kind, no message is lost or repeated when one of each kind is killed',
  OPTIONS,
  async (t) => {
    const COUNT = 200
    const first = rust(t)
    const { port } = await first.event('listening')
    const kinds = [first, rust(t, port), rust(t, port), ...[1, 2, 3].map(() => javascript(t, port))]
    const ids = []
    for (const node of kinds) ids.push((await node.event('listening')).id)
    const size = async (node, count) => {
      await eventually(async () => {
        const seen = node.events.length
        node.send({ cmd: 'peers' })
        await eventually(() => node.events.slice(seen).some(({ event }) => event === 'peers'))
        return node.events.findLast(({ event }) => event === 'peers').size === count
      })
    }
    for (const node of kinds) await size(node, kinds.length)
    const write = (nodes, begin) =>
      nodes.forEach((node) => {
        for (let i = begin; i < begin + COUNT; i += 1)
          node.send({ cmd: 'broadcast', data: `${kinds.indexOf(node)} ${i} ü` })
      })
    const heard = (reader, writer) =>
      reader.events
        .filter(({ event, from }) => event === 'message' && from === ids[kinds.indexOf(writer)])
        .map(({ data }) => data)
    const expected = (writer, count) =>
      Array.from({ length: count }, (_, i) => `${kinds.indexOf(writer)} ${i} ü`)
    write(kinds, 0)
    const exact = async (nodes, count) => {
      for (const reader of nodes) {
        for (const writer of nodes) {
          if (reader === writer) continue
          await eventually(() => heard(reader, writer).length >= count)
          assert.deepEqual(heard(reader, writer), expected(writer, count))
        }
        assert.deepEqual(
          reader.events.filter(
            ({ event, from }) => event === 'gap' && nodes.some((node) => ids[kinds.indexOf(node)] === from)
          ),
          []
        )
      }
    }
    await exact(kinds, COUNT)
    // Kills the node while it writes.
    write(kinds, COUNT)
    const killed = [kinds[1], kinds[4]]
    killed.forEach(({ child }) => child.kill('SIGKILL'))
    const rest = kinds.filter((node) => !killed.includes(node))
    write(rest, 2 * COUNT)
    await exact(rest, 3 * COUNT)
    for (const node of rest) node.send({ cmd: 'stop' })
    for (const { child, ended } of rest) {
      await soon(ended, 'the end after stop')
      assert.equal(child.exitCode, 0)
    }
  }
)
