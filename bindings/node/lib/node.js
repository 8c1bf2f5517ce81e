'use strict'
/**
 * A node of the network, as users see it.
 *
 * The class owns the native node and connects it with the parts of this package: `node-events.js`
 * emits what happens, `broadcast.js` is the stream to everyone, `sources.js` feeds the async
 * iterators, `responder.js` answers questions. What it decides itself is the order of starts and
 * stops: each call waits for the work of the one before, the last call determines the state, and
 * while the node does not run it neither keeps the process alive nor gets wakeups.
 */
const { EventEmitter } = require('node:events')
const keepAlive = require('./keep-alive')
const native = require('./native')
const { AnswerSource, FailedSource, MessageSource, StreamSource } = require('./sources')
const { BatchWriter } = require('./batch-writer')
const { Broadcast } = require('./broadcast')
const { NodeEvents } = require('./node-events')
const { NodeStream } = require('./stream')
const { Peerlist } = require('./peerlist')
const { PolledIterator } = require('./polled-iterator')
const { TrackedPromise } = require('./tracked-promise')
const { abortError, abortable, throwIfAborted } = require('./abort')
const { calling, coded, notRunning, optionRange, optionType } = require('./errors')
const { checkId, checkStreamName, toBytes } = require('./arguments')
const { forNative, hostAndPort, readOptions, readPort } = require('./options')
const { guarded } = require('./guarded')
const { leastLevel, makeLogger } = require('./logger')
const { operate } = require('./operation')
const { replace, reserve, unregister, wakeQueue } = require('./wakeups')
const { respond } = require('./responder')
const { tooLarge } = require('./chunk-duplex')

/** The result of `stop` where nothing was written, or the node did not run. */
const NOTHING_WRITTEN = { confirmed: 0, behind: 0, missing: 0, unsent: 0, timedOut: false }
/** How long `ask` collects answers by default, in ms. */
const ASK_TIMEOUT = 5000
/** Bytes of `send` that may wait for room. Further ones are refused with `ERR_SMOKESIGNAL_BUSY`. */
const MAX_QUEUED_BYTES = 64 * 1024 * 1024

/** The name of the streams of `reply` and `replies`. */
const REPLY = 'reply'

/** The property that holds the native node, for other files of this package. */
const nativeNode = Symbol('native')

class Node extends EventEmitter {
  #native
  #events
  #writer
  /** Wakeup numbers. They have handlers only while the node runs. */
  #numbers = { log: reserve(), events: reserve(), writer: reserve() }
  #id
  /** 'stopped', 'starting', 'running' or 'stopping'. */
  #state = 'stopped'
  /** The number of the last call of `start` or `stop`, and the end of its work. */
  #call = 0
  #previous = Promise.resolve()
  /** The present start or stop, and what callers of `start` get. */
  #starting
  #started
  #stopping
  /**
   * Whether the node was stopped and not started again. Operations fail then instead of waiting.
   */
  #wasStopped = false
  #iterators = new Set()
  #channels = new Set()

  constructor(options) {
    super()
    const read = readOptions(options)
    this.options = read
    this.logger = makeLogger(read.logger)
    const parts = forNative(read, leastLevel(read.logger))
    this.#native = calling(() => new native.NativeNode(...parts, wakeQueue, this.#numbers.log))
    Object.defineProperty(this, nativeNode, { value: this.#native })
    this.#id = this.#native.id
    Object.defineProperty(this, 'id', {
      get: () => this.#id,
      // Programs for 0.2.x assign an id. It reads back, and the network keeps to the key's.
      set: (id) => {
        this.#id = id
      },
      enumerable: true,
      configurable: true
    })
    this.listening = false
    this.connected = false
    /** Whether the node stops without a peer: one that it meets meanwhile is not announced. */
    Object.defineProperty(this, '_departsAlone', { value: false, writable: true })
    this.peers = this.peerlist = new Peerlist(this)
    this.#events = new NodeEvents(this, this.#native, this.#numbers.events)
    this.#writer = new BatchWriter(this.#native.writer(undefined, wakeQueue, this.#numbers.writer), () => {})
    this.broadcast = new Broadcast(this, this.#native, this.#writer, read.maxMessage)
    this.#forwardLog()
  }

  // Start and stop.

  /** Listens and joins the network. Resolves when the node listens. */
  start(options) {
    const { signal } = options ?? {}
    if (this.#state === 'running') return Promise.resolve()
    if (this.#state === 'starting') {
      // The same start. The signal of a second call ends that call's wait, and not the start.
      if (signal === undefined) return this.#started
      return TrackedPromise.follow(abortable(this.#starting, signal), () => true)
    }
    const call = this.#enter('starting')
    this.#starting = this.#afterPrevious(() => this.#start(call, signal))
    this.#started = TrackedPromise.follow(this.#starting, (error) => {
      if (this.listenerCount('error') === 0) return false
      this.emit('error', error)
      return true
    })
    return this.#started
  }

  async #start(call, signal) {
    keepAlive.ref()
    replace(this.#numbers.log, () => this.#forwardLog())
    replace(this.#numbers.events, () => this._dispatchEvents())
    replace(this.#numbers.writer, () => this.#writer.resume())
    if (this.#wasStopped) this.#writer.ended = false
    const { address, port } = this.options
    guarded(() => this.logger.debug(`Starting to listen at ${hostAndPort(address, port)}`))
    try {
      await operate((...to) => this.#native.start(...to), { signal })
    } catch (error) {
      // An aborted start may have begun to listen all the same.
      if (error.code === 'ABORT_ERR') await operate((...to) => this.#native.stop(...to))
      else guarded(() => this.logger.fatal(error.message))
      this.#leave(call, 'stopped')
      this.#suspend()
      throw error
    }
    this.#leave(call, 'running')
    this.#wasStopped = false
    this.options.port = this.#native.port
    this.listening = true
    this.#writer.resume()
    this.broadcast._nodeStarted()
    this.#channels.forEach((channel) => channel.nodeStarted())
  }

  /**
   * Hands over what was written, waits until the neighbours have read it, leaves the network and
   * stops listening. Resolves to who has read it.
   */
  stop(options) {
    const { signal } = options ?? {}
    if (this.#state === 'stopped') return Promise.resolve({ ...NOTHING_WRITTEN })
    if (this.#state !== 'stopping') {
      const call = this.#enter('stopping')
      this.#stopping = this.#afterPrevious(() => this.#stop(call))
    }
    return TrackedPromise.follow(abortable(this.#stopping, signal), () => false)
  }

  async #stop(call) {
    // The start before it may have failed.
    if (!this.listening) {
      this.#leave(call, 'stopped')
      return { ...NOTHING_WRITTEN }
    }
    // A first peer comes for what was written only. A program that has stopped its node does not
    // expect `connect` any more.
    this._departsAlone = this.peers.list.length === 0
    try {
      await this.#flushed()
      const { operation } = await operate((...to) => this.#native.stop(...to))
      return operation.takeStopped()
    } finally {
      this.#leave(call, 'stopped')
      this.#wasStopped = true
      this.listening = false
      this._dispatchEvents()
      this._departsAlone = false
      this.#iterators.forEach((iterator) => iterator.nodeStopped())
      this.#writer.refuseQueued(notRunning())
      this.#suspend()
    }
  }

  /** Enters the state of a call that begins. Returns the call's number for `#leave`. */
  #enter(state) {
    this.#state = state
    this.#call += 1
    return this.#call
  }

  /** Sets the state that a call has reached, unless a later call has begun. */
  #leave(call, state) {
    if (call === this.#call) this.#state = state
  }

  /** Releases the process and all wakeups, because the node does not run any more. */
  #suspend() {
    keepAlive.unref()
    this.#forwardLog()
    Object.values(this.#numbers).forEach((number) => unregister(number))
    this.broadcast._nodeStopped()
    this.#channels.forEach((channel) => channel.nodeStopped())
  }

  /**
   * Resolves when the native half has taken everything that was written, or has taken nothing for
   * `leaveTimeout`.
   */
  async #flushed() {
    const writers = [this.#writer, ...[...this.#channels].map((channel) => channel.sink)]
    const idle = writers.map((writer) => new Promise((resolve) => writer.whenIdle(resolve)))
    const flushed = Promise.all(idle).then(() => true)
    const waiting = () => writers.reduce((sum, writer) => sum + writer.waiting(), 0)
    let left = Infinity
    for (;;) {
      if (await Promise.race([flushed, delay(this.options.leaveTimeout)])) return
      const now = waiting()
      if (now >= left) return
      left = now
    }
  }

  /** Runs `work` after that of the previous call, whether that succeeded or not. */
  #afterPrevious(work) {
    const run = this.#previous.then(work)
    this.#previous = run.then(
      () => {},
      () => {}
    )
    return run
  }

  async [Symbol.asyncDispose ?? Symbol.for('Symbol.asyncDispose')]() {
    await this.stop()
  }

  // Neighbours.

  /**
   * Connects to the node at this address. Resolves to the Peer. A failure that nobody awaits is
   * logged.
   */
  addPeer(address, port, callback, options) {
    if (typeof callback === 'object' && callback !== null) [callback, options] = [undefined, callback]
    const work = this.#addPeer(address, port, options)
    const outcome = TrackedPromise.follow(work, (error) => {
      const text = `Could not add the peer at "${address}:${port}": ${error.message}`
      if (typeof callback !== 'function') guarded(() => this.logger.error(text))
      return true
    })
    if (typeof callback === 'function') {
      work.then(
        (peer) => setImmediate(callback, null, peer),
        (error) => setImmediate(callback, error)
      )
    }
    return outcome
  }

  async #addPeer(address, port, options) {
    const { signal } = options ?? {}
    if (typeof address !== 'string') {
      throw optionType('address', 'a host name or an IP address, as a string', address)
    }
    const target = hostAndPort(address, readPort('port', port, 1))
    const { operation } = await operate((...to) => this.#native.addPeer(target, ...to), { signal })
    const { id } = operation.takeStream()
    this._dispatchEvents()
    const peer = this.peers.inList(id)
    if (!peer) throw coded(new Error(`${target} closed the connection; try again`), 'CLOSED')
    return peer
  }

  /** The number of nodes in the network, this one included. 0 while the node is stopped. */
  get size() {
    return this.#native.size
  }

  /** Returns what the node has counted since its last start, and its present gauges. */
  metrics() {
    return this.#native.metrics()
  }

  /** Passes log lines of the library to the logger. */
  #forwardLog() {
    for (const { level, text } of this.#native.takeLogLines()) guarded(() => this.logger[level](text))
  }

  // Messages.

  /** Returns the bytes of a message; throws if it cannot be sent. */
  #toSend(data, signal) {
    throwIfAborted(signal)
    const chunk = toBytes('data', data)
    const limit = this.options.maxMessage
    if (chunk.length > limit) throw tooLarge(chunk.length, limit)
    if (this.#wasStopped) throw notRunning()
    if (this.#writer.ended) throw ended()
    return chunk
  }

  /** Sends one message to everyone. Resolves when the native half has taken it. */
  send(data, options) {
    const { signal } = options ?? {}
    return new Promise((resolve, reject) => {
      const chunk = this.#toSend(data, signal)
      const waiting = this.#writer.queuedBytes
      if (waiting > MAX_QUEUED_BYTES) {
        throw coded(new Error(`${waiting} bytes wait to be sent; await send() before the next one`), 'BUSY')
      }
      const abort = () => {
        // A message that has been taken is sent all the same.
        if (this.#writer.cancel(taken)) reject(abortError(signal))
        else taken()
      }
      const taken = () => {
        signal?.removeEventListener('abort', abort)
        resolve()
      }
      const refused = (error) => {
        signal?.removeEventListener('abort', abort)
        reject(error)
      }
      signal?.addEventListener('abort', abort, { once: true })
      this.#writer.write(chunk, taken, refused)
    })
  }

  /**
   * Sends one message to everyone, after those that wait for room. Resolves to the number of nodes
   * that have it, when all that this node waits for have.
   */
  sendConfirmed(data, options) {
    const { signal } = options ?? {}
    return new Promise((resolve, reject) => {
      const chunk = this.#toSend(data, signal)
      const send = () => operate((...to) => this.#writer.native.sendConfirmed(chunk, ...to), { signal })
      this.#writer.whenIdle(() => send().then(({ operation }) => resolve(operation.takeCount()), reject))
    })
  }

  /** Returns an async iterator over all messages, gaps, ends and new starts from now on. */
  messages(options) {
    const { signal } = options ?? {}
    throwIfAborted(signal)
    return this.#iterate(new MessageSource(this.#native, () => this._dispatchEvents()), signal)
  }

  /** Returns an async iterator over a source, which ends when the node stops. */
  #iterate(source, signal) {
    const iterator = new PolledIterator(source, () => this.#iterators.delete(iterator), signal)
    this.#iterators.add(iterator)
    return iterator
  }

  // Streams.

  /** Opens a named stream to the node with this id. Resolves when that node can be reached. */
  async open(id, name, options) {
    const { signal } = options ?? {}
    checkId('id', id)
    checkStreamName(name)
    const begin = (...to) => calling(() => this.#native.open(id, name, ...to))
    const { operation, number } = await operate(begin, { signal, keep: true })
    return new NodeStream(operation.takeStream(), number, this.options.maxMessage)
  }

  /** Returns an async iterator over the streams of this name that other nodes open. */
  accept(name, options) {
    const { signal } = options ?? {}
    checkStreamName(name)
    throwIfAborted(signal)
    return this.#iterate(new StreamSource(this.#native, name, this.options.maxMessage), signal)
  }

  /** Opens a stream to the writer of a message, which gets it from `replies`. */
  reply(from, options) {
    return this.open(typeof from === 'object' && from !== null ? from.from : from, REPLY, options)
  }

  /**
   * Returns an async iterator over the streams that others open in reply to this node's messages.
   */
  replies(options) {
    return this.accept(REPLY, options)
  }

  // Questions.

  /** Sends a question to everyone. Returns an async iterator over the answers, `{ from, data }`. */
  ask(data, options) {
    const { timeout = ASK_TIMEOUT, signal } = options ?? {}
    const question = toBytes('data', data)
    if (typeof timeout !== 'number') throw optionType('timeout', 'a number of milliseconds', timeout)
    if (!(timeout >= 0)) throw optionRange('timeout', 'a number of milliseconds, at least 0', timeout)
    throwIfAborted(signal)
    if (this.#state === 'stopped') return this.#iterate(new FailedSource(notRunning()), signal)
    return this.#iterate(new AnswerSource(this.#native, question, timeout), signal)
  }

  /** Answers what others ask, until the returned object is closed. */
  answer(handler) {
    return respond(this.#native, handler, this.logger)
  }

  // For other files of this package.

  /**
   * Emits what has happened so far. Readers call it before they deliver what was written after it.
   */
  _dispatchEvents() {
    this.#events.dispatch()
  }

  /**
   * Registers a channel (channel.js) for starts and stops. Returns the function that removes it.
   */
  _attachChannel(channel) {
    this.#channels.add(channel)
    return () => this.#channels.delete(channel)
  }

  /** The id that the network knows this node by, whatever `id` was set to. */
  get _wireId() {
    return this.#native.id
  }
}

/** Returns the error for a message after the end of `broadcast`. */
function ended() {
  const text = 'the stream of this node was ended by broadcast.end()'
  return coded(new Error(`${text}; send before that, or stop the node and start it again`), 'ENDED')
}

function delay(ms) {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref()
  })
}

module.exports = { Node, nativeNode }
