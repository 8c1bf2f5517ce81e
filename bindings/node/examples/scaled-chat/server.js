'use strict'
/**
 * One of any number of servers of a chat. Each knows the address of another one; nothing else
 * connects them:
 *
 *   npm start -- --port 3001 --node-port 8495
 *   npm start -- --port 3002 --node-port 8496 --seed 127.0.0.1:8495
 */
const fs = require('node:fs')
const http = require('node:http')
const path = require('node:path')
const { parseArgs } = require('node:util')
const { Server } = require('socket.io')
const { createNode } = require('smokesignal-p2p')
const { createAdapter } = require('smokesignal-p2p/socket.io')

const { values: options } = parseArgs({
  options: {
    /** The port that browsers connect to. */
    port: { type: 'string', default: '3001' },
    /** The port and address that the other servers connect to. */
    'node-port': { type: 'string', default: '8495' },
    address: { type: 'string', default: '127.0.0.1' },
    /** HOST:PORT of another server's node, repeatable. One of them has to run. */
    seed: { type: 'string', multiple: true, default: [] }
  }
})

const page = fs.readFileSync(path.join(__dirname, 'public', 'index.html'))

const server = http.createServer((request, response) => {
  const found = request.url === '/'
  response.writeHead(found ? 200 : 404, { 'Content-Type': 'text/html; charset=utf-8' })
  response.end(found ? page : 'Not found')
})

const node = createNode({
  address: options.address,
  port: Number(options['node-port']),
  seeds: options.seed.map((seed) => {
    const colon = seed.lastIndexOf(':')
    return { address: seed.slice(0, colon), port: Number(seed.slice(colon + 1)) }
  })
})

const io = new Server(server, {
  adapter: createAdapter(node),
  // A client that loses its connection for a moment gets what was said in the meantime, at any
  // server.
  connectionStateRecovery: {}
})

io.on('connection', (socket) => {
  socket.emit('server', server.address().port)
  socket.on('say', (name, text) => {
    if (typeof name !== 'string' || typeof text !== 'string' || text === '') return
    // To the clients of all servers.
    io.emit('said', name.slice(0, 40), text.slice(0, 2000))
  })
})

async function main() {
  await node.start()
  await new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(Number(options.port), resolve)
  })
  const seed = `${options.address}:${node.options.port}`
  console.log(`Chat: http://127.0.0.1:${server.address().port}  other servers: --seed ${seed}`)
}

async function leave() {
  // Informs the other servers, which otherwise take this one for gone after a timeout.
  await io.close()
  await node.stop()
}

process.once('SIGINT', leave)
process.once('SIGTERM', leave)
main().catch((error) => {
  console.error(error.message)
  process.exit(1)
})
