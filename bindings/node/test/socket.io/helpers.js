'use strict'

// Servers and clients for the tests of the socket.io adapter, all on 127.0.0.1.

const http = require('node:http')
const path = require('node:path')
const { fork } = require('node:child_process')
const { once } = require('node:events')
const { Server } = require('socket.io')
const { io: connect } = require('socket.io-client')
const { createNode } = require('../../lib/index.js')
const { createAdapter } = require('../../lib/socket.io.js')

/** The longest time of a test, far longer than any takes. */
const LIMIT = { timeout: 60_000 }

/** Resolves when `condition` holds. Rejects after a while. */
async function until(condition, what = condition.toString()) {
  const end = Date.now() + 20_000
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`this never came: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** Returns a logger that keeps its lines. */
function keepingLogger() {
  const lines = []
  const logger = { lines }
  for (const level of ['trace', 'debug', 'info', 'warn', 'error', 'fatal']) {
    logger[level] = (...words) => lines.push(`${level} ${words.join(' ')}`)
  }
  return logger
}

/** Returns a node that knows the address of another one. It is not started. */
function newNode(seed, options = {}) {
  const seeds = seed ? [{ address: '127.0.0.1', port: seed.options.port }] : []
  return createNode({ address: '127.0.0.1', port: 0, seeds, logger: keepingLogger(), ...options })
}

/** A socket.io server over a node. It is closed when the test is over. */
class TestServer {
  constructor(t, node, { adapter, ...options } = {}) {
    this.node = node
    this.http = http.createServer()
    this.io = new Server(this.http, {
      adapter: createAdapter(node, adapter),
      ...options
    })
    this.clients = []
    t.after(() => this.close())
  }

  get adapter() {
    return this.io.of('/').adapter
  }

  get port() {
    return this.http.address().port
  }

  async listen() {
    this.http.listen(0, '127.0.0.1')
    await once(this.http, 'listening')
    return this
  }

  /** Connects a client. Resolves to it, with its socket at this server as `serverSide`. */
  async connect(nsp = '/', options = {}) {
    const accepted = once(this.io.of(nsp), 'connection')
    const client = this.client(nsp, options)
    await once(client, 'connect')
    ;[client.serverSide] = await accepted
    return client
  }

  /** Returns a client that is about to connect, with the events that it gets as `events`. */
  client(nsp = '/', options = {}) {
    const client = connect(`http://127.0.0.1:${this.port}${nsp}`, {
      transports: ['websocket'],
      reconnectionDelay: 1,
      reconnectionDelayMax: 1,
      forceNew: true,
      ...options
    })
    client.events = []
    client.onAny((...event) => client.events.push(event))
    this.clients.push(client)
    return client
  }

  async close() {
    for (const client of this.clients) client.disconnect()
    await this.io.close()
    await this.node.stop()
  }
}

/** Starts servers that know the address of the first one, and waits until each knows all others. */
async function cluster(t, count, options = {}) {
  const { node: nodeOptions, ...others } = options
  const servers = []
  for (let i = 0; i < count; i++) {
    const node = newNode(servers[0]?.node, nodeOptions)
    await node.start()
    servers.push(await new TestServer(t, node, others).listen())
  }
  await knowing(servers, count)
  return servers
}

/** Waits until each server knows `count` servers. */
function knowing(servers, count, nsp = '/') {
  return until(async () => {
    for (const { io } of servers) {
      if ((await io.of(nsp).adapter.serverCount()) !== count) return false
    }
    return true
  }, `all know of ${count} servers`)
}

/** Breaks the connection of a client as a network does, and reconnects it to `server`. */
async function breakAndReturn(client, server, meanwhile = () => {}) {
  client.io.uri = `http://127.0.0.1:${server.port}`
  const accepted = once(server.io.of(client.nsp), 'connection')
  client.io.reconnection(false)
  client.io.engine.close()
  await meanwhile()
  client.io.reconnection(true)
  const back = once(client, 'connect')
  client.connect()
  await back
  ;[client.serverSide] = await accepted
}

/** Returns the events of a client without the offsets at the end. */
function withoutOffsets(events) {
  return events.map((event) => event.slice(0, -1))
}

/** Starts a server in a process of its own (server.js), which can be killed. */
async function childServer(t, seed, options = {}) {
  const child = fork(path.join(__dirname, 'server.js'), [JSON.stringify({ seed, ...options })])
  t.after(() => child.kill('SIGKILL'))
  const [{ port, nodePort }] = await once(child, 'message')
  return { child, port, nodePort }
}

// What others made, then the helpers in the order of this file.
module.exports = {
  connect,
  once,
  LIMIT,
  until,
  keepingLogger,
  newNode,
  TestServer,
  cluster,
  knowing,
  breakAndReturn,
  withoutOffsets,
  childServer
}
