/** Uses of everything from an ES module. This file is compiled, not run. */
import { once } from 'node:events'
import { pipeline } from 'node:stream/promises'
import { Duplex, Readable, type Writable } from 'node:stream'
import smokesignal, {
  createNode,
  localIp,
  Identity,
  MemoryNetwork,
  Node,
  Peer,
  Peerlist,
  Broadcast,
  NodeStream
} from 'smokesignal-p2p'
import * as everything from 'smokesignal-p2p'
import type {
  Answer,
  End,
  ErrorCode,
  Gap,
  LinkMetrics,
  Message,
  Metrics,
  Options,
  WriterMetrics
} from 'smokesignal-p2p'
import type { Restarted, SmokesignalError, Stopped } from 'smokesignal-p2p'

const least = createNode({ address: '127.0.0.1' })
const options: Options = {
  address: localIp('192.168.2.1/255.255.255.0'),
  port: '8495',
  minPeerNo: 2,
  maxPeerNo: Infinity,
  seeds: [
    { address: '192.168.2.100', port: 13 },
    { address: 'seed.example', port: '8495' }
  ],
  pingTimeout: 3000,
  logger: console,
  advertise: ['203.0.113.7:0', '[2001:db8::1]:8495'],
  maxMessage: 1024,
  preset: 'lan',
  retention: { bytes: 4_000_000, age: 30_000 },
  pace: 'all',
  readerTimeout: 60_000,
  uploadLimit: 500_000,
  networkSecret: Buffer.alloc(32),
  readFrom: { last: 5 },
  unsigned: true,
  relayOnly: false,
  preferNearPeers: false,
  rngSeed: 1,
  identity: Identity.fromSeed(new Uint8Array(32)),
  transport: new MemoryNetwork({ latency: [1, 2], bandwidth: 1000 })
}
const node: Node = createNode(options)
createNode({
  address: '::1',
  port: null,
  minPeerNo: undefined,
  preset: null,
  retention: { age: 5000 },
  maxPeerNo: null,
  seeds: null,
  keyFile: 'node.key',
  readFrom: 'oldest',
  advertise: 'a.example:1'
})
const same: typeof smokesignal.createNode = everything.createNode
const again: typeof smokesignal = everything.default

node.on('connect', () => {}).once('disconnect', () => {})
node.on('new peer', (peer) => peer.write(peer.id)).off('new peer', () => {})
node.on('netsplit', ({ seed, size, sizeBefore, otherSize }) => [
  seed.length,
  size - sizeBefore,
  otherSize ?? 0
])
node.on('netsplit resolved', ({ duration, size }) => duration * size)
node.on('seed unreachable', ({ seed, error }) => `${seed}: ${error.code}`)
node.on('lagging', ({ from, messages, bytes }) => console.log(from, messages + bytes))
node.on('caught up', ({ from }) => console.log(from))
node.on('reader timed out', ({ reader }) => console.log(reader.length))
node.on('identity conflict', ({ id, superseded }) => console.log(id.length, superseded === true))
node.on('incompatible', ({ address, ours, theirs, upgrade }) =>
  upgrade === 'this' ? `${address}: ${theirs.oldest} to ${theirs.newest}` : ours.newest - ours.oldest
)
node.on('error', (error) => error.code === 'ERR_SMOKESIGNAL_PORT_IN_USE')
node.emit('connect')
node.emit('netsplit resolved', { duration: 5, size: 2 })
node.peers.on('add', (peer: Peer) => peer.remotePort + 1).on('remove', (peer) => peer.remoteAddress.length)
node.broadcast
  .on('message', (data, from) => data.length + from.length)
  .on('gap', ({ from, missed }) => `${from} ${missed}`)
node.broadcast
  .on('data', (chunk: Buffer) => chunk.length)
  .on('end', () => {})
  .on('error', (error) => error.message)
node.id = 'ann'

const listening: boolean = node.listening && node.connected
const port: number = node.options.port + node.options.seeds.length
const metrics: Metrics = node.metrics()
const confirmed: number = await node.sendConfirmed('text', { signal: AbortSignal.timeout(1000) })
const links: LinkMetrics[] = metrics.links
const writers: WriterMetrics[] = metrics.writers
const behind: number[] = writers.map(
  (writer) => writer.messagesBehind + writer.bytesBehind + writer.secondsBehind
)
const rates: number[] = links.map((link) => link.bytesSentPerSecond + link.bytesReceivedPerSecond)
const roundTrip: number | undefined = node.peers.list[0]?.metrics()?.roundTrip
const numbers: number = node.size + metrics.duplicatesReceived + node.options.retention.age
node.logger.fatal(node.id, numbers, port, listening)
const found: Peer | false = node.peerlist.inList('id') || node.peers.inList(node.peers.list[0]!)
const peerlist: Peerlist = node.peers.close()
const ids: string[] = peerlist.dump()
if (found && peerlist.isFull() && !peerlist.isSufficientlyFilled()) found.close()
const { signal } = new AbortController()

async function uses(): Promise<void> {
  await node.start()
  await node.start({ signal })
  const peer: Peer = await node.addPeer('127.0.0.1', 8495)
  await node.addPeer('127.0.0.1', '8495', { signal })
  node.addPeer('127.0.0.1', 8495, (error, added) => error?.code ?? added?.id)
  await node.addPeer('127.0.0.1', 8495, () => {}, { signal })
  await node.send('text', { signal })
  await node.send(Buffer.from('bytes'))
  await node.send(new Uint16Array(2))
  await node.send(new ArrayBuffer(2))
  for await (const { from, seq, data, age, missed, end, restarted } of node.messages()) {
    if (data !== undefined) console.log(from, seq.toFixed(), data.toString('utf8'), age.toFixed(), missed)
    else if (missed !== undefined) console.log(from, missed.toFixed(), seq)
    else console.log(from, end, restarted)
  }
  for await (const incoming of node.messages({ signal })) {
    if (incoming.missed !== undefined) {
      const gap: Gap = incoming
      console.log(gap.missed)
    } else if (incoming.end) {
      const end: End = incoming
      console.log(end.from)
    } else if (incoming.restarted) {
      const restarted: Restarted = incoming
      console.log(restarted.from)
    } else {
      const message: Message = incoming
      await node.reply(message)
    }
  }
  const stream: NodeStream = await node.open(peer.id, 'file', { signal })
  const path: 'neighbour' | 'direct' | 'relayed' = stream.path
  console.log(stream.peer.length, stream.name.length, path)
  stream
    .on('data', (chunk) => console.log(chunk))
    .on('close', () => {})
    .end('bye')
  for await (const accepted of node.accept('file', { signal })) await pipeline(accepted, process.stdout)
  for await (const accepted of node.replies()) Duplex.toWeb(accepted)
  const back: Duplex = await node.reply(peer.id, { signal })
  Readable.toWeb(back)
  const writable: Writable = node.broadcast
  process.stdin.pipe(node.broadcast).pipe(process.stdout)
  writable.end()
  for await (const answer of node.ask('who?', { timeout: 100, signal })) {
    const { from, data }: Answer = answer
    console.log(from, data.toString())
  }
  const answering = node.answer(async (question, from) => (question.length > 0 ? from : undefined))
  answering.close()
  node.answer((question) => question)
  node.answer(() => {})
  node.answer(() => null)
  const [joined]: unknown[] = await once(node, 'new peer')
  console.log(joined)
  await using scoped = createNode({ address: '127.0.0.1' })
  using scopedAnswering = scoped.answer(() => 'yes')
  await using arriving = scoped.messages()
  const first = await arriving.next()
  if (!first.done) console.log(first.value.from)
  await scoped[Symbol.asyncDispose]()
  await node.stop({ signal })
  const stopped: Stopped = await node.stop()
  console.log(stopped.confirmed + stopped.behind + stopped.missing + stopped.unsent)
}

function explain(error: unknown): string {
  const { code, option, size, limit } = error as SmokesignalError
  const known: ErrorCode = code
  if (code === 'ERR_SMOKESIGNAL_TOO_LARGE') return `${size} of ${limit}`
  return option ?? known
}

const network = new MemoryNetwork()
network.partition([['10.0.0.1:1', '10.0.0.2:1'], ['10.0.0.3:1']])
network.heal()
network.freeze('10.0.0.1:1')
network.thaw('10.0.0.1:1')
network.reset('10.0.0.1:1')
const identity: Identity = Identity.load('key') ?? Identity.loadOrCreate('key') ?? Identity.generate()
const classes = [Node, Peer, Peerlist, Broadcast, NodeStream].map((kind) => node instanceof kind)

/** A logger need not be a plain object. */
class Lines {
  lines: string[] = []
  info(...texts: string[]): void {
    this.lines.push(...texts)
  }
}
createNode({ address: '127.0.0.1', logger: new Lines() })

export { again, classes, explain, identity, ids, least, same, uses }
