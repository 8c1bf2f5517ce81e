'use strict'
/**
 * Idle nodes: `node bench/idle.js NODES SECONDS` prints how often a thread of the process wakes up,
 * per node and second.
 */
const fs = require('node:fs')
const { once } = require('node:events')
const { setTimeout: sleep } = require('node:timers/promises')
const { createNode } = require('..')

/** Returns how often threads of this process have gone to sleep. */
function sleeps() {
  let sum = 0
  for (const task of fs.readdirSync('/proc/self/task')) {
    const status = fs.readFileSync(`/proc/self/task/${task}/status`, 'utf8')
    sum += Number(/^voluntary_ctxt_switches:\s*([0-9]+)/m.exec(status)[1])
  }
  return sum
}

async function main(count, seconds) {
  const nodes = []
  for (let i = 0; i < count; i += 1) {
    const seeds = i === 0 ? [] : [{ address: '127.0.0.1', port: nodes[0].options.port }]
    const node = createNode({ address: '127.0.0.1', seeds })
    await node.start()
    if (i > 0) await once(node, 'connect')
    nodes.push(node)
  }
  // Waits until only the links are left of all connections.
  await sleep(15_000)
  const before = sleeps()
  await sleep(seconds * 1000)
  console.log((sleeps() - before) / seconds / count)
  await Promise.all(nodes.map((node) => node.stop()))
}

main(...process.argv.slice(2).map(Number))
