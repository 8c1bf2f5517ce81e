'use strict'
/**
 * One process writes as fast as it can, and another one reads, like `two_processes` of the Rust
 * library: `node bench/pair.js read COUNT`, `node bench/pair.js write HOST:PORT SIZE COUNT`.
 */
const { createNode } = require('..')

async function read(count) {
  const node = createNode({ address: '127.0.0.1' })
  let begun
  let readSoFar = 0
  let missed = 0
  const over = async () => {
    const seconds = Number(process.hrtime.bigint() - begun) / 1e9
    console.log(JSON.stringify({ read: readSoFar, missed, seconds }))
    await node.stop()
  }
  node.broadcast.on('data', () => {
    begun ??= process.hrtime.bigint()
    readSoFar += 1
    if (readSoFar + missed === count) over()
  })
  node.broadcast.on('gap', (gap) => {
    missed += gap.missed
    if (readSoFar + missed === count) over()
  })
  await node.start()
  console.log(`127.0.0.1:${node.options.port}`)
}

async function write(seed, size, count) {
  const [address, port] = seed.split(':')
  const node = createNode({ address: '127.0.0.1', seeds: [{ address, port }] })
  const data = Buffer.alloc(size, 'x')
  let written = 0
  const more = () => {
    while (written < count) {
      written += 1
      if (!node.broadcast.write(data)) return node.broadcast.once('drain', more)
    }
  }
  node.once('connect', more)
  await node.start()
  process.stdin.resume().on('end', () => node.stop())
}

const [mode, ...args] = process.argv.slice(2)
if (mode === 'read') read(Number(args[0]))
else write(args[0], Number(args[1]), Number(args[2]))
