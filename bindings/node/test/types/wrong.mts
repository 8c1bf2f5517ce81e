/** Each line after a comment is wrong, and the compiler has to report it. */
import { createNode, localIp, Broadcast, Identity, MemoryNetwork, NodeStream, Peer, Peerlist } from 'smokesignal-p2p'
import type { ErrorCode, SmokesignalError } from 'smokesignal-p2p'

const node = createNode({ address: '127.0.0.1' })

// @ts-expect-error The address is required.
createNode({})
// @ts-expect-error The options are required.
createNode()
// @ts-expect-error A seed has a port.
createNode({ address: '127.0.0.1', seeds: [{ address: '127.0.0.1' }] })
// @ts-expect-error Seeds are objects.
createNode({ address: '127.0.0.1', seeds: ['127.0.0.1:8495'] })
// @ts-expect-error The option does not exist.
createNode({ address: '127.0.0.1', minPeers: 3 })
// @ts-expect-error It has to be a number.
createNode({ address: '127.0.0.1', maxPeerNo: '3' })
// @ts-expect-error It has to be one of three values.
createNode({ address: '127.0.0.1', readFrom: 'newest' })
// @ts-expect-error It has to be a number.
createNode({ address: '127.0.0.1', readFrom: { last: '3' } })
// @ts-expect-error It has to be a number, not a string.
createNode({ address: '127.0.0.1', identity: 'ann' })
// @ts-expect-error It has to be a boolean.
createNode({ address: '127.0.0.1', unsigned: 'yes' })
// @ts-expect-error It has to be one of three values.
createNode({ address: '127.0.0.1', preset: 'moon' })
// @ts-expect-error It has to be an object.
createNode({ address: '127.0.0.1', retention: 60_000 })
// @ts-expect-error It has to be one of three values.
createNode({ address: '127.0.0.1', pace: 'some' })
// @ts-expect-error It has to be a number.
createNode({ address: '127.0.0.1', uploadLimit: '500k' })
// @ts-expect-error It has to be a number.
createNode({ address: '127.0.0.1', readerTimeout: '60s' })
// @ts-expect-error It has to be bytes.
createNode({ address: '127.0.0.1', networkSecret: 5 })
// @ts-expect-error The methods are functions.
createNode({ address: '127.0.0.1', logger: { info: 'info' } })
// @ts-expect-error It has to be a MemoryNetwork.
createNode({ address: '127.0.0.1', transport: 'memory' })
// @ts-expect-error It has to be a string.
localIp(5)

// @ts-expect-error The event does not exist.
node.on('conect', () => {})
// @ts-expect-error The listener gets no arguments.
node.on('connect', (peer: Peer) => peer)
// @ts-expect-error The listener gets a peer.
node.on('new peer', (id: string) => id)
// @ts-expect-error The property is `sizeBefore`.
node.on('netsplit', ({ size_before }) => size_before)
// @ts-expect-error The peer is missing.
node.emit('new peer')
// @ts-expect-error The event does not exist.
node.peers.on('added', () => {})
// @ts-expect-error The listener gets a peer.
node.peers.once('add', (peer: string) => peer)
// @ts-expect-error Data is a Buffer.
node.broadcast.on('message', (data: string) => data)
// @ts-expect-error The listener gets an object.
node.broadcast.on('gap', (missed: number) => missed)

// @ts-expect-error The property is read-only.
node.size = 5
// @ts-expect-error The property is read-only.
node.connected = true
// @ts-expect-error The property is read-only.
node.broadcast = node.broadcast
// @ts-expect-error It has to be a string.
node.id = 5

// @ts-expect-error It has to be a signal, not a controller.
void node.start({ signal: new AbortController() })
// @ts-expect-error It has to be bytes or text.
void node.send({ hello: 'everyone' })
// @ts-expect-error It has to be bytes or text.
void node.send(5)
// @ts-expect-error The name is missing.
void node.open(node.id)
// @ts-expect-error It has to be an id.
void node.open(node.peers.list[0]!, 'file')
// @ts-expect-error The name is missing.
node.accept()
// @ts-expect-error The port is missing.
void node.addPeer('127.0.0.1')
// @ts-expect-error It has to be a number of milliseconds.
node.ask('who?', { timeout: '5s' })
// @ts-expect-error It has to be bytes or text.
node.answer(() => 5)
// @ts-expect-error It has to be a function.
node.answer('yes')
// @ts-expect-error It has to be a message or an id.
void node.reply(5)

async function reads(): Promise<void> {
  for await (const incoming of node.messages()) {
    // @ts-expect-error It may be a gap.
    incoming.data.toString()
    // @ts-expect-error It may be a message.
    incoming.missed.toFixed()
  }
  const stream = await node.open(node.id, 'file')
  // @ts-expect-error It has to be one of three values.
  if (stream.path === 'tcp') stream.end()
  // @ts-expect-error The property is read-only.
  stream.peer = 'ann'
  // @ts-expect-error The result is a promise.
  node.open(node.id, 'file').write('too early')
}

// @ts-expect-error Only nodes create them.
new Peer()
// @ts-expect-error Only nodes create them.
new Peerlist()
// @ts-expect-error Only nodes create them.
new Broadcast()
// @ts-expect-error Only nodes create them.
new NodeStream()
// @ts-expect-error Use generate, load, loadOrCreate or fromSeed.
new Identity()
// @ts-expect-error It has to be bytes.
Identity.fromSeed('seed')
// @ts-expect-error It has to be the least and the most.
new MemoryNetwork({ latency: [1] })
// @ts-expect-error It has to be an array of groups.
new MemoryNetwork().partition(['10.0.0.1:1'])
// @ts-expect-error The code does not exist.
const code: ErrorCode = 'ERR_SMOKESIGNAL_OUT_OF_MILK'
// @ts-expect-error The code does not exist.
const isOdd = (error: SmokesignalError): boolean => error.code === 'EADDRINUSE'

export { code, isOdd, reads }
