'use strict'
/**
 * A key-value store as a user of 0.2.x would have written it: every node has a copy. Commands on
 * stdin: `set KEY VALUE`, `get KEY`, `peers`, `quit`.
 */
const smoke = require('smokesignal')
const readline = require('readline')

var store = {}
var logger = {
  lines: 0,
  count: function () {
    this.lines++
  },
  debug: function () {
    this.count()
  },
  info: function (text) {
    this.count()
  }
}

var node = smoke.createNode({
  port: process.env.PORT,
  address: process.env.ADDRESS || smoke.localIp('127.0.0.1/255.0.0.0'),
  seeds: process.env.SEED_PORT ? [{ port: process.env.SEED_PORT, address: '127.0.0.1' }] : [],
  logger: logger
})

node.id = process.env.NAME

// A new peer gets all entries.
node.peers.on('add', function (peer) {
  peer.write(JSON.stringify({ all: store }) + '\n')
  var lines = readline.createInterface({ input: peer })
  lines.on('line', function (line) {
    var all = JSON.parse(line).all
    for (var key in all) if (!(key in store)) store[key] = all[key]
    console.log('synced ' + Object.keys(store).sort().join(','))
  })
  console.log(
    'peer '
      + (node.peers.inList(peer) === peer)
      + ' '
      + (node.peers.node === node)
      + ' '
      + (node.peers.inList('x') === false)
  )
})

readline.createInterface({ input: node.broadcast }).on('line', function (line) {
  var message = JSON.parse(line)
  store[message.key] = message.value
  console.log('heard ' + message.key + ' of ' + message.by)
})

readline.createInterface({ input: process.stdin }).on('line', function (line) {
  var words = line.split(' ')
  switch (words[0]) {
    case 'set':
      store[words[1]] = words[2]
      node.broadcast.write(JSON.stringify({ key: words[1], value: words[2], by: node.id }) + '\n')
      break
    case 'get':
      console.log('value ' + store[words[1]])
      break
    case 'peers':
      console.log('peers ' + node.peers.list.length)
      break
    case 'quit':
      console.log('logged ' + (logger.lines > 0))
      process.stdin.destroy()
      node.stop()
  }
})

node.on('connect', function () {
  console.log('connected')
})
node.on('disconnect', function () {
  console.log('disconnected')
})
node.on('error', function (error) {
  throw error
})
node.start()

var waiting = setInterval(function () {
  if (!node.listening) return
  clearInterval(waiting)
  console.log('port ' + node.options.port)
}, 5)
