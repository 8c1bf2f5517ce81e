/// <reference types="node" />
import { EventEmitter } from 'node:events'
import { Duplex } from 'node:stream'

/**
 * A small peer-to-peer network that you can write to: nodes find each other, `broadcast` is a stream to everyone, and to any
 * node there are streams by its id.
 */
declare namespace smokesignal {
  /** The whole module, for those that import its default. */
  export { smokesignal as default }

  /**
   * Creates a node. Nothing is opened before its `start()`.
   *
   * @throws {TypeError | RangeError} `ERR_SMOKESIGNAL_BAD_OPTION` for an option that makes no sense. The text names the option,
   * and so does the error's property `option` in most cases.
   * @throws `ERR_SMOKESIGNAL_KEY_FILE` or `ERR_SMOKESIGNAL_BAD_KEY_FILE` where `keyFile` cannot be used.
   */
  export function createNode(options: Options): Node

  /**
   * Returns this machine's IPv4 address in a subnet. Of several, the one written comes first, then those that others can reach,
   * then link-local ones, then loopback.
   *
   * @param subnet Such as `'192.168.2.1/255.255.255.0'`, `'10.0.0.0/8'`, or one address of this machine.
   * @throws `ERR_SMOKESIGNAL_NO_LOCAL_ADDRESS` ("Couldn't determine IP address") if this machine has no address there.
   * @throws {RangeError} `ERR_SMOKESIGNAL_BAD_SUBNET` if that is not a subnet.
   * @throws {TypeError | RangeError} `ERR_SMOKESIGNAL_BAD_OPTION` if it is not a string, or an IPv6 subnet.
   */
  export function localIp(subnet: string): string

  /** What can be written: a string is sent as UTF-8. */
  export type Data = string | NodeJS.ArrayBufferView | ArrayBuffer

  /** Options of something that can be given up. */
  export interface Abortable {
    /** Aborting it ends the wait with an `AbortError`, whose `code` is `ABORT_ERR`. */
    signal?: AbortSignal | undefined
  }

  /** Where a node listens. */
  export interface Seed {
    /** An IP address or a host name. */
    address: string
    /** From 1 to 65535; digits in a string will do. */
    port: number | string
  }

  /** Each method is called with the logger as `this`. Those that are not there are not called. */
  export interface Logger {
    trace?(...args: any[]): void
    debug?(...args: any[]): void
    info?(...args: any[]): void
    warn?(...args: any[]): void
    error?(...args: any[]): void
    fatal?(...args: any[]): void
  }

  /** Where a node that joins begins to read what others write. */
  export type ReadFrom = 'now' | 'oldest' | { last: number }

  /** Options of `createNode`. `undefined` and `null` mean the default. */
  export interface Options {
    /**
     * Where the node listens, and what others dial: an IP address or a host name. Where it is not an address of this machine, the
     * node listens on all interfaces, and others are told this one. The only option that has to be there.
     */
    address: string
    /** The port, from 0 to 65535; digits in a string will do. Default 0: any free one, see `node.options.port` after `start()`. */
    port?: number | string | null | undefined
    /** Below this many peers the node looks for more. Default 3, or `maxPeerNo` if that is less. 0 means the default. */
    minPeerNo?: number | null | undefined
    /**
     * Peers at most; two more may be there for a moment, or because `addPeer` asked for them. Default 5; `Infinity` means no
     * limit, 0 the default. A node with 1 passes nothing on.
     */
    maxPeerNo?: number | null | undefined
    /** Nodes to enter the network through. They are tried for ever. Default none: others have to come. */
    seeds?: readonly Seed[] | null | undefined
    /** A peer that is silent for so many milliseconds is dead. From 100 to 3600000, default 3000. */
    pingTimeout?: number | null | undefined
    /** Gets log lines. Default: nobody does. */
    logger?: Logger | null | undefined
    /**
     * What others are told to dial in place of `address` and `port`, as `'HOST:PORT'`, or several of them, four at most: for a
     * forwarded port, a router, a container. Port 0 stands for the port where the node listens.
     */
    advertise?: string | readonly string[] | null | undefined
    /** Bytes of one message at most, from 1 to 1 GiB. Default 16 MiB. Nodes with a lower limit report larger ones as gaps. */
    maxMessage?: number | null | undefined
    /** The key pair, and with it the id. Default: a new one. Not together with `keyFile`. */
    identity?: Identity | null | undefined
    /** The file of the key pair; it is made if it is not there. A node keeps its id so. Not together with `identity`. */
    keyFile?: string | null | undefined
    /**
     * Only nodes that prove to have the same secret are let in. At least 16 bytes, better 32 random ones. A string counts as
     * UTF-8. Default: everyone is let in.
     */
    networkSecret?: string | Uint8Array | null | undefined
    /**
     * Where to begin reading: at `'now'`, the default, with the `'oldest'` message that the network still has, or with the last
     * `n` of each writer. Nodes keep the messages of the last 60 s, 64 MiB of them at most.
     */
    readFrom?: ReadFrom | null | undefined
    /**
     * Messages are not signed by their writers. That is cheaper, and any member may write in another's name. All nodes of a
     * network alike: the two kinds do not mix. Default false.
     */
    unsigned?: boolean | null | undefined
    /** Never dials for a stream: streams to nodes that are no neighbours go through others. Default false. */
    relayOnly?: boolean | null | undefined
    /** Whether far neighbours are given up for nearer ones. Default false. */
    preferNearPeers?: boolean | null | undefined
    /** For tests: the node's choices come from this whole number, and from its identity. Default: they are random. */
    rngSeed?: number | null | undefined
    /** For tests: a network in this process in place of TCP. `address` has to be an IP address then. */
    transport?: MemoryNetwork | null | undefined
  }

  /** `node.options`: a copy of what was given, with the defaults. */
  export interface ReadOptions {
    address: string
    /** After `start()`: the port where the node listens. */
    port: number
    minPeerNo: number
    maxPeerNo: number
    seeds: { address: string; port: number }[]
    /** In milliseconds. */
    pingTimeout: number
    logger: Logger
    advertise: string[]
    /** In bytes. */
    maxMessage: number
    identity: Identity | undefined
    keyFile: string | undefined
    networkSecret: Uint8Array | undefined
    readFrom: ReadFrom
    unsigned: boolean
    relayOnly: boolean
    preferNearPeers: boolean
    rngSeed: number | undefined
    transport: MemoryNetwork | undefined
  }

  /** A message that somebody wrote to everyone. */
  export interface Message {
    /** The id of its writer. */
    from: string
    /** Its number: 1, 2, 3 and so on since the writer was started. The numbers of its questions are left out. */
    seq: number
    /** What was written, whole. */
    data: Buffer
    missed?: undefined
  }

  /** Messages that could not be had: the writer outran the network, this reader was too slow, or they are too large here. */
  export interface Gap {
    /** Whose messages. */
    from: string
    /** How many. */
    missed: number
    seq?: undefined
    data?: undefined
  }

  /** An answer to `node.ask`. */
  export interface Answer {
    /** The id of the node that gives it. */
    from: string
    data: Buffer
  }

  /** `netsplit`: a seed that was part of the network is so no more, and dialling it does not help. */
  export interface Netsplit {
    /** The id of the seed. */
    seed: string
    /** Nodes on this side, this one included. */
    size: number
    /** Nodes that the network had before. */
    sizeBefore: number
    /** Nodes on the seed's side, if it has answered. */
    otherSize?: number | undefined
  }

  /** `netsplit resolved`: all seeds are back. */
  export interface NetsplitResolved {
    /** For how long they were away, in milliseconds. */
    duration: number
    /** Nodes in the network, as far as they have been counted. */
    size: number
  }

  /** `seed unreachable`: said once for each cause; the node keeps trying. */
  export interface SeedUnreachable {
    /** `HOST:PORT`, as it was given. */
    seed: string
    error: SmokesignalError
  }

  /** Events of a node, and what listeners get. */
  export interface NodeEvents {
    /** The first peer is there: the node is part of the network. `connected` is true, and the peer is in `peers.list`. */
    connect: []
    /** The last peer has gone. The node keeps trying its seeds and whom it knows. */
    disconnect: []
    /** There is another neighbour. */
    'new peer': [peer: Peer]
    /** The network has come apart. `netsplit resolved` follows before there is another. */
    netsplit: [netsplit: Netsplit]
    /** The network is whole again. */
    'netsplit resolved': [resolved: NetsplitResolved]
    /** A seed could not be reached. */
    'seed unreachable': [unreachable: SeedUnreachable]
    /** `start()` has failed, and nobody waits for its promise. */
    error: [error: SmokesignalError]
    newListener: [event: string | symbol, listener: (...args: any[]) => void]
    removeListener: [event: string | symbol, listener: (...args: any[]) => void]
  }

  /** Events of a list of peers. */
  export interface PeerlistEvents {
    /** A link to this peer was made. */
    add: [peer: Peer]
    /** The link to this peer is gone. */
    remove: [peer: Peer]
    newListener: [event: string | symbol, listener: (...args: any[]) => void]
    removeListener: [event: string | symbol, listener: (...args: any[]) => void]
  }

  /** Events of a stream to one node: those of `stream.Duplex`. */
  export interface StreamEvents {
    /** A chunk: a Buffer, or a string after `setEncoding`. */
    data: [chunk: any]
    /** All was read. */
    end: []
    /** All that was written has gone out. */
    finish: []
    /** There is room to write again. */
    drain: []
    readable: []
    pause: []
    resume: []
    /** The last event. */
    close: []
    pipe: [source: NodeJS.ReadableStream]
    unpipe: [source: NodeJS.ReadableStream]
    error: [error: Error]
    newListener: [event: string | symbol, listener: (...args: any[]) => void]
    removeListener: [event: string | symbol, listener: (...args: any[]) => void]
  }

  /** Events of `node.broadcast`. */
  export interface BroadcastEvents extends Omit<StreamEvents, 'pipe' | 'unpipe'> {
    /** A message, whole, and the id of its writer. Whether the stream is read besides makes no difference. */
    message: [data: Buffer, from: string]
    /** Messages that could not be had. */
    gap: [gap: Gap]
    pipe: [source: NodeJS.ReadableStream]
    unpipe: [source: NodeJS.ReadableStream]
  }

  /** What arrives one after the other, for `for await`. Leaving the loop ends it. */
  export interface Arriving<T> extends AsyncIterableIterator<T> {
    /** Resolves to the next one, when it is there. Rejects with an `AbortError` where the signal was aborted. */
    next(): Promise<IteratorResult<T, undefined>>
    /** Ends it. */
    return(value?: any): Promise<IteratorResult<T, any>>
    [Symbol.asyncIterator](): this
    /** Ends it. */
    [Symbol.asyncDispose](): Promise<void>
  }

  /** What `node.answer` returns. */
  export interface Answering {
    /** Answers no more. */
    close(): void
    /** Answers no more. */
    [Symbol.dispose](): void
  }

  /** A node of the network. */
  export class Node extends EventEmitter {
    constructor(options: Options)

    /**
     * The node's id: its public key, 64 hex digits. Old programs assign it, which is no error: it reads back then, and the network
     * goes on knowing the node by its key.
     */
    id: string
    /** A copy of the options, with the defaults. */
    readonly options: ReadOptions
    /** All six methods, which call those that the given logger has. */
    readonly logger: Required<Logger>
    /** Whether it was started and not stopped. */
    readonly listening: boolean
    /** Whether there is a peer. */
    readonly connected: boolean
    /** The neighbours. */
    readonly peers: Peerlist
    /** The same as `peers`. */
    readonly peerlist: Peerlist
    /** The network as a duplex stream: what is written reaches everyone else, what is read is what everyone else wrote. */
    readonly broadcast: Broadcast
    /** How many nodes the network has, this one included: counted, and a few seconds old. 0 while the node is stopped. */
    readonly size: number
    /** Copies of messages that have arrived since the last start, those that were known already included. */
    readonly copiesReceived: number

    /**
     * Listens and enters the network. Resolves when it listens; the first peer is the event `connect`, and what is written
     * meanwhile waits for it. A started node keeps the process alive. A failure that nobody awaits is the event `error` where
     * somebody listens for it.
     *
     * Rejects with `ERR_SMOKESIGNAL_PORT_IN_USE`, `ERR_SMOKESIGNAL_NOT_LOCAL`, `ERR_SMOKESIGNAL_LISTEN`,
     * `ERR_SMOKESIGNAL_ADVERTISE`, or `ABORT_ERR`. The node is stopped then, and can be started again.
     */
    start(options?: Abortable): Promise<void>

    /**
     * Hands what was written to the neighbours, parts from them and stops listening. Resolves when that is done, at once where the
     * node is stopped already. `start()` works again after. Rejects with `ABORT_ERR`; the node goes on stopping then.
     */
    stop(options?: Abortable): Promise<void>

    /** Stops the node, at the end of a block that begins with `await using node = ...`. */
    [Symbol.asyncDispose](): Promise<void>

    /**
     * Makes a link to the node at this address, if need be beyond `maxPeerNo` (by two at most). Resolves to the peer. A failure
     * that nobody waits for is logged.
     *
     * Rejects with `ERR_SMOKESIGNAL_REFUSED`, `ERR_SMOKESIGNAL_RESOLVE`, `ERR_SMOKESIGNAL_TIMED_OUT`,
     * `ERR_SMOKESIGNAL_HANDSHAKE` (something else answers there), `ERR_SMOKESIGNAL_WRONG_SECRET`, `ERR_SMOKESIGNAL_MYSELF`,
     * `ERR_SMOKESIGNAL_FULL`, `ERR_SMOKESIGNAL_CLOSED`, `ERR_SMOKESIGNAL_CONNECT`, `ERR_SMOKESIGNAL_NOT_RUNNING`,
     * `ERR_SMOKESIGNAL_BAD_ADDRESS`, `ERR_SMOKESIGNAL_BAD_OPTION`, or `ABORT_ERR`.
     */
    addPeer(address: string, port: number | string, options?: Abortable): Promise<Peer>
    addPeer(
      address: string,
      port: number | string,
      callback: (error: SmokesignalError | null, peer?: Peer) => void,
      options?: Abortable
    ): Promise<Peer>

    /**
     * Writes one message to everyone. Resolves when the node has taken it, which it does while its links have room; it waits for
     * the first peer, too.
     *
     * Rejects with `ERR_SMOKESIGNAL_TOO_LARGE`, `ERR_SMOKESIGNAL_NOT_RUNNING` (it was stopped), `ERR_SMOKESIGNAL_BUSY` (64 MiB
     * wait already), `ERR_SMOKESIGNAL_BAD_OPTION`, or `ABORT_ERR`; nothing was sent then.
     */
    send(data: Data, options?: Abortable): Promise<void>

    /**
     * Gives everything that others write from now on: each message, and each gap, which has `missed` in place of `data`. Ends when
     * the node stops. May be called before `start()`.
     */
    messages(options?: Abortable): Arriving<Message | Gap>

    /**
     * Opens a stream to the node with this id, neighbour or not. Resolves when there is a way to that node. If nobody there
     * accepts the name, the stream fails with `ERR_SMOKESIGNAL_STREAM_REFUSED`.
     *
     * Rejects with `ERR_SMOKESIGNAL_NOT_FOUND`, `ERR_SMOKESIGNAL_NO_WAY`, `ERR_SMOKESIGNAL_MYSELF`, `ERR_SMOKESIGNAL_BUSY`,
     * `ERR_SMOKESIGNAL_TOO_MANY`, `ERR_SMOKESIGNAL_NOT_RUNNING`, `ERR_SMOKESIGNAL_BAD_OPTION`, or `ABORT_ERR`.
     *
     * @param id 64 hex digits.
     * @param name Of 1 to 255 bytes.
     */
    open(id: string, name: string, options?: Abortable): Promise<NodeStream>

    /**
     * Takes the streams of this name that other nodes open, until the node stops or the loop is left. May be called before
     * `start()`.
     *
     * @throws `ERR_SMOKESIGNAL_NAME_TAKEN` if the name is accepted already.
     * @throws {TypeError | RangeError} `ERR_SMOKESIGNAL_BAD_OPTION` for a bad name.
     */
    accept(name: string, options?: Abortable): Arriving<NodeStream>

    /**
     * Opens a stream to the writer of a message, who takes it from `replies()`. As `open`.
     *
     * @param from A message, or the id of its writer.
     */
    reply(from: string | { from: string }, options?: Abortable): Promise<NodeStream>

    /** Takes the streams that others open in reply to what this node has written. As `accept`. */
    replies(options?: Abortable): Arriving<NodeStream>

    /**
     * Asks everyone, and gives the answers as they come, until `timeout` is over or the node stops: 1024 at most.
     *
     * The iteration fails with `ERR_SMOKESIGNAL_TOO_LARGE`, `ERR_SMOKESIGNAL_NOT_RUNNING` or `ABORT_ERR`.
     *
     * @throws {TypeError | RangeError} `ERR_SMOKESIGNAL_BAD_OPTION`.
     */
    ask(data: Data, options?: AskOptions): Arriving<Answer>

    /**
     * Answers what others ask, until the result is closed. `handler` returns an answer of 1 MiB at most, a promise of it, or
     * nothing, which means no answer. What it throws is logged, and is no answer either.
     *
     * @throws `ERR_SMOKESIGNAL_ANSWERING` if this node answers already.
     */
    answer(handler: AnswerHandler): Answering

    on<E extends keyof NodeEvents>(event: E, listener: (...args: NodeEvents[E]) => void): this
    once<E extends keyof NodeEvents>(event: E, listener: (...args: NodeEvents[E]) => void): this
    off<E extends keyof NodeEvents>(event: E, listener: (...args: NodeEvents[E]) => void): this
    addListener<E extends keyof NodeEvents>(event: E, listener: (...args: NodeEvents[E]) => void): this
    removeListener<E extends keyof NodeEvents>(event: E, listener: (...args: NodeEvents[E]) => void): this
    prependListener<E extends keyof NodeEvents>(event: E, listener: (...args: NodeEvents[E]) => void): this
    prependOnceListener<E extends keyof NodeEvents>(event: E, listener: (...args: NodeEvents[E]) => void): this
    emit<E extends keyof NodeEvents>(event: E, ...args: NodeEvents[E]): boolean
  }

  /** Options of `node.ask`. */
  export interface AskOptions extends Abortable {
    /** How long answers are waited for, in milliseconds. Default 5000. */
    timeout?: number | undefined
  }

  /** Answers a question; gets what is asked, and the id of the node that asks. */
  export type AnswerHandler = (
    question: Buffer,
    from: string
  ) => Data | null | undefined | void | Promise<Data | null | undefined | void>

  /** The neighbours of a node. */
  export class Peerlist extends EventEmitter {
    private constructor()
    /** The node that has them. */
    readonly node: Node
    /** The present neighbours. It is not for you to change: see `node.addPeer` and `peer.close`. */
    readonly list: Peer[]
    /** Returns the peer, if it is in the list (it, or one with its id), else false. */
    inList(peer: Peer | string): Peer | false
    /** Returns whether there are `maxPeerNo` peers, or more. */
    isFull(): boolean
    /** Returns whether there are `minPeerNo` peers, or more. */
    isSufficientlyFilled(): boolean
    /** Returns the ids of all peers. */
    dump(): string[]
    /** Closes all links. */
    close(): this

    on<E extends keyof PeerlistEvents>(event: E, listener: (...args: PeerlistEvents[E]) => void): this
    once<E extends keyof PeerlistEvents>(event: E, listener: (...args: PeerlistEvents[E]) => void): this
    off<E extends keyof PeerlistEvents>(event: E, listener: (...args: PeerlistEvents[E]) => void): this
    addListener<E extends keyof PeerlistEvents>(event: E, listener: (...args: PeerlistEvents[E]) => void): this
    removeListener<E extends keyof PeerlistEvents>(event: E, listener: (...args: PeerlistEvents[E]) => void): this
    prependListener<E extends keyof PeerlistEvents>(event: E, listener: (...args: PeerlistEvents[E]) => void): this
    prependOnceListener<E extends keyof PeerlistEvents>(event: E, listener: (...args: PeerlistEvents[E]) => void): this
    emit<E extends keyof PeerlistEvents>(event: E, ...args: PeerlistEvents[E]): boolean
  }

  /**
   * A neighbour, and the stream to it: what is written here is read from the other node's Peer. One write is one chunk there. When
   * the link ends, `end` and then `close` come once each, even if nobody reads.
   */
  export class Peer extends Duplex {
    private constructor()
    /** Whose neighbour it is. */
    readonly node: Node
    /** Its id, 64 hex digits. */
    readonly id: string
    /** Where it listens: what others dial. */
    readonly remoteAddress: string
    /** Where it listens. */
    readonly remotePort: number
    /** Ends the link. What was written before is sent first, within 5 s. */
    close(): void

    on<E extends keyof StreamEvents>(event: E, listener: (...args: StreamEvents[E]) => void): this
    once<E extends keyof StreamEvents>(event: E, listener: (...args: StreamEvents[E]) => void): this
    off<E extends keyof StreamEvents>(event: E, listener: (...args: StreamEvents[E]) => void): this
    addListener<E extends keyof StreamEvents>(event: E, listener: (...args: StreamEvents[E]) => void): this
    removeListener<E extends keyof StreamEvents>(event: E, listener: (...args: StreamEvents[E]) => void): this
    prependListener<E extends keyof StreamEvents>(event: E, listener: (...args: StreamEvents[E]) => void): this
    prependOnceListener<E extends keyof StreamEvents>(event: E, listener: (...args: StreamEvents[E]) => void): this
    emit<E extends keyof StreamEvents>(event: E, ...args: StreamEvents[E]): boolean
  }

  /**
   * A named stream to any node of the network, encrypted from end to end. From `open`, `accept`, `reply` and `replies`. One write
   * is one chunk at the other end. Both directions have back-pressure of their own.
   *
   * It fails with `ERR_SMOKESIGNAL_STREAM_REFUSED` (nobody accepts the name), `ERR_SMOKESIGNAL_STREAM_BUSY` (too many streams),
   * `ERR_SMOKESIGNAL_STREAM_RESET` (the other end was destroyed; the text has the reason), `ERR_SMOKESIGNAL_STREAM_CUT` (a
   * connection that carried it has ended), `ERR_SMOKESIGNAL_STREAM_STOPPED` (the other end reads no more) or
   * `ERR_SMOKESIGNAL_STREAM_CLOSED`. A chunk above `maxMessage` is the error `ERR_SMOKESIGNAL_TOO_LARGE`, and the stream goes on.
   */
  export class NodeStream extends Duplex {
    private constructor()
    /** The id of the node at the other end. */
    readonly peer: string
    /** The name it was opened with. */
    readonly name: string
    /**
     * The way its bytes take now: over the link to a neighbour, over a connection made for streams, or through other nodes, which
     * can neither read nor change them.
     */
    readonly path: 'neighbour' | 'direct' | 'relayed'

    on<E extends keyof StreamEvents>(event: E, listener: (...args: StreamEvents[E]) => void): this
    once<E extends keyof StreamEvents>(event: E, listener: (...args: StreamEvents[E]) => void): this
    off<E extends keyof StreamEvents>(event: E, listener: (...args: StreamEvents[E]) => void): this
    addListener<E extends keyof StreamEvents>(event: E, listener: (...args: StreamEvents[E]) => void): this
    removeListener<E extends keyof StreamEvents>(event: E, listener: (...args: StreamEvents[E]) => void): this
    prependListener<E extends keyof StreamEvents>(event: E, listener: (...args: StreamEvents[E]) => void): this
    prependOnceListener<E extends keyof StreamEvents>(event: E, listener: (...args: StreamEvents[E]) => void): this
    emit<E extends keyof StreamEvents>(event: E, ...args: StreamEvents[E]): boolean
  }

  /**
   * The network as a duplex stream. One write is one message at everyone else, never cut, never joined with another; your own do
   * not come back. `write` returns false while the links are full. A message above `maxMessage` is the error
   * `ERR_SMOKESIGNAL_TOO_LARGE`, and the stream goes on. `end()` ends writing only.
   */
  export class Broadcast extends Duplex {
    private constructor()
    /** Whose it is. */
    readonly node: Node

    on<E extends keyof BroadcastEvents>(event: E, listener: (...args: BroadcastEvents[E]) => void): this
    once<E extends keyof BroadcastEvents>(event: E, listener: (...args: BroadcastEvents[E]) => void): this
    off<E extends keyof BroadcastEvents>(event: E, listener: (...args: BroadcastEvents[E]) => void): this
    addListener<E extends keyof BroadcastEvents>(event: E, listener: (...args: BroadcastEvents[E]) => void): this
    removeListener<E extends keyof BroadcastEvents>(event: E, listener: (...args: BroadcastEvents[E]) => void): this
    prependListener<E extends keyof BroadcastEvents>(event: E, listener: (...args: BroadcastEvents[E]) => void): this
    prependOnceListener<E extends keyof BroadcastEvents>(event: E, listener: (...args: BroadcastEvents[E]) => void): this
    emit<E extends keyof BroadcastEvents>(event: E, ...args: BroadcastEvents[E]): boolean
  }

  /** A node's key pair. Whoever has it is the node with this id. */
  export class Identity {
    private constructor()
    /** Makes a new random one. */
    static generate(): Identity
    /**
     * Makes the one of these 32 bytes: the same bytes give the same id.
     *
     * @throws {TypeError | RangeError} `ERR_SMOKESIGNAL_BAD_OPTION` if they are not 32.
     */
    static fromSeed(seed: Uint8Array): Identity
    /**
     * Reads a key file.
     *
     * @throws `ERR_SMOKESIGNAL_KEY_FILE` if it cannot be read, `ERR_SMOKESIGNAL_BAD_KEY_FILE` if it holds something else.
     */
    static load(path: string): Identity
    /**
     * Reads a key file, or makes one that only this user can read.
     *
     * @throws `ERR_SMOKESIGNAL_KEY_FILE` if it can neither be read nor made, `ERR_SMOKESIGNAL_BAD_KEY_FILE` if it holds something
     * else.
     */
    static loadOrCreate(path: string): Identity
    /** The id of the node: its public key, 64 hex digits. */
    readonly id: string
  }

  /** Options of `MemoryNetwork`. */
  export interface MemoryNetworkOptions {
    /** The least and the most that bytes take one way, in milliseconds, drawn for each write. Default: no time. */
    latency?: readonly [least: number, most: number] | undefined
    /** Bytes a second of each direction of a connection. Default: no limit. */
    bandwidth?: number | undefined
  }

  /**
   * A simulated network inside this process, for tests: the option `transport` of its nodes, which may have any IP addresses.
   * Nodes are named by where they listen, as `'IP:PORT'`. Time is real.
   */
  export class MemoryNetwork {
    constructor(options?: MemoryNetworkOptions)
    /** Cuts the network, as if cables were pulled: nodes reach those of their group only. */
    partition(groups: readonly (readonly string[])[]): void
    /** Ends all cuts. */
    heal(): void
    /** Lets this node neither hear nor speak until it is thawed. */
    freeze(node: string): void
    /** Ends a freeze. */
    thaw(node: string): void
    /** Breaks all connections of this node. */
    reset(node: string): void
  }

  /** An error of this package. */
  export interface SmokesignalError extends Error {
    /** What went wrong, for programs. */
    code: ErrorCode
    /** Which option or argument is wrong, where `code` is `ERR_SMOKESIGNAL_BAD_OPTION`. */
    option?: string | undefined
    /** The bytes that there were, where `code` is `ERR_SMOKESIGNAL_TOO_LARGE`. */
    size?: number | undefined
    /** The bytes that are allowed, where `code` is `ERR_SMOKESIGNAL_TOO_LARGE`. */
    limit?: number | undefined
    /** Has the system's name as its `code`, such as `EADDRINUSE`, where the system is the cause. */
    cause?: unknown
  }

  /** All values of `code`. An aborted signal is the `ABORT_ERR` of Node.js. */
  export type ErrorCode =
    /** An option or an argument is wrong: a `TypeError` or a `RangeError`. */
    | 'ERR_SMOKESIGNAL_BAD_OPTION'
    /** There is no native half for this platform. Thrown by `require` and `import`. */
    | 'ERR_SMOKESIGNAL_NO_NATIVE'
    /** The port is in use by another program. */
    | 'ERR_SMOKESIGNAL_PORT_IN_USE'
    /** The address is not one of this machine's. */
    | 'ERR_SMOKESIGNAL_NOT_LOCAL'
    /** Listening failed for another reason. */
    | 'ERR_SMOKESIGNAL_LISTEN'
    /** The host name that is to be advertised has no address. */
    | 'ERR_SMOKESIGNAL_ADVERTISE'
    /** The node runs already. */
    | 'ERR_SMOKESIGNAL_ALREADY_RUNNING'
    /** The node is stopped. */
    | 'ERR_SMOKESIGNAL_NOT_RUNNING'
    /** The address is no address. */
    | 'ERR_SMOKESIGNAL_BAD_ADDRESS'
    /** The host name has no address. */
    | 'ERR_SMOKESIGNAL_RESOLVE'
    /** Nothing listens there. */
    | 'ERR_SMOKESIGNAL_REFUSED'
    /** Nobody has answered in time. */
    | 'ERR_SMOKESIGNAL_TIMED_OUT'
    /** What answers there is not a node of this network. */
    | 'ERR_SMOKESIGNAL_HANDSHAKE'
    /** The other node has another network secret, or only one of the two has one. */
    | 'ERR_SMOKESIGNAL_WRONG_SECRET'
    /** Another node answered there. */
    | 'ERR_SMOKESIGNAL_WRONG_NODE'
    /** That is this node itself. */
    | 'ERR_SMOKESIGNAL_MYSELF'
    /** The other node has no room for another peer. */
    | 'ERR_SMOKESIGNAL_FULL'
    /** The connection broke while the link was made. */
    | 'ERR_SMOKESIGNAL_CLOSED'
    /** Another failure of the network. */
    | 'ERR_SMOKESIGNAL_CONNECT'
    /** No node of the network has this id, or it has not answered in time. */
    | 'ERR_SMOKESIGNAL_NOT_FOUND'
    /** The node is there, but no way to it could be found. */
    | 'ERR_SMOKESIGNAL_NO_WAY'
    /** The memory of a chunk was transferred, to a worker for example, before it could be sent. */
    | 'ERR_SMOKESIGNAL_DETACHED'
    /** Too much is waiting: nodes that are looked for, or messages. */
    | 'ERR_SMOKESIGNAL_BUSY'
    /** The name of a stream is too long. */
    | 'ERR_SMOKESIGNAL_BAD_NAME'
    /** Too many streams to that node are open. */
    | 'ERR_SMOKESIGNAL_TOO_MANY'
    /** A stream could not be opened for another reason. */
    | 'ERR_SMOKESIGNAL_OPEN'
    /** The message is larger than `maxMessage`: a `RangeError` with `size` and `limit`. */
    | 'ERR_SMOKESIGNAL_TOO_LARGE'
    /** Streams of this name are accepted already. */
    | 'ERR_SMOKESIGNAL_NAME_TAKEN'
    /** Questions are answered already. */
    | 'ERR_SMOKESIGNAL_ANSWERING'
    /** Streams cannot be accepted for another reason. */
    | 'ERR_SMOKESIGNAL_ACCEPT'
    /** The other node accepts no streams of this name. */
    | 'ERR_SMOKESIGNAL_STREAM_REFUSED'
    /** The other node has too many streams. */
    | 'ERR_SMOKESIGNAL_STREAM_BUSY'
    /** The other end was destroyed; the text says why. */
    | 'ERR_SMOKESIGNAL_STREAM_RESET'
    /** A connection that carried the stream has ended before it did. */
    | 'ERR_SMOKESIGNAL_STREAM_CUT'
    /** The other end reads no more. */
    | 'ERR_SMOKESIGNAL_STREAM_STOPPED'
    /** This end has ended the stream. */
    | 'ERR_SMOKESIGNAL_STREAM_CLOSED'
    /** The stream failed for another reason. */
    | 'ERR_SMOKESIGNAL_STREAM'
    /** The key file cannot be read or made. */
    | 'ERR_SMOKESIGNAL_KEY_FILE'
    /** The key file holds something else. */
    | 'ERR_SMOKESIGNAL_BAD_KEY_FILE'
    /** The text is not a subnet. */
    | 'ERR_SMOKESIGNAL_BAD_SUBNET'
    /** This machine has no address in the subnet. */
    | 'ERR_SMOKESIGNAL_NO_LOCAL_ADDRESS'
}

export = smokesignal
