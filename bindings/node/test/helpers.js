'use strict'
/**
 * What the tests share: nodes on loopback that are stopped at the end of a test, and waits for
 * events with a deadline.
 */
const { spawn } = require('node:child_process')
const path = require('node:path')
const { once } = require('node:events')
const { createNode } = require('..')

/** The longest wait, in ms. Only a test that hangs takes longer. */
const DEADLINE = 30_000

/** Starts a node on loopback that joins through `seed`. It is stopped when the test `t` is over. */
async function started(t, options = {}, seed) {
  const node = createNode({ address: '127.0.0.1', ...options, seeds: options.seeds ?? seedsOf(seed) })
  t.after(() => node.stop())
  await node.start()
  return node
}

function seedsOf(seed) {
  return seed === undefined ? [] : [{ address: seed.options.address, port: seed.options.port }]
}

/** Starts two nodes that are neighbours. Resolves to them and to each one's peer. */
async function pair(t, options = {}) {
  const a = await started(t, options)
  const connected = once(a, 'new peer')
  const b = await started(t, options, a)
  const [toB] = await connected
  if (b.peers.list.length === 0) await soon(once(b, 'new peer'), 'a peer')
  return { a, b, toA: b.peers.list[0], toB }
}

/** Starts `count` nodes, each with at least one peer. */
async function network(t, count, options = {}) {
  const nodes = [await started(t, options)]
  while (nodes.length < count) nodes.push(await started(t, options, nodes[0]))
  await Promise.all(nodes.map((node) => node.connected || soon(once(node, 'connect'), 'a peer')))
  return nodes
}

/**
 * Resolves to the promise's value, or rejects with an error that names what did not happen in time.
 */
async function soon(promise, what = 'it') {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${DEADLINE} ms`)), DEADLINE)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

/**
 * Waits until `condition()` is true. It is checked whenever one of the `[emitter, event]` fires.
 */
async function until(condition, ...sources) {
  await soon(
    new Promise((resolve) => {
      const look = () => {
        if (!condition()) return
        sources.forEach(([emitter, event]) => emitter.removeListener(event, look))
        resolve()
      }
      sources.forEach(([emitter, event]) => emitter.on(event, look))
      look()
    }),
    `until ${condition}`
  )
}

/** Waits until `condition()` is true, for conditions that no event announces. */
async function eventually(condition) {
  const end = Date.now() + DEADLINE
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`not within ${DEADLINE} ms: ${condition}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

/** Resolves to the next `count` chunks of a stream as strings, and leaves the stream open. */
function chunks(stream, count) {
  const found = []
  return soon(
    new Promise((resolve) => {
      const take = (chunk) => {
        if (found.push(String(chunk)) < count) return
        stream.removeListener('data', take)
        resolve(found)
      }
      stream.on('data', take)
    }),
    `${count} chunks`
  )
}

/** Runs a script of `test/programs` as a process. `ended` resolves to its exit code and output. */
function program(name, { args = [], env = {}, input, node = process.execPath } = {}) {
  const child = spawn(
    node,
    [path.isAbsolute(name) ? name : path.join(__dirname, 'programs', name), ...args],
    {
      env: { ...process.env, ...env },
      stdio: ['pipe', 'pipe', 'pipe']
    }
  )
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text) => (stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text) => (stderr += text))
  child.stdin.on('error', () => {})
  if (input !== undefined) child.stdin.end(input)
  const ended = once(child, 'close').then(([code, signal]) => ({ code, signal, stdout, stderr }))
  const output = () => stdout
  /** Resolves to the first match of the pattern in its output. */
  const printed = (pattern) =>
    soon(
      new Promise((resolve, reject) => {
        const look = () => {
          const match = pattern.exec(stdout)
          if (match) resolve(match)
        }
        child.stdout.on('data', look)
        child.on('close', () => reject(new Error(`it ended without ${pattern}: ${stdout}${stderr}`)))
        look()
      }),
      `${pattern} in ${name}`
    )
  return { child, ended, output, printed }
}

module.exports = { DEADLINE, started, seedsOf, pair, network, soon, until, eventually, chunks, program }
