'use strict'
/**
 * The binding alone: `node bench/alone.js SIZE COUNT` prints messages per second, from `write` to
 * the event `data`.
 */
const { once } = require('node:events')
const { MemoryNetwork, createNode } = require('..')

async function main(size, count) {
  const transport = new MemoryNetwork()
  const writer = createNode({ address: '10.0.0.1', port: 1, transport })
  const reader = createNode({
    address: '10.0.0.2',
    port: 1,
    transport,
    seeds: [{ address: '10.0.0.1', port: 1 }]
  })
  await writer.start()
  const connected = once(writer, 'connect')
  await reader.start()
  await connected
  let read = 0
  const all = new Promise((resolve, reject) => {
    reader.broadcast.on('data', () => {
      read += 1
      if (read === count) resolve()
    })
    reader.broadcast.on('gap', ({ missed }) => reject(new Error(`${missed} were missed`)))
  })
  const data = Buffer.alloc(size, 'x')
  const begun = process.hrtime.bigint()
  let written = 0
  const more = () => {
    while (written < count) {
      written += 1
      if (!writer.broadcast.write(data)) return writer.broadcast.once('drain', more)
    }
  }
  more()
  await all
  console.log(JSON.stringify({ rate: count / (Number(process.hrtime.bigint() - begun) / 1e9) }))
  await reader.stop()
  await writer.stop()
}

main(...process.argv.slice(2).map(Number))
