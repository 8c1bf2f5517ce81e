'use strict'
/**
 * The cost of the binding: `npm run bench`. Runs three measurements several times, and prints
 * medians and spreads.
 *
 * 1. The binding alone: from `write` to the event `data`, between two nodes of this process over a
 *    MemoryNetwork.
 * 2. Two processes over loopback with signed messages: JavaScript to JavaScript and Rust to Rust in
 *    turns.
 * 3. Idle nodes: how often a thread wakes up, compared with a Rust program with the same number of
 *    nodes.
 */
const { execFileSync, spawn } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')
const readline = require('node:readline')

const ROUNDS = Number(process.env.ROUNDS ?? 5)
const root = path.join(__dirname, '..', '..', '..')
const rust = path.join(root, 'target', 'release', 'examples', 'two_processes')
const program = path.join(root, 'target', 'release', 'smokesignal')

async function main() {
  execFileSync(
    'cargo',
    ['build', '--release', '--quiet', '-p', 'smokesignal-p2p', '--example', 'two_processes'],
    { cwd: root, stdio: 'inherit' }
  )
  execFileSync('cargo', ['build', '--release', '--quiet', '-p', 'smokesignal-cli'], {
    cwd: root,
    stdio: 'inherit'
  })
  await alone()
  await pairs(64, 4_000_000)
  await pairs(64 * 1024, 40_000)
  await idle()
}

async function alone() {
  const rates = []
  for (let round = 0; round < ROUNDS; round += 1) {
    const { rate } = JSON.parse(
      execFileSync(process.execPath, [path.join(__dirname, 'alone.js'), '64', '3000000'], {
        encoding: 'utf8'
      })
    )
    rates.push(rate)
  }
  console.log(
    `binding alone, 64 B: ${spread(rates, (rate) => `${(rate / 1e6).toFixed(2)} M`)} messages/s (goal 0.5 M)`
  )
}

async function pairs(size, count) {
  const found = { JavaScript: [], Rust: [] }
  for (let round = 0; round < ROUNDS; round += 1) {
    found.Rust.push(await pair([rust], size, count))
    found.JavaScript.push(await pair([process.execPath, path.join(__dirname, 'pair.js')], size, count))
  }
  const unit =
    size < 1024
      ? (rate) => `${(rate / 1e6).toFixed(2)} M messages/s`
      : (rate) => `${((rate * size) / 1e6).toFixed(0)} MB/s`
  const ratios = found.JavaScript.map((rate, round) => rate / found.Rust[round])
  console.log(
    `two processes, ${size} B: JavaScript ${spread(found.JavaScript, unit)}; Rust ${spread(found.Rust, unit)}; ratio ${spread(ratios, (ratio) => ratio.toFixed(2))} (goal ${size < 1024 ? 0.5 : 0.8})`
  )
}

/** Returns messages per second, from the first to the last message that the reader has read. */
async function pair([command, ...before], size, count) {
  const reader = spawn(command, [...before, 'read', String(count)], { stdio: ['ignore', 'pipe', 'inherit'] })
  const lines = readline.createInterface({ input: reader.stdout })[Symbol.asyncIterator]()
  const { value: address } = await lines.next()
  const writer = spawn(command, [...before, 'write', address, String(size), String(count)], {
    stdio: ['pipe', 'ignore', 'inherit']
  })
  const { value: result } = await lines.next()
  writer.stdin.end()
  const { read, missed, seconds } = JSON.parse(result)
  if (missed > 0) console.log(`  (${missed} of ${count} were missed by a reader that was slower)`)
  return read / seconds
}

async function idle() {
  const nodes = 20
  const report = execFileSync(
    program,
    ['bench', '--scale', '--nodes', String(nodes), '--seconds', '20', '--json'],
    { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }
  )
  const inRust = JSON.parse(report.trim().split('\n').at(-1)).wake_ups_per_node_s
  const inJavaScript = JSON.parse(
    execFileSync(process.execPath, [path.join(__dirname, 'idle.js'), String(nodes), '20'], {
      encoding: 'utf8'
    })
  )
  console.log(
    `idle, ${nodes} nodes: ${inJavaScript.toFixed(2)} threads woken per node and second in Node.js, ${inRust.toFixed(2)} in the Rust program (goal: no more)`
  )
}

function spread(values, show) {
  const sorted = [...values].sort((a, b) => a - b)
  const median = sorted[Math.floor(sorted.length / 2)]
  return `${show(median)} [${show(sorted[0])} to ${show(sorted.at(-1))}]`
}

if (!fs.existsSync('/proc/self/task')) console.log('idle nodes can be measured on Linux only')
main()
