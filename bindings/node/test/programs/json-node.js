'use strict'
/**
 * A node that speaks a part of the protocol of `smokesignal run --json`. The argument is the port
 * of a seed.
 */
const split = require('split2')
const { createNode } = require('../..')

const seed = process.argv[2]
const node = createNode({ address: '127.0.0.1', seeds: seed ? [{ address: '127.0.0.1', port: seed }] : [] })
const tell = (event) => process.stdout.write(`${JSON.stringify(event)}\n`)

node.broadcast.on('message', (data, from) => tell({ event: 'message', from, data: String(data) }))
node.broadcast.on('gap', ({ from, missed }) => tell({ event: 'gap', from, missed }))

const commands = {
  broadcast({ data }) {
    node.broadcast.write(data)
  },
  peers() {
    tell({ event: 'peers', size: node.size })
  },
  stop() {
    node.stop()
    process.stdin.destroy()
  }
}

process.stdin.pipe(split(JSON.parse)).on('data', (command) => commands[command.cmd](command))
node.start().then(() => tell({ event: 'listening', id: node.id, port: node.options.port }))
