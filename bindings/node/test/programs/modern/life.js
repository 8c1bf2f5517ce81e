'use strict'
/** A started node keeps the process alive; one that is stopped, or was never started, does not. */
const { createNode } = require('smokesignal-p2p')

createNode({ address: '127.0.0.1' })
const node = createNode({ address: '127.0.0.1' })
node.messages().next()
node.accept('file')
node.answer(() => 'yes')
node.start().then(() => console.log('started'))
process.stdin.once('data', () => {
  process.stdin.pause()
  node.stop().then(() => console.log('stopped'))
})
