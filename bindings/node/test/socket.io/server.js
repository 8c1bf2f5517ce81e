'use strict'

// A server in a process of its own: node server.js '{"seed": 1234}'. It reports its ports to the
// process that forked it, and ends with that process.

const http = require('node:http')
const { Server } = require('socket.io')
const { createNode } = require('../../lib/index.js')
const { createAdapter } = require('../../lib/socket.io.js')

const { seed, adapter, leave, ...options } = JSON.parse(process.argv[2])

async function main() {
  const node = createNode({
    address: '127.0.0.1',
    port: 0,
    seeds: seed ? [{ address: '127.0.0.1', port: seed }] : []
  })
  const server = http.createServer()
  const io = new Server(server, { adapter: createAdapter(node, adapter), ...options })
  io.on('connection', (socket) => socket.join('room'))
  io.on('hello', (answer) => answer('from a child'))
  await node.start()
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  process.send({ port: server.address().port, nodePort: node.options.port })
  if (leave) {
    // From here on, only open handles of this package could keep the process from ending.
    process.once('message', async () => {
      await io.close()
      await node.stop()
      process.disconnect()
    })
    return
  }
  process.on('disconnect', () => process.exit())
}

main()
