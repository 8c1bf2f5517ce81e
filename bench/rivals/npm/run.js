// The npm package smokesignal (2013): one run, one JSON object, as for the Rust rivals.
//
//   node run.js --nodes 20 --writers 1 --size 64 --window 64 --warm-up 1s --seconds 5
//   node run.js --rate 200
'use strict'

const { measure } = require('./measure')
const { Network } = require('./network')
const { version } = require('smokesignal/package.json')

const FLAGS = { nodes: 20, writers: 1, size: 64, window: null, rate: null, 'warm-up': '1s', seconds: 5 }
const LEAST_SIZE = 24

function read(args) {
  const flags = { ...FLAGS }
  for (let at = 0; at < args.length; at += 2) {
    const name = args[at].replace(/^--/, '')
    if (!(name in FLAGS) || args[at + 1] === undefined) throw new Error(`what is ${args.slice(at).join(' ')}?`)
    flags[name] = name === 'warm-up' ? args[at + 1] : Number(args[at + 1])
    if (Number.isNaN(flags[name])) throw new Error(`--${name} ${args[at + 1]} is not a number`)
  }
  if (flags.window !== null && flags.rate !== null) throw new Error('a window or a rate, not both')
  if (flags.rate === null) flags.window ??= 1024
  const { nodes, writers, size, window, rate, seconds } = flags
  if (nodes < 2 || writers < 1 || writers > nodes || size < LEAST_SIZE) throw new Error('the workload makes no sense')
  return { nodes, writers, size, window, rate, warmUp: milliseconds(flags['warm-up']), duration: seconds * 1000 }
}

function milliseconds(text) {
  const [, number, unit] = /^([\d.]+)(ms|s)$/.exec(text) || []
  if (unit === undefined) throw new Error(`--warm-up ${text}: such as 500ms or 1s`)
  return Number(number) * (unit === 's' ? 1000 : 1)
}

async function main() {
  const outcome = await measure(new Network(), read(process.argv.slice(2)))
  console.log(JSON.stringify({ system: 'smokesignal-npm', version, ...outcome }))
}

// The package cannot be stopped: `stop` throws. It ends with the process.
main().then(() => process.exit(0), error => {
  console.error(`smokesignal-npm: ${error.message}`)
  process.exit(1)
})
