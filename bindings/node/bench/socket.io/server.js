'use strict'
/**
 * A server of the benchmark with one client, in a process of its own. The process that forked it
 * sends commands.
 */
const http = require('node:http')
const { once } = require('node:events')
const { Server } = require('socket.io')
const { io: connect } = require('socket.io-client')

const { adapter, redis, servers, seed, bytes } = JSON.parse(process.argv[2])

/** Messages that may be in flight to the slowest client. */
const WINDOW = 4096
/** Messages that are emitted in one turn of the event loop. */
const BURST = 64
/** A client reports its progress after this many messages. */
const STEP = 256

const makers = {
  async smokesignal(more) {
    const { createNode } = require('../..')
    const { createAdapter } = require('../../lib/socket.io.js')
    const node = createNode({
      address: '127.0.0.1',
      port: 0,
      seeds: seed ? [{ address: '127.0.0.1', port: seed }] : [],
      ...more
    })
    await node.start()
    return { adapter: createAdapter(node), nodePort: node.options.port }
  },
  unsigned: () => makers.smokesignal({ unsigned: true }),
  async redis() {
    const { createClient } = require('redis')
    const { createAdapter } = require('@socket.io/redis-adapter')
    const publisher = createClient({ url: `redis://127.0.0.1:${redis}` })
    const subscriber = publisher.duplicate()
    await Promise.all([publisher.connect(), subscriber.connect()])
    return { adapter: createAdapter(publisher, subscriber) }
  }
}

async function main() {
  const made = await makers[adapter]()
  const server = http.createServer()
  const io = new Server(server, { adapter: made.adapter })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = connect(`http://127.0.0.1:${server.address().port}`, { transports: ['websocket'] })
  await once(client, 'connect')
  const bench = new Bench(io, client)
  process.on('message', ({ type, ...rest }) => bench[type](rest))
  process.on('disconnect', () => process.exit())
  process.send({ nodePort: made.nodePort })
}

class Bench {
  constructor(io, client) {
    this.io = io
    this.text = 'x'.repeat(bytes)
    this.took = []
    /** The progress of each client, by process. */
    this.reached = new Map()
    this.emitted = 0
    client.on('flood', (number) => {
      if (number % STEP === 0) process.send({ type: 'progress', from: process.pid, number })
    })
    client.on('pace', (at) => this.took.push(Number(process.hrtime.bigint() - BigInt(at)) / 1e6))
  }

  /** Waits until all servers know each other. */
  async 'ready?'() {
    while ((await this.io.of('/').adapter.serverCount()) < servers) await pause(10)
    process.send({ type: 'ready? done' })
  }

  progress({ from, number }) {
    this.reached.set(from, number)
    this.proceed?.()
  }

  /** Emits as fast as all clients can follow. */
  async flood({ seconds }) {
    const begin = performance.now()
    const end = begin + seconds * 1000
    const first = this.emitted
    while (performance.now() < end) {
      const slowest = this.slowest()
      const room = Math.min(BURST, WINDOW - (this.emitted - slowest))
      if (room <= 0) {
        await new Promise((resolve) => {
          this.proceed = resolve
        })
        continue
      }
      for (let i = 0; i < room; i += 1) {
        this.emitted += 1
        this.io.emit('flood', this.emitted, { user: 'somebody', text: this.text })
      }
      await new Promise(setImmediate)
    }
    // Waits for the last messages.
    while (this.emitted % STEP !== 0) {
      this.emitted += 1
      this.io.emit('flood', this.emitted, { user: 'somebody', text: this.text })
    }
    while (this.slowest() < this.emitted)
      await new Promise((resolve) => {
        this.proceed = resolve
      })
    process.send({
      type: 'flood done',
      messages: this.emitted - first,
      seconds: (performance.now() - begin) / 1000
    })
  }

  slowest() {
    return this.reached.size < servers ? 0 : Math.min(...this.reached.values())
  }

  /** Emits at a rate. */
  async pace({ seconds, rate }) {
    const begin = performance.now()
    for (let i = 0; i < seconds * rate; i += 1) {
      const due = begin + (i * 1000) / rate
      if (due > performance.now()) await pause(due - performance.now())
      this.io.emit('pace', String(process.hrtime.bigint()), { user: 'somebody', text: this.text })
    }
    await pause(200)
    process.send({ type: 'pace done' })
  }

  /** Returns the latencies of the paced messages to this client. */
  latencies() {
    process.send({ type: 'latencies done', values: this.took.splice(0) })
  }
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

main()
