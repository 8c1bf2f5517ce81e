'use strict'
/**
 * What these tests share: networks of a known shape, and what streams and iterations give.
 */
const { once } = require('node:events')
const { started, seedsOf, soon, until } = require('../helpers')

/**
 * Three nodes, of which the outer two are no neighbours: both are linked to the middle one only. `options` are those of all.
 */
async function apart(t, options = {}) {
  const middle = await started(t, options)
  const [left, right] = [await started(t, { ...options, maxPeerNo: 1 }, middle), await started(t, { ...options, maxPeerNo: 1 }, middle)]
  await until(() => middle.peers.list.length === 2 && left.connected && right.connected, [middle, 'new peer'], [left, 'connect'], [right, 'connect'])
  return { left, middle, right }
}

/** Four nodes in a row. */
async function chain(t, options = {}) {
  const nodes = []
  for (const maxPeerNo of [1, 2, 2, 1]) {
    const before = nodes.at(-1)
    const node = await started(t, { ...options, maxPeerNo, minPeerNo: 1 }, before)
    if (before !== undefined) await until(() => node.peers.inList(before.id) && before.peers.inList(node.id), [node, 'new peer'], [before, 'new peer'])
    nodes.push(node)
  }
  return nodes
}

/** A stream from one node to another, and its other end. */
async function linked(from, to, name = 'test') {
  const accepting = to.accept(name)
  const [here, { value: there }] = await soon(Promise.all([from.open(to.id, name), accepting.next()]), `a stream ${name}`)
  await accepting.return()
  return { here, there }
}

/** All that a stream gives, as one Buffer. `for await` would destroy a stream that is not ended on this side. */
async function read(stream) {
  const parts = []
  stream.on('data', (part) => parts.push(part))
  await soon(once(stream, 'end'), 'the end of a stream')
  return Buffer.concat(parts)
}

/** The next `count` things of an iteration. */
async function take(iterator, count) {
  const taken = []
  while (taken.length < count) {
    const { value, done } = await soon(iterator.next(), `${count} of them, after ${taken.length}`)
    if (done) break
    taken.push(value)
  }
  return taken
}

/** The error of a stream. */
async function failure(stream) {
  const [error] = await soon(once(stream, 'error'), 'an error')
  return error
}

/** Waits for what no event tells of. */
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
