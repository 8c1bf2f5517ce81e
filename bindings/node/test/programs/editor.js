'use strict'
/**
 * An editor as a user of 0.2.x would have written it: stdin goes to the others until somebody
 * writes `/mute`, which unpipes it.
 */
const smoke = require('smokesignal').default

var node = new smoke.createNode({
  address: '127.0.0.1',
  port: process.env.PORT || 0,
  seeds: [{ address: '127.0.0.1', port: process.env.SEED_PORT }]
})

process.stdin.setEncoding('utf8')
process.stdin.pipe(node.broadcast)
node.broadcast.pipe(process.stdout)

node.broadcast.on('data', function (text) {
  if (String(text).trim() === '/mute') {
    process.stdin.unpipe(node.broadcast)
    process.stdin.on('data', function (line) {
      console.log('kept: ' + line.trim())
    })
    process.stdin.resume()
    node.broadcast.write('muted\n')
  }
  if (String(text).trim() === '/deaf') {
    node.broadcast.unpipe(process.stdout)
    // Node.js pauses a stream that has lost its last destination.
    node.broadcast.resume()
    console.log('deaf')
    node.broadcast.write('deaf\n')
  }
  if (String(text).trim() === '/exit') process.exit(0)
})

node.on('connect', function () {
  console.log('connected')
})
node.start()
