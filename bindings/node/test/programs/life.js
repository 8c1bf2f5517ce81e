'use strict'
/**
 * The life of a process with nodes. The first argument selects the case.
 */
const { once } = require('node:events')
const { createNode } = require('../..')

const create = (seed) =>
  createNode({ address: '127.0.0.1', seeds: seed ? [{ address: '127.0.0.1', port: seed.options.port }] : [] })

async function pair() {
  const a = create()
  await a.start()
  const connected = once(a, 'connect')
  const b = create(a)
  await b.start()
  await connected
  if (!b.connected) await once(b, 'connect')
  return [a, b]
}

const lives = {
  /** Runs until its stdin asks it to stop. */
  async runs() {
    const node = create()
    await node.start()
    process.on('SIGUSR2', () => {
      console.log('stopping')
      node.stop()
    })
    console.log('started')
  },

  /** Starts nothing, so nothing keeps the process running. */
  async idle() {
    const node = create()
    node.broadcast.on('data', () => {})
    node.broadcast.write('for later')
    node.addPeer('127.0.0.1', 1)
  },

  /** Leaves readers, iterations and streams open, which stop() ends. */
  async stops() {
    const [a, b] = await pair()
    a.broadcast.on('message', () => {})
    a.broadcast.resume()
    a.peers.list[0].resume()
    const messages = a.messages()[Symbol.asyncIterator]().next()
    const accepting = a.accept('name').next()
    a.answer(() => 'yes')
    b.broadcast.write('x')
    await messages
    await Promise.all([a.stop(), b.stop(), accepting])
    console.log('stopped')
  },

  /** Stops one of several nodes; the others go on. */
  async several() {
    const nodes = await Promise.all([pair(), pair()])
    const [[a, b], [c, d]] = nodes
    await Promise.all([a.stop(), b.stop(), c.stop()])
    console.log(a.listening, b.listening, c.listening, d.listening)
    setTimeout(() => d.stop(), 50)
  },

  async exits() {
    const [a, b] = await pair()
    for (const node of [a, b]) node.broadcast.on('data', () => {})
    for (let i = 0; i < 5000; i += 1) a.broadcast.write(Buffer.alloc(1000))
    console.log('exiting')
    process.exit(7)
  },

  /** Lets a listener throw, which ends the process as with any EventEmitter. */
  async throws() {
    const a = create()
    a.on('connect', () => {
      throw new Error('from connect')
    })
    await a.start()
    await create(a).start()
  },

  /** Catches such an exception; the other listeners and events follow. */
  async caught() {
    const log = []
    process.on('uncaughtException', (error) => log.push(`caught ${error.message}`))
    const a = create()
    a.on('connect', () => {
      log.push('connect')
      throw new Error('from connect')
    })
    a.on('new peer', () => {
      log.push('new peer')
      throw new Error('from new peer')
    })
    a.peers.on('add', (peer) => {
      log.push('add')
      peer.on('data', (chunk) => {
        log.push(`peer ${chunk}`)
        throw new Error(`from peer ${chunk}`)
      })
    })
    a.on('disconnect', () => {
      log.push('disconnect')
      throw new Error('from disconnect')
    })
    a.peers.on('remove', () => {
      log.push('remove')
      a.stop()
    })
    await a.start()
    const b = create(a)
    await b.start()
    if (!b.connected) await once(b, 'connect')
    const [peer] = b.peers.list
    peer.write('1')
    peer.write('2')
    while (!log.includes('caught from peer 2')) await new Promise(setImmediate)
    await b.stop()
    while (!log.includes('remove') || !log.includes('caught from disconnect')) await new Promise(setImmediate)
    console.log(log.join('\n'))
    await a.stop()
  },

  /** Lets an async listener reject, which is the event `error` with captureRejections. */
  async rejects() {
    require('node:events').captureRejections = true
    const a = create()
    a.on('connect', async () => {
      throw new Error('from an async listener')
    })
    a.on('error', (error) => {
      console.log(`error ${error.message}`)
      a.stop()
      b.stop()
    })
    await a.start()
    const b = create(a)
    await b.start()
  },

  /** Exits while nodes are busy. */
  async forgets() {
    for (let i = 0; i < 20; i += 1) {
      const node = create()
      await node.start()
      await node.stop()
    }
    console.log('all stopped')
  },

  async disposes() {
    const a = create()
    await a.start()
    await a[Symbol.asyncDispose ?? Symbol.for('Symbol.asyncDispose')]()
    console.log(a.listening)
  }
}

lives[process.argv[2]]()
