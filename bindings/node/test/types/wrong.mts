/** Each line here is wrong, and the compiler has to say so. */
import { createNode, localIp, Broadcast, Identity, MemoryNetwork, NodeStream, Peer, Peerlist } from 'smokesignal-p2p'
import type { ErrorCode, SmokesignalError } from 'smokesignal-p2p'

const node = createNode({ address: '127.0.0.1' })

// @ts-expect-error The address has to be there.
createNode({})
// @ts-expect-error There has to be something.
createNode()
// @ts-expect-error A seed has a port.
createNode({ address: '127.0.0.1', seeds: [{ address: '127.0.0.1' }] })
// @ts-expect-error Seeds are objects.
createNode({ address: '127.0.0.1', seeds: ['127.0.0.1:8495'] })
// @ts-expect-error There is no such option.
createNode({ address: '127.0.0.1', minPeers: 3 })
// @ts-expect-error A number.
createNode({ address: '127.0.0.1', maxPeerNo: '3' })
// @ts-expect-error One of three.
createNode({ address: '127.0.0.1', readFrom: 'newest' })
// @ts-expect-error A number.
createNode({ address: '127.0.0.1', readFrom: { last: '3' } })
// @ts-expect-error Not a string.
createNode({ address: '127.0.0.1', identity: 'ann' })
// @ts-expect-error A boolean.
createNode({ address: '127.0.0.1', unsigned: 'yes' })
// @ts-expect-error Bytes.
createNode({ address: '127.0.0.1', networkSecret: 5 })
// @ts-expect-error The methods are functions.
createNode({ address: '127.0.0.1', logger: { info: 'info' } })
// @ts-expect-error A MemoryNetwork.
createNode({ address: '127.0.0.1', transport: 'memory' })
// @ts-expect-error A string.
localIp(5)

// @ts-expect-error There is no such event.
node.on('conect', () => {})
// @ts-expect-error It tells nothing.
node.on('connect', (peer: Peer) => peer)
// @ts-expect-error It is a peer.
node.on('new peer', (id: string) => id)
// @ts-expect-error `size_before` in Rust.
node.on('netsplit', ({ size_before }) => size_before)
// @ts-expect-error The peer is missing.
node.emit('new peer')
// @ts-expect-error There is no such event.
node.peers.on('added', () => {})
// @ts-expect-error It is a peer.
node.peers.once('add', (peer: string) => peer)
// @ts-expect-error Data is a Buffer.
node.broadcast.on('message', (data: string) => data)
// @ts-expect-error It is an object.
node.broadcast.on('gap', (missed: number) => missed)

// @ts-expect-error The node says it.
node.size = 5
// @ts-expect-error The node says it.
node.connected = true
// @ts-expect-error It stays the same.
node.broadcast = node.broadcast
// @ts-expect-error A string.
node.id = 5

// @ts-expect-error A signal, not its controller.
void node.start({ signal: new AbortController() })
// @ts-expect-error Bytes or text.
void node.send({ hello: 'everyone' })
// @ts-expect-error Bytes or text.
void node.send(5)
// @ts-expect-error The name is missing.
void node.open(node.id)
// @ts-expect-error It takes an id.
void node.open(node.peers.list[0]!, 'file')
// @ts-expect-error The name is missing.
node.accept()
// @ts-expect-error The port is missing.
void node.addPeer('127.0.0.1')
// @ts-expect-error Milliseconds.
node.ask('who?', { timeout: '5s' })
// @ts-expect-error Bytes or text.
node.answer(() => 5)
// @ts-expect-error A function.
node.answer('yes')
// @ts-expect-error A message, or an id.
void node.reply(5)

async function reads(): Promise<void> {
  for await (const incoming of node.messages()) {
    // @ts-expect-error It may be a gap.
    incoming.data.toString()
    // @ts-expect-error It may be a message.
    incoming.missed.toFixed()
  }
  const stream = await node.open(node.id, 'file')
  // @ts-expect-error One of three.
  if (stream.path === 'tcp') stream.end()
  // @ts-expect-error It stays.
  stream.peer = 'ann'
  // @ts-expect-error It is a promise.
  node.open(node.id, 'file').write('too early')
}

// @ts-expect-error Nodes make them.
new Peer()
// @ts-expect-error Nodes make them.
new Peerlist()
// @ts-expect-error Nodes make them.
new Broadcast()
// @ts-expect-error Nodes make them.
new NodeStream()
// @ts-expect-error See generate, load, loadOrCreate and fromSeed.
new Identity()
// @ts-expect-error Bytes.
Identity.fromSeed('seed')
// @ts-expect-error Least and most.
new MemoryNetwork({ latency: [1] })
// @ts-expect-error Groups of names.
new MemoryNetwork().partition(['10.0.0.1:1'])
// @ts-expect-error There is no such code.
const code: ErrorCode = 'ERR_SMOKESIGNAL_OUT_OF_MILK'
// @ts-expect-error There is no such code.
const isOdd = (error: SmokesignalError): boolean => error.code === 'EADDRINUSE'

export { code, isOdd, reads }
