'use strict'
/**
 * Two nodes of this process write to each other at the same time. Prints how memory grows. Run with
 * --expose-gc as `memory.js SMALL LARGE`, the number of messages of 64 B and of 64 KiB each way.
 */
const { once } = require('node:events')
const { setTimeout: sleep } = require('node:timers/promises')
const { createNode } = require('../..')

const small = Buffer.alloc(64, 's')
const large = Buffer.alloc(64 * 1024, 'l')

async function main(smallCount, largeCount) {
  const a = createNode({ address: '127.0.0.1' })
  await a.start()
  const b = createNode({ address: '127.0.0.1', seeds: [{ address: '127.0.0.1', port: a.options.port }] })
  const connected = once(a, 'connect')
  await b.start()
  await connected
  let arrived = 0
  let expected = 0
  let done = () => {}
  for (const node of [a, b]) {
    node.broadcast.on('data', () => {
      arrived += 1
      if (arrived === expected) done()
    })
    node.broadcast.on('gap', ({ missed }) => {
      console.error(`${missed} were missed`)
      process.exit(1)
    })
  }
  const load = async (data, count) => {
    arrived = 0
    expected = 2 * count
    const all = new Promise((resolve) => {
      done = resolve
    })
    for (const node of [a, b]) write(node.broadcast, data, count)
    await all
  }
  // From here on the retained messages, 64 MiB in each node, are complete, and the code is warm.
  await load(large, 2048)
  await load(small, 2_000_000)
  await load(large, 2048)
  const before = await settled()
  await load(small, smallCount)
  await load(large, largeCount)
  const after = await settled(before)
  console.log(JSON.stringify({ before, after }))
  await Promise.all([a.stop(), b.stop()])
}

function write(stream, data, count) {
  let written = 0
  const more = () => {
    while (written < count) {
      written += 1
      if (!stream.write(data)) return stream.once('drain', more)
    }
  }
  more()
}

/**
 * Returns the least of ten readings, because the allocator returns pages late. If that is above
 * `goal`, it takes up to thirty.
 */
async function settled(goal) {
  const least = { rss: Infinity, heap: Infinity }
  const reached = () => goal !== undefined && least.rss <= goal.rss * 1.1 && least.heap <= goal.heap * 1.1
  for (let round = 0; round < (goal === undefined ? 10 : 30) && !reached(); round += 1) {
    global.gc()
    await sleep(1000)
    const { rss, heapUsed, external } = process.memoryUsage()
    least.rss = Math.min(least.rss, rss)
    least.heap = Math.min(least.heap, heapUsed + external)
  }
  return least
}

main(...process.argv.slice(2).map(Number))
