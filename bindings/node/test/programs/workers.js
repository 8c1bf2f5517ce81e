'use strict'
/**
 * Worker threads start a node and end while it runs. At the end, a node of the main thread still
 * works.
 */
const { Worker, isMainThread, parentPort } = require('node:worker_threads')
const { once } = require('node:events')
const { createNode } = require('../..')

const WORKERS = 50

async function main() {
  const node = createNode({ address: '127.0.0.1' })
  await node.start()
  const codes = []
  for (let i = 0; i < WORKERS; i += 1) {
    const worker = new Worker(__filename, { argv: [String(node.options.port), String(i)] })
    worker.on('error', (error) => console.error(`worker ${i}: ${error.stack}`))
    codes.push(once(worker, 'exit').then(([code]) => code))
    // Only a few run at a time.
    if (i % 5 === 4) await Promise.all(codes)
  }
  const all = await Promise.all(codes)
  console.log(`ended ${all.filter((code) => code === 0).length}`)
  const other = createNode({
    address: '127.0.0.1',
    seeds: [{ address: '127.0.0.1', port: node.options.port }]
  })
  // The workers' nodes have ended with them.
  while (node.peers.list.length > 0) await once(node.peers, 'remove')
  const heard = new Promise((resolve) =>
    node.broadcast.on('data', (chunk) => String(chunk) === 'after all' && resolve(chunk))
  )
  await other.start()
  other.broadcast.write('after all')
  console.log(String(await heard))
  await Promise.all([node.stop(), other.stop()])
}

function work() {
  const [port, number] = process.argv.slice(2).map(Number)
  const node = createNode({ address: '127.0.0.1', seeds: [{ address: '127.0.0.1', port }] })
  node.broadcast.on('data', () => {})
  node.broadcast.on('message', () => {})
  node.start().then(() => parentPort.postMessage('started'))
  node.broadcast.write('x')
  // Ends the worker in the middle of whatever it does then.
  setTimeout(() => process.exit(0), number % 10 === 0 ? 0 : 5)
}

if (isMainThread) main()
else work()
