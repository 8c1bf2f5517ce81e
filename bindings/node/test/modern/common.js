'use strict'
/**
 * What these tests share: networks of a known shape, and reading from streams and iterations.
 */
const { once } = require('node:events')
const { started, seedsOf, soon, until } = require('../helpers')

/** Starts three nodes with the same options. The outer two are linked only to the middle one. */
async function apart(t, options = {}) {
  const middle = await started(t, options)
  const [left, right] = [
    await started(t, { ...options, maxPeerNo: 1 }, middle),
    await started(t, { ...options, maxPeerNo: 1 }, middle)
  ]
  await until(
    () => middle.peers.list.length === 2 && left.connected && right.connected,
    [middle, 'new peer'],
    [left, 'connect'],
    [right, 'connect']
  )
  return { left, middle, right }
}

/** Starts four nodes, each linked to the next. The third one has further options. */
async function chain(t, options = {}, third = {}) {
  const nodes = []
  for (const more of [{}, {}, third, {}]) {
    const before = nodes.at(-1)
    const maxPeerNo = [1, 2, 2, 1][nodes.length]
    const node = await started(t, { ...options, ...more, maxPeerNo, minPeerNo: 1 }, before)
    if (before !== undefined)
      await until(
        () => node.peers.inList(before.id) && before.peers.inList(node.id),
        [node, 'new peer'],
        [before, 'new peer']
      )
    nodes.push(node)
  }
  return nodes
}

/** Opens a stream from one node to another. Resolves to both ends. */
async function linked(from, to, name = 'test') {
  const accepting = to.accept(name)
  const [here, { value: there }] = await soon(
    Promise.all([from.open(to.id, name), accepting.next()]),
    `a stream ${name}`
  )
  await accepting.return()
  return { here, there }
}

/**
 * Reads a stream to its end. Resolves to one Buffer. Unlike `for await` it does not destroy a
 * stream whose writing direction is open.
 */
async function read(stream) {
  const parts = []
  stream.on('data', (part) => parts.push(part))
  await soon(once(stream, 'end'), 'the end of a stream')
  return Buffer.concat(parts)
}

/** Resolves to the next `count` items of an iteration. */
async function take(iterator, count) {
  const taken = []
  while (taken.length < count) {
    const { value, done } = await soon(iterator.next(), `${count} of them, after ${taken.length}`)
    if (done) break
    taken.push(value)
  }
  return taken
}

/** Resolves to the error of a stream. */
async function failure(stream) {
  const [error] = await soon(once(stream, 'error'), 'an error')
  return error
}

/** Waits for a condition that no event announces. */
async function becomes(condition) {
  await soon(
    new Promise((resolve) => {
      const timer = setInterval(() => {
        if (!condition()) return
        clearInterval(timer)
        resolve()
      }, 5)
    }),
    `${condition}`
  )
}

module.exports = { apart, chain, linked, read, take, failure, becomes, seedsOf }
