/// <reference types="node" />
import { EventEmitter } from 'node:events'
import { Duplex } from 'node:stream'

/**
 * A peer-to-peer network for Node.js. Nodes find each other through any node of the network and
 * replace connections that they lose. `node.broadcast` is a stream to everyone, `node.open` opens a
 * stream to any node by its id, and events report when the network partitions and heals.
 *
 * @example
 * ```js
 * import { createNode } from 'smokesignal-p2p'
 *
 * const node = createNode({ address: '10.0.0.2', port: 8495, seeds: [{ address: '10.0.0.1', port: 8495 }] })
 * node.broadcast.on('message', (data, from) => console.log(`${from}: ${data}`))
 * await node.start()
 * await node.send('hello, everyone')
 * ```
 */
declare namespace smokesignal {
  /** The whole module, for code that imports its default. */
  export { smokesignal as default }

  /**
   * Creates a node. It neither listens nor connects before its `start()`.
   *
   * @throws {TypeError | RangeError} `ERR_SMOKESIGNAL_BAD_OPTION` if an option makes no sense. The
   *   text
   * names the option, the value and the cure, and the property `option` has the option's name in
   * most cases.
   * @throws `ERR_SMOKESIGNAL_KEY_FILE` or `ERR_SMOKESIGNAL_BAD_KEY_FILE` if `keyFile` cannot be
   *   used.
   *
   * @example
   * ```js
   * const node = createNode({ address: '127.0.0.1', port: 8495, keyFile: 'node.key', logger: console })
   * ```
   */
  export function createNode(options: Options): Node

  /**
   * Returns this machine's IPv4 address in a subnet. If there are several, the address that is
   * written in `subnet` comes first, then those that others can reach, then link-local ones, then
   * loopback.
   *
   * @param subnet Such as `'192.168.2.1/255.255.255.0'`, `'10.0.0.0/8'`, or one address of this
   *   machine.
   * @throws `ERR_SMOKESIGNAL_NO_LOCAL_ADDRESS` ("Couldn't determine IP address") if this machine
   *   has no
   * address in the subnet.
   * @throws {RangeError} `ERR_SMOKESIGNAL_BAD_SUBNET` if the text is not a subnet.
   * @throws {TypeError | RangeError} `ERR_SMOKESIGNAL_BAD_OPTION` if it is not a string, or an IPv6
   * subnet.
   *
   * @example
   * ```js
   * const node = createNode({ address: localIp('192.168.2.0/24') })
   * ```
   */
  export function localIp(subnet: string): string

  /** Data that can be sent. A string is sent as UTF-8. */
  export type Data = string | NodeJS.ArrayBufferView | ArrayBuffer

  /** Options of an operation that can be aborted. */
  export interface Abortable {
    /** Aborts the operation. It fails with an `AbortError` then, whose `code` is `ABORT_ERR`. */
    signal?: AbortSignal | undefined
  }

  /** A node through which others join the network. */
  export interface Seed {
    /** The IP address or host name where it listens. */
    address: string
    /** The port where it listens, from 1 to 65535. A string of digits counts as a number. */
    port: number | string
  }

  /**
   * Receives log lines, such as `console`. Each method is called with the logger as `this`. Methods
   * that are missing are not called.
   */
  export interface Logger {
    /** Gets the most detailed lines. */
    trace?(...args: any[]): void
    /** Gets steps of the protocol, and the address where the node starts to listen. */
    debug?(...args: any[]): void
    /** Gets changes of the network, such as the end of a netsplit. */
    info?(...args: any[]): void
    /** Gets problems that the node copes with, such as an unreachable seed. */
    warn?(...args: any[]): void
    /** Gets failures, such as that of an `addPeer()` that nobody awaits. */
    error?(...args: any[]): void
    /** Called when `start()` has failed. */
    fatal?(...args: any[]): void
  }

  /**
   * Where a node that joins begins to read the messages of others: with those from now on, with the
   * oldest ones that the network retains, or with the last ones of each writer.
   */
  export type ReadFrom = 'now' | 'oldest' | { last: number }

  /**
   * `'lan'`: nodes on one local network, a millisecond or so apart. Failures are noticed and
   * repaired about three times as fast, and idle links carry three times as much; a process that is
   * suspended for more than a second counts as dead.
   *
   * `'internet'`: nodes all over the world, a third of a second apart and on lines that stall.
   * Fewer links are lost without need, idle links carry half as much, and failures are noticed and
   * repaired half as fast.
   *
   * `'default'`: for networks near and far.
   */
  export type Preset = 'default' | 'lan' | 'internet'

  /**
   * What a node retains. With more, a reader may be cut off or suspended for longer before messages
   * are lost to it, and the node may use that much memory.
   */
  export interface Retention {
    /**
     * Bytes of all writers together; the writer with most loses its oldest messages. At least two
     * messages of `maxMessage`, and at least 2 MiB. Default 64 MiB, or two messages of `maxMessage`
     * if that is more.
     */
    bytes?: number | null | undefined
    /** The age up to which messages are retained, in milliseconds, at least 1000. Default 60000. */
    age?: number | null | undefined
  }

  /**
   * The readers that a node waits for when it writes.
   *
   * `'most'`: those that keep up. Slow or frozen readers cost the writer half a second, and 5 % of
   * the time after that, all of them together; they get what their lines carry, and a counted gap
   * for the rest.
   *
   * `'all'`: every reader that lives. Nothing is lost, and any member of the network can hold up
   * the writer. For files and replication.
   *
   * `'none'`: this node's own links alone. A reader that is behind by more than others retain reads
   * a gap.
   */
  export type Pace = 'most' | 'all' | 'none'

  /** Options of `createNode`. `undefined` and `null` mean the default. */
  export interface Options {
    /**
     * The IP address or host name that others dial. If it is an address of this machine, the node
     * listens there; otherwise it listens on all interfaces and advertises this one. It is the only
     * option without a default.
     */
    address: string
    /**
     * The port to listen at, from 0 to 65535. A string of digits counts as a number. Default 0: any
     * free port, which `node.options.port` shows after `start()`.
     */
    port?: number | string | null | undefined
    /**
     * The number of peers below which the node looks for more, at least 1. Default 3, or
     * `maxPeerNo` if that is less. 0 means the default.
     */
    minPeerNo?: number | null | undefined
    /**
     * The largest number of peers. Two more are possible for a moment, or because of `addPeer`.
     * Default 5; `Infinity` means no limit, 0 the default. A node with 1 does not forward messages.
     */
    maxPeerNo?: number | null | undefined
    /** Nodes through which to join the network. The node keeps trying them. Default: none. */
    seeds?: readonly Seed[] | null | undefined
    /**
     * The distances that the times of the node are made for. All nodes of a network need the same
     * preset. Default `'default'`; an explicit `pingTimeout` replaces that of the preset.
     */
    preset?: Preset | null | undefined
    /**
     * How long a peer may be silent before it counts as dead, in milliseconds, from 100 to 3600000.
     * All nodes of a network need about the same. Default 3000, with the preset `'lan'` 1000, with
     * `'internet'` 6000.
     */
    pingTimeout?: number | null | undefined
    /**
     * How long `stop()` waits where nothing moves, in milliseconds, from 0 to 86400000: for a first
     * peer if something was written before there was one, and for the peers to read what was
     * written. Default 30000.
     */
    leaveTimeout?: number | null | undefined
    /** Receives log lines. Default: none are written. */
    logger?: Logger | null | undefined
    /**
     * The addresses that others dial in place of `address` and `port`, as `'HOST:PORT'`, at most
     * four: for a forwarded port, a router, a container. Port 0 stands for the port where the node
     * listens. Default: `address` and `port`.
     */
    advertise?: string | readonly string[] | null | undefined
    /**
     * The largest message and the largest chunk of a stream, in bytes, from 1 to 1 GiB. Default 16
     * MiB. A node reports larger messages of others as gaps.
     */
    maxMessage?: number | null | undefined
    /**
     * How much the node retains of what all nodes wrote. Others repair from it what they have
     * missed, and late joiners begin earlier with it. Default `{ bytes: 67108864, age: 60000 }`, or
     * two messages of `maxMessage` if that is more.
     */
    retention?: Retention | null | undefined
    /** The readers that this node waits for when it writes. Default `'most'`. */
    pace?: Pace | null | undefined
    /**
     * With the pace `'all'`: how long writes wait for a reader that has confirmed nothing, although
     * there is something for it to read, in milliseconds, from 1 to 86400000; 0 is refused, because
     * no reader is that fast. The event `reader timed out` names it; it gets what is retained, and
     * counts again once it has caught up. Without effect with another pace. Default: no limit.
     */
    readerTimeout?: number | null | undefined
    /**
     * How many bytes per second the node sends at most, over all its connections together: what
     * streams of others carry through it and TLS records count; the headers of TCP and IP, some 4 %,
     * come on top. Connections that are busy get equal shares, and what keeps them alive goes
     * first. At least 16000, and so much that 128 KiB leave in each `pingTimeout`: 43690 with that
     * of 3000 ms. Default: no limit, which is also what `Infinity` means.
     */
    uploadLimit?: number | null | undefined
    /** The key pair, and with it the id. Default: a new one. Excludes `keyFile`. */
    identity?: Identity | null | undefined
    /**
     * The file of the key pair, with which a node keeps its id. It is created if it does not exist.
     * Excludes `identity`.
     */
    keyFile?: string | null | undefined
    /**
     * A secret that all nodes of the network share, at least 16 bytes, better 32 random ones. Nodes
     * that cannot prove that they have it are not let in. A string counts as UTF-8. Default: every
     * node is let in.
     */
    networkSecret?: string | Uint8Array | null | undefined
    /**
     * Where to begin reading. How far back that can be is the `retention` of the other nodes: 64
     * MiB and 60 s, unless they have another one. Default `'now'`.
     */
    readFrom?: ReadFrom | null | undefined
    /**
     * Whether messages are sent without signatures. That is cheaper, and any member can forge
     * messages of any other. All nodes of a network need the same setting. Default false.
     */
    unsigned?: boolean | null | undefined
    /**
     * Whether the node never dials for a stream. Streams to nodes that are not its peers are
     * relayed by other nodes then. Default false.
     */
    relayOnly?: boolean | null | undefined
    /** Whether the node looks for near peers, besides at least two random ones. Default true. */
    preferNearPeers?: boolean | null | undefined
    /**
     * For tests: the seed of the node's random choices, a whole number. They also depend on its
     * identity. Default: random.
     */
    rngSeed?: number | null | undefined
    /**
     * For tests: a network in the memory of this process. `address` has to be an IP address then.
     * Default: TCP.
     */
    transport?: MemoryNetwork | null | undefined
  }

  /** `node.options`: a copy of the given options, with the defaults. */
  export interface ReadOptions {
    /** The IP address or host name that others dial. */
    address: string
    /** The port that was given. After `start()`, the port where the node listens. */
    port: number
    /** The number of peers below which the node looks for more. */
    minPeerNo: number
    /** The largest number of peers. */
    maxPeerNo: number
    /** Nodes through which to join the network. */
    seeds: { address: string; port: number }[]
    /** The distances that the times of the node are made for. */
    preset: Preset
    /** How long a peer may be silent before it counts as dead, in milliseconds. */
    pingTimeout: number
    /** How long `stop()` waits where nothing moves, in milliseconds. */
    leaveTimeout: number
    /** The logger that was given, or an empty object. */
    logger: Logger
    /** The addresses that others dial in place of `address` and `port`. */
    advertise: string[]
    /** The largest message, in bytes. */
    maxMessage: number
    /** How much is retained of what all nodes wrote. */
    retention: { bytes: number; age: number }
    /** The readers that this node waits for when it writes. */
    pace: Pace
    /** How long writes wait for a reader that stands still, in milliseconds. */
    readerTimeout: number | undefined
    /** How many bytes per second the node sends at most. */
    uploadLimit: number | undefined
    /** The identity that was given. */
    identity: Identity | undefined
    /** The file of the key pair. */
    keyFile: string | undefined
    /** The secret of the network. It is not enumerable, so that it does not appear in logs. */
    networkSecret: Uint8Array | undefined
    /** Where to begin reading. */
    readFrom: ReadFrom
    /** Whether messages are sent without signatures. */
    unsigned: boolean
    /** Whether the node never dials for a stream. */
    relayOnly: boolean
    /** Whether the node looks for near peers. */
    preferNearPeers: boolean
    /** The seed of the node's random choices. */
    rngSeed: number | undefined
    /** The network in the memory of this process. */
    transport: MemoryNetwork | undefined
  }

  /**
   * What a node has counted, from `node.metrics()`. Counters begin at 0 with each start of the node
   * and stay readable after a stop. The values may be a moment apart.
   */
  export interface Metrics {
    /**
     * Gauge: nodes in the network, this one included, as `node.size`. 0 while the node is stopped.
     */
    networkSize: number
    /** Gauge: peers. */
    peers: number
    /**
     * Gauge: messages that were written and that the links have not taken yet, without those that
     * `write` and `send` keep waiting in JavaScript.
     */
    messagesWaiting: number
    /**
     * Gauge: bytes that the node retains of what all nodes wrote, which the option `retention`
     * limits. Each segment of up to 64 KiB counts 128 bytes beside its content. 0 while the node is
     * stopped.
     */
    bytesRetained: number
    /**
     * Gauge: bytes that wait for the reader that is farthest behind, 96 for each batch of
     * consecutive messages included. `node.broadcast` is a reader once something reads it, each
     * `messages()` is one, and so is each adapter of socket.io. At 64 MiB, or at four messages of
     * `maxMessage` if that is more, a reader loses the oldest.
     */
    bytesUnread: number
    /** Gauge: nodes that report how far they have read what this node writes. */
    readers: number
    /** Gauge: those of them that its writes do not wait for, because they fell too far behind. */
    readersBehind: number
    /**
     * Gauge: bytes that this node has written and that not all readers have confirmed, those behind
     * excepted.
     */
    bytesUnconfirmed: number
    /**
     * The first 16 digits of the id of the node that has read least, while anything is not
     * confirmed.
     */
    slowestReader?: string
    /** Counter: messages that this node has sent to everyone, questions included. */
    messagesSent: number
    /** Counter: bytes of these messages. */
    bytesSent: number
    /**
     * Counter: messages of other nodes that arrived here, each counted once, questions included.
     */
    messagesReceived: number
    /** Counter: bytes of these messages, with the length that goes before each on the wire. */
    bytesReceived: number
    /**
     * Counter: messages of other nodes that the network could not deliver to this one. A reader
     * that is too slow loses further ones, which its own gaps report.
     */
    messagesMissed: number
    /**
     * Counter: messages of other nodes that arrived although this node had them already. Divided by
     * `messagesReceived`, it is the redundancy of the network.
     */
    duplicatesReceived: number
    /**
     * Counter: messages of other nodes of a kind that this version does not know. It passes them
     * on, and the program reads neither them nor a gap.
     */
    messagesUnknown: number
    /** Counter: optional frames of peers of a later version that this one has skipped. */
    framesUnknown: number
    /** Gauges: how fast each link carries and what waits for it, in the order of the peers' ids. */
    links: LinkMetrics[]
    /**
     * Gauges: how far this node is behind in what each other node writes. One entry for each writer
     * of which something has arrived in the last minute, or is missing. The one that this node is
     * behind for longest comes first; of more than 32 the others are left out. A tenth of a second
     * old; empty while the node is stopped.
     */
    writers: WriterMetrics[]
  }

  /**
   * How far this node is behind in what another one writes. All of it is gauges, and what the peers
   * say that they have. See also the event `lagging`.
   */
  export interface WriterMetrics {
    /** The id of the writer. */
    writer: string
    /**
     * Messages that a peer has and this node lacks. Where their number is not known, of the
     * segments of up to 64 KiB that they travel in.
     */
    messagesBehind: number
    /**
     * Their size in bytes: an estimate from what the node retains of the writer, so 0 where that is
     * nothing.
     */
    bytesBehind: number
    /** For how long the first of them has been missing, in seconds; 0 where nothing is. */
    secondsBehind: number
  }

  /** How fast a link carries at the moment and what waits for it. All of it is gauges. */
  export interface LinkMetrics {
    /** The id of the peer. */
    peer: string
    /**
     * Bytes per second sent to the peer, in the last second: messages, what is forwarded, and
     * streams, without TLS records.
     */
    bytesSentPerSecond: number
    /** Bytes per second received from the peer, likewise. */
    bytesReceivedPerSecond: number
    /**
     * How long the peer took to answer when the link was made, in milliseconds. It is measured once
     * and not renewed. `undefined` where no answer was seen.
     */
    roundTrip?: number | undefined
    /**
     * Bytes that wait in this process for the link: messages that were handed to it and not
     * written, each with some 100 bytes beside its content, and data of streams. Messages that the
     * node retains and has not handed to the link do not count, nor does the system's socket.
     */
    bytesUnsent: number
  }

  /** A message that another node sent to everyone. */
  export interface Message {
    /** The id of its writer. */
    from: string
    /**
     * Its number, counted from 1 since the writer was started. Questions of the writer use numbers,
     * too.
     */
    seq: number
    /** The whole message. */
    data: Buffer
    /**
     * How long ago its writer wrote it, in milliseconds: the time that it waited there, in every
     * node on its way and here until you took it, and the time between the nodes, a day at most. No
     * clock is compared with another one. Of messages that were sent together, all have the age of
     * the oldest. For a message from before its writer's start, it counts from that start.
     *
     * It is what the nodes on the way claim, and no signature covers it: each can make the messages
     * that it passes on look older or younger.
     */
    age: number
    missed?: undefined
    end?: undefined
    restarted?: undefined
  }

  /**
   * Messages that were lost: the writer was faster than the network, this reader was too slow, or
   * they are larger than `maxMessage` here.
   */
  export interface Gap {
    /** The id of their writer. */
    from: string
    /** How many there are. */
    missed: number
    seq?: undefined
    data?: undefined
    age?: undefined
    end?: undefined
    restarted?: undefined
  }

  /**
   * The end of a writer's stream: the writer has ended its `broadcast`, or was stopped. Missing
   * messages were reported as a gap before. A node that was killed has no end.
   */
  export interface End {
    /** The id of the writer. */
    from: string
    end: true
    seq?: undefined
    data?: undefined
    age?: undefined
    missed?: undefined
    restarted?: undefined
  }

  /**
   * A writer that was read before has started again: its next message has the number 1. The
   * messages of its former start are complete only if an `End` came before this.
   */
  export interface Restarted {
    /** The id of the writer. */
    from: string
    restarted: true
    seq?: undefined
    data?: undefined
    age?: undefined
    missed?: undefined
    end?: undefined
  }

  /** The readers of what a node wrote, as far as other nodes report. */
  export interface Stopped {
    /** Nodes that have read everything, those that have left meanwhile included. */
    confirmed: number
    /** Nodes that are not known to have read everything, or have missed something. */
    behind: number
    /** Messages that the one that is farthest behind may lack, as far as this node knows. */
    missing: number
    /** Messages that were taken and handed to no other node: they are lost. */
    unsent: number
    /** Whether the node gave up, because nothing had moved for its `leaveTimeout`. */
    timedOut: boolean
  }

  /** An answer to `node.ask`. */
  export interface Answer {
    /** The id of the node that answers. */
    from: string
    /** The answer. */
    data: Buffer
  }

  /**
   * The event `netsplit`: a seed has left this node's part of the network and cannot be dialled.
   */
  export interface Netsplit {
    /** The id of the seed. */
    seed: string
    /** Nodes in this part of the network, this one included. */
    size: number
    /** Nodes in the network before the netsplit. */
    sizeBefore: number
    /** Nodes in the seed's part, if it has answered. */
    otherSize?: number | undefined
  }

  /** The event `netsplit resolved`: all seeds are back. */
  export interface NetsplitResolved {
    /** How long the netsplit lasted, in milliseconds. */
    duration: number
    /** Nodes in the network, as far as they have been counted. */
    size: number
  }

  /** The event `seed unreachable`, once for each cause. The node keeps trying. */
  export interface SeedUnreachable {
    /** The seed as it was given, `HOST:PORT`. */
    seed: string
    /** The cause. */
    error: SmokesignalError
  }

  /** A range of versions of the protocol. */
  export interface VersionRange {
    oldest: number
    newest: number
  }

  /**
   * The event `incompatible`: this node and another one speak no common version of the protocol.
   * Once for each address and range of versions.
   */
  export interface Incompatible {
    /** The host of the other node. */
    address: string
    /** What this node speaks. */
    ours: VersionRange
    /** What the other node speaks. */
    theirs: VersionRange
    /** The node that is too old. */
    upgrade: 'this' | 'other'
  }

  /** The event `lagging`: this node is more than a second behind in what another node writes. */
  export interface Lagging {
    /** The id of the writer. */
    from: string
    /** Messages that are missing here. */
    messages: number
    /** Their size in bytes, an estimate. */
    bytes: number
  }

  /**
   * The event `reader timed out`: a reader has confirmed nothing for `readerTimeout`, and this
   * node's writes do not wait for it any more, until it has caught up.
   */
  export interface ReaderTimedOut {
    /** The first 16 digits of the id of the reader. */
    reader: string
  }

  /**
   * The event `identity conflict`: another live process has this node's key, such as a copied image
   * of a machine. Emitted once in each of the two; readers follow the one that was started last.
   */
  export interface IdentityConflict {
    /** The id of both. */
    id: string
    /**
     * Whether this process was started first: from now on `send` and writes to `broadcast` fail with
     * `ERR_SMOKESIGNAL_IDENTITY_IN_USE`.
     */
    superseded: boolean
  }

  /** The events of a node, and the arguments of their listeners. */
  export interface NodeEvents {
    /**
     * The first peer has connected, and the node is part of the network. `connected` is true, and
     * the peer is in `peers.list`.
     */
    connect: []
    /** The last peer has gone. The node keeps trying its seeds and other known nodes. */
    disconnect: []
    /** A peer has connected. */
    'new peer': [peer: Peer]
    /** The network has partitioned. `netsplit resolved` follows before the next `netsplit`. */
    netsplit: [netsplit: Netsplit]
    /** The network is whole again. */
    'netsplit resolved': [resolved: NetsplitResolved]
    /** A seed could not be reached. */
    'seed unreachable': [unreachable: SeedUnreachable]
    /** A node of another version cannot connect to this one. */
    incompatible: [incompatible: Incompatible]
    /** This node is more than a second behind in what another one writes. */
    lagging: [lagging: Lagging]
    /** It is less than 200 ms behind again. */
    'caught up': [caughtUp: { from: string }]
    /** With the pace `'all'`: a reader has confirmed nothing for `readerTimeout`. */
    'reader timed out': [timedOut: ReaderTimedOut]
    /** Another live process has this node's key. */
    'identity conflict': [conflict: IdentityConflict]
    /** `start()` has failed, and nobody awaits its promise. */
    error: [error: SmokesignalError]
    newListener: [event: string | symbol, listener: (...args: any[]) => void]
    removeListener: [event: string | symbol, listener: (...args: any[]) => void]
  }

  /** The events of a list of peers. */
  export interface PeerlistEvents {
    /** A peer has connected. */
    add: [peer: Peer]
    /** The link to a peer has gone. */
    remove: [peer: Peer]
    newListener: [event: string | symbol, listener: (...args: any[]) => void]
    removeListener: [event: string | symbol, listener: (...args: any[]) => void]
  }

  /** The events of a stream to one node: those of `stream.Duplex`. */
  export interface StreamEvents {
    /** A chunk: a Buffer, or a string after `setEncoding`. */
    data: [chunk: any]
    /** Everything has been read. */
    end: []
    /** Everything that was written has been sent. */
    finish: []
    /** There is room to write again. */
    drain: []
    /** There is something to `read()`, or the stream has ended. */
    readable: []
    /** The stream was paused. */
    pause: []
    /** The stream was resumed. */
    resume: []
    /** The last event. */
    close: []
    /** Another stream was piped into this one. */
    pipe: [source: NodeJS.ReadableStream]
    /** Another stream is no longer piped into this one. */
    unpipe: [source: NodeJS.ReadableStream]
    /** The stream has failed, or one write was refused. The class lists the codes. */
    error: [error: Error]
    newListener: [event: string | symbol, listener: (...args: any[]) => void]
    removeListener: [event: string | symbol, listener: (...args: any[]) => void]
  }

  /** The events of `node.broadcast`. */
  export interface BroadcastEvents extends Omit<StreamEvents, 'pipe' | 'unpipe'> {
    /**
     * A whole message, the id of its writer, and its [age](Message.age). The event does not depend on
     * whether the stream is read as well.
     */
    message: [data: Buffer, from: string, age: number]
    /** Messages that were lost. */
    gap: [gap: Gap]
    /** Another stream was piped into this one. */
    pipe: [source: NodeJS.ReadableStream]
    /** Another stream is no longer piped into this one. */
    unpipe: [source: NodeJS.ReadableStream]
  }

  /** An async iterator over things that arrive, for `for await`. Leaving the loop ends it. */
  export interface Arriving<T> extends AsyncIterableIterator<T> {
    /**
     * Resolves to the next item when it arrives. Rejects with an `AbortError` if the signal is
     * aborted.
     */
    next(): Promise<IteratorResult<T, undefined>>
    /** Ends the iteration. */
    return(value?: any): Promise<IteratorResult<T, any>>
    [Symbol.asyncIterator](): this
    /** Ends the iteration. */
    [Symbol.asyncDispose](): Promise<void>
  }

  /** What `node.answer` returns. */
  export interface Answering {
    /** Stops answering. */
    close(): void
    /** Stops answering, at the end of a block that begins with `using answering = ...`. */
    [Symbol.dispose](): void
  }

  /**
   * A node of the network.
   *
   * @example
   * ```js
   * const node = createNode({ address: '127.0.0.1', seeds: [{ address: '10.0.0.1', port: 8495 }] })
   * node.on('netsplit', ({ size, sizeBefore }) => console.warn(`${size} of ${sizeBefore} nodes are left`))
   * await node.start()
   * console.log(node.id, node.options.port, node.size)
   * await node.stop()
   * ```
   */
  export class Node extends EventEmitter {
    /** Creates a node, as `createNode` does. */
    constructor(options: Options)

    /**
     * The node's id: its public key, 64 hex digits. Programs for 0.2.x assign an id. The assigned
     * value reads back, and the network still knows the node by its key.
     */
    id: string
    /** A copy of the options, with the defaults. */
    readonly options: ReadOptions
    /** A logger with all six methods, which call those that the given logger has. */
    readonly logger: Required<Logger>
    /** Whether the node was started and not stopped. */
    readonly listening: boolean
    /** Whether the node has a peer. */
    readonly connected: boolean
    /** The peers: nodes that this one has a link to. */
    readonly peers: Peerlist
    /** The same object as `peers`. */
    readonly peerlist: Peerlist
    /** A duplex stream to the network: one write is one message to everyone else. */
    readonly broadcast: Broadcast
    /**
     * The number of nodes in the network, this one included. It is counted, and a few seconds old.
     * 0 while the node is stopped.
     */
    readonly size: number

    /**
     * Returns what the node has counted since its last start, and its present gauges.
     *
     * @example
     * ```js
     * const { messagesReceived, messagesMissed } = node.metrics()
     * ```
     */
    metrics(): Metrics

    /**
     * Listens and joins the network. Resolves when the node listens; the event `connect` follows
     * with the first peer, and messages written before it wait for it. A started node keeps the
     * process alive. A failure that nobody awaits is the event `error`, if somebody listens for it.
     *
     * Rejects with `ERR_SMOKESIGNAL_PORT_IN_USE`, `ERR_SMOKESIGNAL_NOT_LOCAL`,
     * `ERR_SMOKESIGNAL_LISTEN`, `ERR_SMOKESIGNAL_ADVERTISE`, or `ABORT_ERR`. The node is stopped
     * then, and can be started again.
     *
     * @example
     * ```js
     * await node.start({ signal: AbortSignal.timeout(5000) })
     * ```
     */
    start(options?: Abortable): Promise<void>

    /**
     * Waits until the neighbours have read what was written, closes all links and stops listening.
     * Resolves to who has read it, or immediately if the node is stopped already. Messages written
     * before there was a peer wait for the first one. `leaveTimeout` limits the wait. The node can
     * be started again.
     *
     * Rejects with `ABORT_ERR`; the node goes on stopping then.
     *
     * @example
     * ```js
     * const { timedOut, unsent } = await node.stop()
     * if (timedOut || unsent > 0) process.exitCode = 1
     * ```
     */
    stop(options?: Abortable): Promise<Stopped>

    /** Stops the node, at the end of a block that begins with `await using node = ...`. */
    [Symbol.asyncDispose](): Promise<void>

    /**
     * Connects to the node at this address and makes it a peer, if necessary beyond `maxPeerNo` (by
     * two at most). Such a peer is not replaced by others. Resolves to the peer. A failure that
     * nobody awaits is logged.
     *
     * Rejects with `ERR_SMOKESIGNAL_REFUSED`, `ERR_SMOKESIGNAL_RESOLVE`,
     * `ERR_SMOKESIGNAL_TIMED_OUT`, `ERR_SMOKESIGNAL_CLOSED_EARLY`, `ERR_SMOKESIGNAL_HANDSHAKE`,
     * `ERR_SMOKESIGNAL_WRONG_SECRET`, `ERR_SMOKESIGNAL_NO_COMMON_VERSION`,
     * `ERR_SMOKESIGNAL_MYSELF`, `ERR_SMOKESIGNAL_FULL`, `ERR_SMOKESIGNAL_CLOSED`,
     * `ERR_SMOKESIGNAL_CONNECT`, `ERR_SMOKESIGNAL_NOT_RUNNING`, `ERR_SMOKESIGNAL_BAD_ADDRESS`,
     * `ERR_SMOKESIGNAL_BAD_OPTION`, or `ABORT_ERR`.
     *
     * @param address An IP address or a host name.
     * @param port From 1 to 65535. A string of digits counts as a number.
     *
     * @example
     * ```js
     * const peer = await node.addPeer('10.0.0.7', 8495)
     * peer.write('for you alone')
     * ```
     */
    addPeer(address: string, port: number | string, options?: Abortable): Promise<Peer>
    addPeer(
      address: string,
      port: number | string,
      callback: (error: SmokesignalError | null, peer?: Peer) => void,
      options?: Abortable
    ): Promise<Peer>

    /**
     * Sends one message to everyone. Resolves when the node has taken the message, which it does
     * while its links have room. Before the first peer has connected, up to 1 MiB is taken.
     *
     * Rejects with `ERR_SMOKESIGNAL_TOO_LARGE`, `ERR_SMOKESIGNAL_NOT_RUNNING` (the node was
     * stopped), `ERR_SMOKESIGNAL_ENDED` (`broadcast` was ended), `ERR_SMOKESIGNAL_IDENTITY_IN_USE`
     * (another process with this node's key was started later), `ERR_SMOKESIGNAL_BUSY` (64 MiB wait
     * already), `ERR_SMOKESIGNAL_BAD_OPTION`, or `ABORT_ERR`. Nothing was sent then.
     *
     * @example
     * ```js
     * for (const line of lines) await node.send(line)
     * ```
     */
    send(data: Data, options?: Abortable): Promise<void>
    /**
     * Sends one message to everyone, after those that wait for room, and waits until all nodes that
     * this one waits for have it, see the option `pace`. Resolves to how many that are. They report
     * it themselves, so the number does not prove it. It waits for a first reader, and has no deadline:
     * use a signal. A message that was taken is not taken back.
     *
     * Rejects as `send`, and with `ERR_SMOKESIGNAL_NOT_RUNNING` if the node is stopped meanwhile.
     *
     * @example
     * ```js
     * const nodes = await node.sendConfirmed('a new configuration', { signal: AbortSignal.timeout(60_000) })
     * ```
     */
    sendConfirmed(data: Data, options?: Abortable): Promise<number>

    /**
     * Returns an async iterator over everything that others send from now on: messages, and in
     * place of `data` gaps (`missed`), the end of a writer's stream (`end`) and its new start
     * (`restarted`). It ends when the node stops. May be called before `start()`.
     *
     * @example
     * ```js
     * for await (const { from, seq, data, missed, end } of node.messages()) {
     *   if (data) console.log(`message ${seq} of ${from}: ${data}`)
     *   else if (missed) console.error(`${missed} messages of ${from} were lost`)
     *   else if (end) console.log(`${from} has sent everything`)
     * }
     * ```
     *
     * @example Skips to now, after this program or its line was held up
     * ```js
     * for await (const { data, age } of node.messages()) {
     *   if (data && age <= 1000) play(data)
     * }
     * ```
     */
    messages(options?: Abortable): Arriving<Message | Gap | End | Restarted>

    /**
     * Opens a stream to the node with this id, whether it is a peer or not. Resolves when that node
     * can be reached. If it does not accept the name, the stream fails with
     * `ERR_SMOKESIGNAL_STREAM_REFUSED`.
     *
     * Rejects with `ERR_SMOKESIGNAL_NOT_FOUND`, `ERR_SMOKESIGNAL_NO_WAY`, `ERR_SMOKESIGNAL_MYSELF`,
     * `ERR_SMOKESIGNAL_BUSY`, `ERR_SMOKESIGNAL_TOO_MANY`, `ERR_SMOKESIGNAL_NOT_RUNNING`,
     * `ERR_SMOKESIGNAL_BAD_OPTION`, or `ABORT_ERR`.
     *
     * @param id The id of the node, 64 hex digits.
     * @param name The name of the stream, of 1 to 255 bytes.
     *
     * @example
     * ```js
     * const stream = await node.open(id, 'file')
     * await pipeline(createReadStream('data.bin'), stream)
     * ```
     */
    open(id: string, name: string, options?: Abortable): Promise<NodeStream>

    /**
     * Returns an async iterator over the streams of this name that other nodes open. It ends when
     * the node stops. May be called before `start()`.
     *
     * @param name The name of the streams, of 1 to 255 bytes.
     * @throws `ERR_SMOKESIGNAL_NAME_TAKEN` if the name is accepted already.
     * @throws {TypeError | RangeError} `ERR_SMOKESIGNAL_BAD_OPTION` if the name is not valid.
     *
     * @example
     * ```js
     * for await (const stream of node.accept('file')) {
     *   pipeline(stream, createWriteStream(stream.peer)).catch(console.error)
     * }
     * ```
     */
    accept(name: string, options?: Abortable): Arriving<NodeStream>

    /**
     * Opens a stream to the writer of a message, which gets it from `replies()`. Fails as `open`
     * does.
     *
     * @param from A message, or the id of its writer.
     */
    reply(from: string | { from: string }, options?: Abortable): Promise<NodeStream>

    /**
     * Returns an async iterator over the streams that others open in reply to this node's messages.
     * It ends and fails as that of `accept` does.
     */
    replies(options?: Abortable): Arriving<NodeStream>

    /**
     * Sends a question to everyone. Returns an async iterator over the answers as they arrive, at
     * most 1024, which ends when `timeout` is over or the node stops. Nodes that do not call
     * `answer` ignore the question.
     *
     * The iteration fails with `ERR_SMOKESIGNAL_TOO_LARGE`, `ERR_SMOKESIGNAL_NOT_RUNNING` or
     * `ABORT_ERR`.
     *
     * @throws {TypeError | RangeError} `ERR_SMOKESIGNAL_BAD_OPTION`.
     *
     * @example
     * ```js
     * for await (const { from, data } of node.ask('who has 7.txt?', { timeout: 2000 })) {
     *   console.log(`${from}: ${data}`)
     * }
     * ```
     */
    ask(data: Data, options?: AskOptions): Arriving<Answer>

    /**
     * Answers the questions of others, until the returned object is closed. `handler` returns an
     * answer of up to 1 MiB, a promise of it, or nothing, which sends no answer. If it throws, the
     * error is logged and no answer is sent.
     *
     * @throws `ERR_SMOKESIGNAL_ANSWERING` if this node answers already.
     * @throws {TypeError} `ERR_SMOKESIGNAL_BAD_OPTION` if the handler is not a function.
     *
     * @example
     * ```js
     * const answering = node.answer(async (question) => (files.has(`${question}`) ? 'I have it' : undefined))
     * answering.close()
     * ```
     */
    answer(handler: AnswerHandler): Answering

    on<E extends keyof NodeEvents>(event: E, listener: (...args: NodeEvents[E]) => void): this
    once<E extends keyof NodeEvents>(event: E, listener: (...args: NodeEvents[E]) => void): this
    off<E extends keyof NodeEvents>(event: E, listener: (...args: NodeEvents[E]) => void): this
    addListener<E extends keyof NodeEvents>(event: E, listener: (...args: NodeEvents[E]) => void): this
    removeListener<E extends keyof NodeEvents>(event: E, listener: (...args: NodeEvents[E]) => void): this
    prependListener<E extends keyof NodeEvents>(event: E, listener: (...args: NodeEvents[E]) => void): this
    prependOnceListener<E extends keyof NodeEvents>(
      event: E,
      listener: (...args: NodeEvents[E]) => void
    ): this
    emit<E extends keyof NodeEvents>(event: E, ...args: NodeEvents[E]): boolean
  }

  /** Options of `node.ask`. */
  export interface AskOptions extends Abortable {
    /** How long answers are collected, in milliseconds. Default 5000. */
    timeout?: number | undefined
  }

  /** Answers a question. It gets the question and the id of the node that asks. */
  export type AnswerHandler = (
    question: Buffer,
    from: string
  ) => Data | null | undefined | void | Promise<Data | null | undefined | void>

  /** The peers of a node. */
  export class Peerlist extends EventEmitter {
    private constructor()
    /** The node whose peers these are. */
    readonly node: Node
    /** The present peers. Do not change it: use `node.addPeer` and `peer.close`. */
    readonly list: Peer[]
    /** Returns the peer with this id, or this peer, if it is in the list; else false. */
    inList(peer: Peer | string): Peer | false
    /** Returns whether there are at least `maxPeerNo` peers. */
    isFull(): boolean
    /** Returns whether there are at least `minPeerNo` peers. */
    isSufficientlyFilled(): boolean
    /** Returns the ids of all peers. */
    dump(): string[]
    /** Closes the links to all peers. */
    close(): this

    on<E extends keyof PeerlistEvents>(event: E, listener: (...args: PeerlistEvents[E]) => void): this
    once<E extends keyof PeerlistEvents>(event: E, listener: (...args: PeerlistEvents[E]) => void): this
    off<E extends keyof PeerlistEvents>(event: E, listener: (...args: PeerlistEvents[E]) => void): this
    addListener<E extends keyof PeerlistEvents>(
      event: E,
      listener: (...args: PeerlistEvents[E]) => void
    ): this
    removeListener<E extends keyof PeerlistEvents>(
      event: E,
      listener: (...args: PeerlistEvents[E]) => void
    ): this
    prependListener<E extends keyof PeerlistEvents>(
      event: E,
      listener: (...args: PeerlistEvents[E]) => void
    ): this
    prependOnceListener<E extends keyof PeerlistEvents>(
      event: E,
      listener: (...args: PeerlistEvents[E]) => void
    ): this
    emit<E extends keyof PeerlistEvents>(event: E, ...args: PeerlistEvents[E]): boolean
  }

  /**
   * A peer: a node that this one has a link to, and the stream to it. Data written here is read
   * from the other node's Peer for this one. One write is one chunk there. When the link ends,
   * `end` and then `close` come once each, even if nobody reads.
   *
   * @example
   * ```js
   * node.peers.on('add', (peer) => {
   *   peer.on('data', (chunk) => console.log(`${peer.id}: ${chunk}`))
   *   peer.write('hello, neighbour')
   * })
   * ```
   */
  export class Peer extends Duplex {
    private constructor()
    /** The node whose peer it is. */
    readonly node: Node
    /** The id of the peer, 64 hex digits. */
    readonly id: string
    /** The IP address where the peer listens and others dial. */
    readonly remoteAddress: string
    /** The port where the peer listens. */
    readonly remotePort: number
    /** Returns how fast the link carries and what waits for it; `undefined` when it is closed. */
    metrics(): LinkMetrics | undefined
    /**
     * Closes the link. Data that was written before is sent first, if that takes no longer than 5
     * s.
     */
    close(): void

    on<E extends keyof StreamEvents>(event: E, listener: (...args: StreamEvents[E]) => void): this
    once<E extends keyof StreamEvents>(event: E, listener: (...args: StreamEvents[E]) => void): this
    off<E extends keyof StreamEvents>(event: E, listener: (...args: StreamEvents[E]) => void): this
    addListener<E extends keyof StreamEvents>(event: E, listener: (...args: StreamEvents[E]) => void): this
    removeListener<E extends keyof StreamEvents>(event: E, listener: (...args: StreamEvents[E]) => void): this
    prependListener<E extends keyof StreamEvents>(
      event: E,
      listener: (...args: StreamEvents[E]) => void
    ): this
    prependOnceListener<E extends keyof StreamEvents>(
      event: E,
      listener: (...args: StreamEvents[E]) => void
    ): this
    emit<E extends keyof StreamEvents>(event: E, ...args: StreamEvents[E]): boolean
  }

  /**
   * A named stream to any node of the network, encrypted from end to end. It comes from `open`,
   * `accept`, `reply` or `replies`. One write is one chunk at the other end. Each direction has its
   * own back-pressure.
   *
   * It fails with `ERR_SMOKESIGNAL_STREAM_REFUSED` (the name is not accepted),
   * `ERR_SMOKESIGNAL_STREAM_BUSY` (too many streams), `ERR_SMOKESIGNAL_STREAM_RESET` (the other end
   * was destroyed; the text has the reason), `ERR_SMOKESIGNAL_STREAM_CUT` (a connection that
   * carried the stream has broken), `ERR_SMOKESIGNAL_STREAM_STOPPED` (the other end has stopped
   * reading) or `ERR_SMOKESIGNAL_STREAM_CLOSED`. A chunk above `maxMessage` is the error
   * `ERR_SMOKESIGNAL_TOO_LARGE`, and the stream goes on.
   */
  export class NodeStream extends Duplex {
    private constructor()
    /** The id of the node at the other end. */
    readonly peer: string
    /** The name that the stream was opened with. */
    readonly name: string
    /**
     * The path that its bytes take now: `'neighbour'` over the link to a peer, `'direct'` over a
     * connection that was made for streams, `'relayed'` through other nodes, which can neither read
     * nor change the bytes.
     */
    readonly path: 'neighbour' | 'direct' | 'relayed'

    on<E extends keyof StreamEvents>(event: E, listener: (...args: StreamEvents[E]) => void): this
    once<E extends keyof StreamEvents>(event: E, listener: (...args: StreamEvents[E]) => void): this
    off<E extends keyof StreamEvents>(event: E, listener: (...args: StreamEvents[E]) => void): this
    addListener<E extends keyof StreamEvents>(event: E, listener: (...args: StreamEvents[E]) => void): this
    removeListener<E extends keyof StreamEvents>(event: E, listener: (...args: StreamEvents[E]) => void): this
    prependListener<E extends keyof StreamEvents>(
      event: E,
      listener: (...args: StreamEvents[E]) => void
    ): this
    prependOnceListener<E extends keyof StreamEvents>(
      event: E,
      listener: (...args: StreamEvents[E]) => void
    ): this
    emit<E extends keyof StreamEvents>(event: E, ...args: StreamEvents[E]): boolean
  }

  /**
   * The network as a duplex stream. One write is one message at everyone else, never split and
   * never merged with another. Own messages do not come back. `write` returns false while the links
   * are full. A message above `maxMessage` is the error `ERR_SMOKESIGNAL_TOO_LARGE`, and the stream
   * goes on. `end()` ends writing only; the event `finish` comes when all nodes that the
   * option `pace` waits for have read what was written, or when nothing has moved for
   * `leaveTimeout`.
   *
   * It reads from the moment at which something begins to read: a listener for `data` or
   * `readable`, `pipe`, `resume`, `pause`, `read`, or a loop. A program that then stops to read loses the
   * oldest messages, see `bytesUnread`. Listeners for `message` are readers of their own.
   *
   * @example
   * ```js
   * process.stdin.pipe(node.broadcast).pipe(process.stdout)
   * ```
   */
  export class Broadcast extends Duplex {
    private constructor()
    /** The node whose stream it is. */
    readonly node: Node

    on<E extends keyof BroadcastEvents>(event: E, listener: (...args: BroadcastEvents[E]) => void): this
    once<E extends keyof BroadcastEvents>(event: E, listener: (...args: BroadcastEvents[E]) => void): this
    off<E extends keyof BroadcastEvents>(event: E, listener: (...args: BroadcastEvents[E]) => void): this
    addListener<E extends keyof BroadcastEvents>(
      event: E,
      listener: (...args: BroadcastEvents[E]) => void
    ): this
    removeListener<E extends keyof BroadcastEvents>(
      event: E,
      listener: (...args: BroadcastEvents[E]) => void
    ): this
    prependListener<E extends keyof BroadcastEvents>(
      event: E,
      listener: (...args: BroadcastEvents[E]) => void
    ): this
    prependOnceListener<E extends keyof BroadcastEvents>(
      event: E,
      listener: (...args: BroadcastEvents[E]) => void
    ): this
    emit<E extends keyof BroadcastEvents>(event: E, ...args: BroadcastEvents[E]): boolean
  }

  /**
   * A node's key pair. A program that holds it can act as the node with this id: keep it secret.
   *
   * @example
   * ```js
   * const node = createNode({ address: '127.0.0.1', identity: Identity.loadOrCreate('node.key') })
   * ```
   */
  export class Identity {
    private constructor()
    /** Returns a new random identity. */
    static generate(): Identity
    /**
     * Returns the identity that belongs to 32 bytes. The same bytes give the same id.
     *
     * @throws {TypeError | RangeError} `ERR_SMOKESIGNAL_BAD_OPTION` if there are not 32 bytes.
     */
    static fromSeed(seed: Uint8Array): Identity
    /**
     * Reads a key file.
     *
     * @throws `ERR_SMOKESIGNAL_KEY_FILE` if it cannot be read, `ERR_SMOKESIGNAL_BAD_KEY_FILE` if it
     *   does
     * not hold a key pair.
     */
    static load(path: string): Identity
    /**
     * Reads a key file. If there is none, creates one that only this user can read.
     *
     * @throws `ERR_SMOKESIGNAL_KEY_FILE` if it can be neither read nor created,
     * `ERR_SMOKESIGNAL_BAD_KEY_FILE` if it does not hold a key pair.
     */
    static loadOrCreate(path: string): Identity
    /** The id of the node: its public key, 64 hex digits. */
    readonly id: string
  }

  /** Options of `MemoryNetwork`. */
  export interface MemoryNetworkOptions {
    /**
     * The least and the most latency one way, in milliseconds, at most an hour. It is drawn anew
     * for each write. Default: none.
     */
    latency?: readonly [least: number, most: number] | undefined
    /** Bytes per second of each direction of a connection, at least 1. Default: unlimited. */
    bandwidth?: number | undefined
  }

  /**
   * A simulated network inside this process, for tests. It is the option `transport` of its nodes,
   * which may have any IP address. Its methods name nodes by where they listen, as `'IP:PORT'`, and
   * throw `ERR_SMOKESIGNAL_BAD_OPTION` for anything else. Time is real.
   *
   * @example
   * ```js
   * const network = new MemoryNetwork({ latency: [5, 20] })
   * const a = createNode({ address: '10.0.0.1', port: 8495, transport: network })
   * const b = createNode({ address: '10.0.0.2', port: 8495, transport: network, seeds: [a.options] })
   * await Promise.all([a.start(), b.start()])
   * network.partition([['10.0.0.1:8495'], ['10.0.0.2:8495']])
   * network.heal()
   * ```
   */
  export class MemoryNetwork {
    /**
     * @throws {TypeError | RangeError} `ERR_SMOKESIGNAL_BAD_OPTION` if an option makes no sense.
     */
    constructor(options?: MemoryNetworkOptions)
    /** Cuts the network, as if cables were pulled: nodes reach only those of their own group. */
    partition(groups: readonly (readonly string[])[]): void
    /** Ends all cuts. */
    heal(): void
    /** Keeps a node from sending and receiving until it is thawed. */
    freeze(node: string): void
    /** Ends a freeze. */
    thaw(node: string): void
    /** Breaks all connections of a node. */
    reset(node: string): void
  }

  /**
   * An error of this package.
   *
   * @example
   * ```js
   * try {
   *   await node.start()
   * } catch (error) {
   *   if (error.code !== 'ERR_SMOKESIGNAL_PORT_IN_USE') throw error
   *   console.error(error.message, error.cause.code) // EADDRINUSE
   * }
   * ```
   */
  export interface SmokesignalError extends Error {
    /** The kind of error, for programs. */
    code: ErrorCode
    /** The option or argument that is wrong, if `code` is `ERR_SMOKESIGNAL_BAD_OPTION`. */
    option?: string | undefined
    /** The size of the message in bytes, if `code` is `ERR_SMOKESIGNAL_TOO_LARGE`. */
    size?: number | undefined
    /** The largest size in bytes, if `code` is `ERR_SMOKESIGNAL_TOO_LARGE`. */
    limit?: number | undefined
    /**
     * If the system is the cause, an error whose `code` is the system's name, such as `EADDRINUSE`.
     */
    cause?: unknown
  }

  /** All values of `code`. An aborted signal has the `ABORT_ERR` of Node.js. */
  export type ErrorCode =
    /** An option or an argument is wrong: a `TypeError` or a `RangeError`. */
    | 'ERR_SMOKESIGNAL_BAD_OPTION'
    /** There is no native half for this platform. `require` and `import` throw it. */
    | 'ERR_SMOKESIGNAL_NO_NATIVE'
    /** The port is in use by another program. Choose another one, or 0 for any free one. */
    | 'ERR_SMOKESIGNAL_PORT_IN_USE'
    /** The address does not belong to this machine. */
    | 'ERR_SMOKESIGNAL_NOT_LOCAL'
    /** Listening failed for another reason. */
    | 'ERR_SMOKESIGNAL_LISTEN'
    /** The host name in `advertise` or `address` has no IP address. */
    | 'ERR_SMOKESIGNAL_ADVERTISE'
    /** The node is running already. */
    | 'ERR_SMOKESIGNAL_ALREADY_RUNNING'
    /** The node is stopped. Call `start()` first. */
    | 'ERR_SMOKESIGNAL_NOT_RUNNING'
    /** `broadcast` was ended. Stop the node and start it again to send more. */
    | 'ERR_SMOKESIGNAL_ENDED'
    /** Another process has this node's key and was started later. Give each process its own one. */
    | 'ERR_SMOKESIGNAL_IDENTITY_IN_USE'
    /** The text is not an address. */
    | 'ERR_SMOKESIGNAL_BAD_ADDRESS'
    /** The host name has no IP address. */
    | 'ERR_SMOKESIGNAL_RESOLVE'
    /** Nothing listens at the address. */
    | 'ERR_SMOKESIGNAL_REFUSED'
    /** There was no answer in time. */
    | 'ERR_SMOKESIGNAL_TIMED_OUT'
    /**
     * The other side closed the connection before the handshake ended: it may be full or busy. A node
     * tries its seeds again by itself.
     */
    | 'ERR_SMOKESIGNAL_CLOSED_EARLY'
    /** The program at the address is not a node of this network. */
    | 'ERR_SMOKESIGNAL_HANDSHAKE'
    /** The other node has another network secret, or only one of the two has one. */
    | 'ERR_SMOKESIGNAL_WRONG_SECRET'
    | 'ERR_SMOKESIGNAL_NO_COMMON_VERSION'
    /** Another node answered at the address. */
    | 'ERR_SMOKESIGNAL_WRONG_NODE'
    /** The address or the id is that of this node itself. */
    | 'ERR_SMOKESIGNAL_MYSELF'
    /** The other node has no room for another peer. */
    | 'ERR_SMOKESIGNAL_FULL'
    /** The connection broke while the link was made. Try again. */
    | 'ERR_SMOKESIGNAL_CLOSED'
    /** Connecting failed for another reason. */
    | 'ERR_SMOKESIGNAL_CONNECT'
    /** No node of the network has this id, or it did not answer in time. */
    | 'ERR_SMOKESIGNAL_NOT_FOUND'
    /** The node exists, but it could be neither dialled nor reached through others. */
    | 'ERR_SMOKESIGNAL_NO_WAY'
    /** The memory of a chunk was transferred, for example to a worker, before it could be sent. */
    | 'ERR_SMOKESIGNAL_DETACHED'
    /** Too much is pending: searches for nodes, or messages. Wait, then try again. */
    | 'ERR_SMOKESIGNAL_BUSY'
    /** The name of a stream is not valid. */
    | 'ERR_SMOKESIGNAL_BAD_NAME'
    /** Too many streams to that node are open. */
    | 'ERR_SMOKESIGNAL_TOO_MANY'
    /** A stream could not be opened for another reason. */
    | 'ERR_SMOKESIGNAL_OPEN'
    /** The message is larger than `maxMessage`: a `RangeError` with `size` and `limit`. */
    | 'ERR_SMOKESIGNAL_TOO_LARGE'
    /** Streams of this name are accepted already. */
    | 'ERR_SMOKESIGNAL_NAME_TAKEN'
    /** The node answers questions already. */
    | 'ERR_SMOKESIGNAL_ANSWERING'
    /** Streams cannot be accepted for another reason. */
    | 'ERR_SMOKESIGNAL_ACCEPT'
    /** The other node does not accept streams of this name. */
    | 'ERR_SMOKESIGNAL_STREAM_REFUSED'
    /** The other node has too many streams. */
    | 'ERR_SMOKESIGNAL_STREAM_BUSY'
    /** The other end was destroyed. The text has its reason. */
    | 'ERR_SMOKESIGNAL_STREAM_RESET'
    /** A connection that carried the stream broke before the stream had ended. */
    | 'ERR_SMOKESIGNAL_STREAM_CUT'
    /** The other end has stopped reading. */
    | 'ERR_SMOKESIGNAL_STREAM_STOPPED'
    /** This end has ended the stream. */
    | 'ERR_SMOKESIGNAL_STREAM_CLOSED'
    /** The stream failed for another reason. */
    | 'ERR_SMOKESIGNAL_STREAM'
    /** The key file can be neither read nor created. */
    | 'ERR_SMOKESIGNAL_KEY_FILE'
    /** The key file does not hold a key pair. */
    | 'ERR_SMOKESIGNAL_BAD_KEY_FILE'
    /** The text is not a subnet. */
    | 'ERR_SMOKESIGNAL_BAD_SUBNET'
    /** This machine has no address in the subnet. */
    | 'ERR_SMOKESIGNAL_NO_LOCAL_ADDRESS'
}

export = smokesignal
