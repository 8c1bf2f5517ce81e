'use strict'
/**
 * socket.io with this package beside socket.io with Redis:
 *
 *   node bench/socket.io.js [--servers 2,3,4] [--rounds 5] [--seconds 3] [--rates 200,500] [--bytes 100] [--json]
 *
 * Each server is a process with one client in it, and the first server emits to all. The throughput
 * is measured with a window of messages, as fast as the slowest client follows. The latency is
 * measured at a fixed rate, from `emit` to the handler of a client at another server. Three systems
 * take turns: this package, this package with `unsigned` (its servers then trust each other, as
 * with Redis, which does not prove who wrote a message), and Redis. Medians of the rounds are
 * printed. The benchmark starts its own Redis, on a free port and without a file (Debian: apt-get
 * install -y redis-server).
 */
const { fork, spawn, spawnSync } = require('node:child_process')
const net = require('node:net')
const path = require('node:path')
const { once } = require('node:events')
const { parseArgs } = require('node:util')

const { values: options } = parseArgs({
  options: {
    servers: { type: 'string', default: '2,3,4' },
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '3' },
    rates: { type: 'string', default: '200,500' },
    bytes: { type: 'string', default: '100' },
    json: { type: 'boolean', default: false }
  }
})

const RATES = options.rates.split(',').map(Number)

async function main() {
  const redis = await startRedis()
  const adapters = ['smokesignal', 'unsigned', ...(redis ? ['redis'] : [])]
  const results = []
  try {
    for (const servers of options.servers.split(',').map(Number)) {
      const rounds = Object.fromEntries(adapters.map((adapter) => [adapter, []]))
      for (let round = 0; round < Number(options.rounds); round += 1) {
        for (const adapter of round % 2 === 0 ? adapters : [...adapters].reverse()) {
          rounds[adapter].push(await measure({ adapter, servers, redis: redis?.port }))
        }
      }
      for (const adapter of adapters) {
        const result = { servers, adapter, ...medians(rounds[adapter]) }
        results.push(result)
        if (!options.json) print(result)
      }
    }
  } finally {
    redis?.child.kill()
  }
  if (options.json) console.log(JSON.stringify(results, null, 2))
}

/** Runs both measurements with servers of their own: first the throughput, then the latency. */
async function measure({ adapter, servers, redis }) {
  const group = []
  try {
    for (let i = 0; i < servers; i += 1) {
      const child = fork(path.join(__dirname, 'socket.io', 'server.js'), [
        JSON.stringify({
          adapter,
          redis,
          servers,
          seed: group[0]?.nodePort,
          bytes: Number(options.bytes)
        })
      ])
      const [{ nodePort }] = await once(child, 'message')
      group.push({ child, nodePort })
    }
    await all(group, { type: 'ready?' })
    // The other servers report their progress to the emitter.
    const [emitter] = group
    const forward = (message) => {
      if (message.type === 'progress') emitter.child.send(message)
    }
    for (const { child } of group) child.on('message', forward)
    await ask(emitter, { type: 'flood', seconds: 1 })
    const { messages, seconds } = await ask(emitter, { type: 'flood', seconds: Number(options.seconds) })
    const result = { perSecond: messages / seconds }
    for (const rate of RATES) {
      await ask(emitter, { type: 'pace', seconds: Number(options.seconds), rate })
      const latencies = (await all(group.slice(1), { type: 'latencies' })).flatMap(({ values }) => values)
      latencies.sort((a, b) => a - b)
      for (const part of [50, 99])
        result[`p${part} at ${rate}/s`] = latencies[Math.floor((latencies.length * part) / 100)]
    }
    return result
  } finally {
    await Promise.all(
      group.map(async ({ child }) => {
        if (child.exitCode !== null || child.signalCode !== null) return
        child.kill('SIGKILL')
        await once(child, 'exit')
      })
    )
  }
}

/** Sends a command to one server. Resolves to its answer. */
function ask({ child }, question) {
  return new Promise((resolve, reject) => {
    const exited = () => reject(new Error('a server ended early'))
    child.once('exit', exited)
    child.on('message', function answered(message) {
      if (message.type !== `${question.type} done`) return
      child.off('message', answered)
      child.off('exit', exited)
      resolve(message)
    })
    child.send(question)
  })
}

function all(group, question) {
  return Promise.all(group.map((server) => ask(server, question)))
}

function medians(rounds) {
  return Object.fromEntries(
    Object.keys(rounds[0]).map((name) => {
      const values = rounds.map((round) => round[name]).sort((a, b) => a - b)
      return [name, values[Math.floor(values.length / 2)]]
    })
  )
}

function print({ servers, adapter, perSecond, ...latencies }) {
  const words = Object.entries(latencies).map(([name, value]) => `${name} ${value.toFixed(2)} ms`)
  console.log(
    [
      `${servers} servers`,
      adapter.padEnd(11),
      `${Math.round(perSecond)} messages/s`.padStart(18),
      ...words
    ].join('  ')
  )
}

/** Starts a Redis for this benchmark. Without one, prints why. */
async function startRedis() {
  if (spawnSync('redis-server', ['--version']).error) {
    console.error(
      'There is no redis-server: only smokesignal is measured (Debian: apt-get install -y redis-server).'
    )
    return undefined
  }
  const port = await freePort()
  const child = spawn(
    'redis-server',
    ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'],
    { stdio: ['ignore', 'pipe', 'inherit'] }
  )
  child.on('error', (error) => console.error(error.message))
  for await (const text of child.stdout) {
    if (String(text).includes('Ready to accept connections')) break
  }
  return { child, port }
}

async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  return port
}

main().catch((error) => {
  console.error(error)
  process.exitCode = 1
})
