'use strict'
/** A node in a worker and one in the main thread write to each other. */
const { isMainThread, parentPort, Worker, workerData } = require('node:worker_threads')
const { createNode } = require('smokesignal-p2p')

async function main() {
  const node = createNode({ address: '127.0.0.1' })
  await node.start()
  const worker = new Worker(__filename, { workerData: node.options.port })
  const ended = new Promise((resolve, reject) => worker.once('exit', resolve).once('error', reject))
  for await (const { data } of node.messages()) {
    await node.send(`${data}, and back`)
    break
  }
  const [text] = await new Promise((resolve) => worker.once('message', (...all) => resolve(all)))
  console.log(text)
  console.log(`exit ${await ended}`)
  await node.stop()
}

async function inWorker() {
  const node = createNode({ address: '127.0.0.1', seeds: [{ address: '127.0.0.1', port: workerData }] })
  const messages = node.messages()
  await node.start()
  await node.send('out of the worker')
  const { value } = await messages.next()
  await node.stop()
  parentPort.postMessage(String(value.data))
}

;(isMainThread ? main() : inWorker()).catch((error) => {
  console.log(error)
  process.exitCode = 1
})
