'use strict'
/**
 * A node of the network.
 */
const { EventEmitter } = require('node:events')
const { inspect } = require('node:util')
const native = require('./native')
const { Arriving } = require('./iterate')
const { Broadcast } = require('./broadcast')
const { MessageInlet, Outlet } = require('./transfer')
const { Outcome, operate } = require('./operation')
const { Peer, named } = require('./stream')
const { Peerlist } = require('./peerlist')
const { abortError, calling, coded, fromFailure, optionRange, optionType, throwIfAborted } = require('./errors')
const { bell, guarded, maySleep, register, replace, reserve, stayAwake, unregister } = require('./bell')
const { hostAndPort, readOptions, readPort } = require('./options')
const { leastLevel, makeLogger } = require('./logger')
const { tooLarge } = require('./duplex')

/** What was written and not yet taken by the native half may take this long when the node stops, in ms. */
const FLUSH_TIMEOUT = 5000
/** How long `ask` waits for answers, in ms. */
const ASK_TIMEOUT = 5000
/** Bytes of `send` that wait for room at most; more are refused. */
const MAX_WAITING = 64 * 1024 * 1024

const REPLY = 'reply'

/** What other files of this package reach: the native node. */
const inner = Symbol('native')

class Node extends EventEmitter {
  #native
  #events
  #outlet
  /** What the native half wakes, and what is done then: looked after while the node runs. */
  #numbers = { log: reserve(), events: reserve(), outlet: reserve() }
  #id
  #state = 'stopped'
  #turn = Promise.resolve()
  #call = 0
  #starting
  #started
  #stopping
  /** Whether it was stopped, and not started again: writes wait, operations fail. */
  #ended = false
  #iterators = new Set()
  #channels = new Set()

  constructor(options) {
    super()
    const read = readOptions(options)
    this.options = read
    this.logger = makeLogger(read.logger)
    const parts = readOptions.forNative(read, leastLevel(read.logger))
    this.#native = calling(() => new native.NativeNode(...parts, bell, this.#numbers.log))
    Object.defineProperty(this, inner, { value: this.#native })
    this.#id = this.#native.id
    Object.defineProperty(this, 'id', {
      get: () => this.#id,
      // Old programs name themselves. The network goes on knowing the node by its key.
      set: (id) => {
        this.#id = id
      },
      enumerable: true,
      configurable: true
    })
    this.listening = false
    this.connected = false
    this.peers = this.peerlist = new Peerlist(this)
    this.#events = this.#native.events(bell, this.#numbers.events)
    this.#events.poll()
    this.#outlet = new Outlet(this.#native.writer(undefined, bell, this.#numbers.outlet), () => {})
    this.broadcast = new Broadcast(this, this.#native, this.#outlet, read.maxMessage)
    this.#log()
  }

  // Start and stop.

  /** Listens and enters the network. Resolves when it listens. */
  start(options) {
    const { signal } = options ?? {}
    if (this.#state === 'running') return Promise.resolve()
    if (this.#state === 'starting') {
      // The same start; only the first call's signal gives it up.
      return signal === undefined ? this.#started : Outcome.of(abortable(this.#starting, signal), () => true)
    }
    const call = this.#enter('starting')
    this.#starting = this.#after(() => this.#start(call, signal))
    this.#started = Outcome.of(this.#starting, (error) => {
      if (this.listenerCount('error') === 0) return false
      this.emit('error', error)
      return true
    })
    return this.#started
  }

  async #start(call, signal) {
    stayAwake()
    replace(this.#numbers.log, () => this.#log())
    replace(this.#numbers.events, () => this.#happened())
    replace(this.#numbers.outlet, () => this.#outlet.proceed())
    guarded(() => this.logger.debug(`Starting to listen at ${hostAndPort(this.options.address, this.options.port)}`))
    try {
      await operate((...to) => this.#native.start(...to), { signal })
    } catch (error) {
      // Given up half way, it may have come to listen all the same.
      if (error.code === 'ABORT_ERR') await operate((...to) => this.#native.stop(...to))
      else guarded(() => this.logger.fatal(error.message))
      this.#leave(call, 'stopped')
      this.#rest()
      throw error
    }
    this.#leave(call, 'running')
    this.#ended = false
    this.options.port = this.#native.port
    this.listening = true
    this.#outlet.proceed()
    this.broadcast._reopen()
    this.#channels.forEach((channel) => channel.reopen())
  }

  /** Hands what was written to the neighbours, parts from them and stops listening. `start` works again after. */
  stop(options) {
    const { signal } = options ?? {}
    if (this.#state === 'stopped') return Promise.resolve()
    if (this.#state !== 'stopping') {
      const call = this.#enter('stopping')
      this.#stopping = this.#after(() => this.#stop(call))
    }
    return Outcome.of(abortable(this.#stopping, signal), () => false)
  }

  async #stop(call) {
    // Its start may have failed.
    if (!this.listening) return this.#leave(call, 'stopped')
    try {
      if (this.peers.list.length > 0) await Promise.race([this.#flushed(), later(FLUSH_TIMEOUT)])
      await operate((...to) => this.#native.stop(...to))
    } finally {
      this.#leave(call, 'stopped')
      this.#ended = true
      this.listening = false
      this.#happened()
      this.#iterators.forEach((end) => end())
      this.#outlet.refuse(notRunning())
      this.#rest()
    }
  }

  /** Begins what a call asked for. The last call counts: what an earlier one comes to does not change the state. */
  #enter(state) {
    this.#state = state
    this.#call += 1
    return this.#call
  }

  #leave(call, state) {
    if (call === this.#call) this.#state = state
  }

  /** A node that does not run is kept by nobody but its user. */
  #rest() {
    maySleep()
    this.#log()
    Object.values(this.#numbers).forEach((number) => unregister(number))
    this.broadcast._rest()
    this.#channels.forEach((channel) => channel.rest())
  }

  #flushed() {
    const outlets = [this.#outlet, ...[...this.#channels].map((channel) => channel.outlet)]
    return Promise.all(outlets.map((outlet) => new Promise((resolve) => outlet.whenIdle(resolve))))
  }

  /** One after the other, whatever became of the one before. */
  #after(work) {
    const run = this.#turn.then(work)
    this.#turn = run.then(
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
   * Makes a link to the node at this address. Resolves to the Peer. A failure that nobody waits for is logged.
   */
  addPeer(address, port, callback, options) {
    if (typeof callback === 'object' && callback !== null) [callback, options] = [undefined, callback]
    const work = this.#addPeer(address, port, options)
    const outcome = Outcome.of(work, (error) => {
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
    if (typeof address !== 'string') throw optionType('address', 'a host name or an IP address, as a string', address)
    const target = hostAndPort(address, readPort('port', port, 1))
    const { operation } = await operate((...to) => this.#native.addPeer(target, ...to), { signal })
    const { id } = operation.takeStream()
    this.#happened()
    const peer = this.peers.inList(id)
    if (!peer) throw coded(new Error(`${target} closed the connection; try again`), 'CLOSED')
    return peer
  }

  /** How many nodes the network has, this one included, as far as they have been counted; 0 while it is stopped. */
  get size() {
    return this.#native.size
  }

  /** Copies of messages that have arrived since the last start, those that were known already included. */
  get copiesReceived() {
    return this.#native.copiesReceived
  }

  /** Tells of what has happened. What a listener throws keeps no other from being told. */
  #happened() {
    for (let event = this.#events.poll(); event; event = this.#events.poll()) this.#react(event)
  }

  #react(event) {
    switch (event.name) {
      case 'added':
        return this.#added()
      case 'removed':
        return this.#removed(event.id)
      case 'netsplit': {
        const { id: seed, size, sizeBefore, otherSize } = event
        return this.#tell(
          () => this.logger.warn(`Netsplit! Lost connection to seed "${seed}"`),
          () => this.emit('netsplit', { seed, size, sizeBefore, otherSize })
        )
      }
      case 'resolved': {
        const { duration, size } = event
        return this.#tell(
          () => this.logger.info('Netsplit resolved!'),
          () => this.emit('netsplit resolved', { duration, size })
        )
      }
      case 'unreachable': {
        const error = fromFailure(event.failure)
        return this.#tell(
          () => this.logger.warn(`Seed "${event.seed}" cannot be reached: ${error.message}`),
          () => this.emit('seed unreachable', { seed: event.seed, error })
        )
      }
      case 'missed':
        this.#tell(() => this.logger.warn(`${event.missed} events were dropped: the event loop was blocked for too long`))
        return this.#reconcile()
    }
  }

  /** Peers came or went without a word. */
  #reconcile() {
    const present = this.#native.peers()
    this.peers.dump().filter((id) => !present.includes(id)).forEach((id) => this.#removed(id))
    for (const id of present.filter((id) => !this.peers.inList(id))) {
      const number = reserve()
      const stream = this.#native.peer(id, bell, number)
      if (stream) this.#addedAs(stream, number)
    }
  }

  #added() {
    const number = reserve()
    const stream = this.#events.takePeer(bell, number)
    // It may be there already, where events were dropped before.
    if (!this.peers.inList(stream.id)) this.#addedAs(stream, number)
  }

  #addedAs(stream, number) {
    const peer = new Peer(this, stream, number, this.options.maxMessage)
    const { list } = this.peers
    list.push(peer)
    const first = list.length === 1
    if (first) this.connected = true
    this.#tell(
      () => first && this.emit('connect'),
      () => this.emit('new peer', peer),
      () => this.peers.emit('add', peer)
    )
  }

  #removed(id) {
    const { list } = this.peers
    const at = list.findIndex((peer) => peer.id === id)
    if (at < 0) return
    const [peer] = list.splice(at, 1)
    const last = list.length === 0
    if (last) this.connected = false
    peer._linkGone()
    this.#tell(
      () => last && this.emit('disconnect'),
      () => this.peers.emit('remove', peer)
    )
  }

  /** Tells listeners, one after the other. */
  #tell(...steps) {
    steps.forEach((step) => guarded(step))
  }

  #log() {
    for (const { level, text } of this.#native.takeLines()) guarded(() => this.logger[level](text))
  }

  // Messages.

  /** Writes one message to everyone. Resolves when the native half has taken it, which it does while its links have room. */
  send(data, options) {
    const { signal } = options ?? {}
    return new Promise((resolve, reject) => {
      throwIfAborted(signal)
      const chunk = bytes('data', data)
      const limit = this.options.maxMessage
      if (chunk.length > limit) throw tooLarge(chunk.length, limit)
      if (this.#ended) throw notRunning()
      if (this.#outlet.queuedBytes > MAX_WAITING) {
        throw coded(new Error(`${this.#outlet.queuedBytes} bytes wait to be sent; await send() before the next one`), 'BUSY')
      }
      const done = () => {
        signal?.removeEventListener('abort', abort)
        resolve()
      }
      const abort = () => {
        // One that has been taken already is sent all the same.
        if (this.#outlet.remove(done)) reject(abortError(signal))
        else done()
      }
      const fail = (error) => {
        signal?.removeEventListener('abort', abort)
        reject(error)
      }
      signal?.addEventListener('abort', abort, { once: true })
      this.#outlet.add(chunk, done, fail)
    })
  }

  /** Everything that others write from now on: `{ from, seq, data }`, and `{ from, missed }` for what could not be had. */
  messages(options) {
    const { signal } = options ?? {}
    throwIfAborted(signal)
    let stopped = false
    const number = register(() => iterator.wake())
    const inlet = new MessageInlet(this.#native.reader(undefined, bell, number), () => this.#happened())
    const poll = () => {
      if (!inlet.ready()) return stopped || inlet.ended ? { done: true } : undefined
      const data = inlet.next()
      const from = inlet.writer()
      return { value: data === undefined ? { from, missed: inlet.number() } : { from, seq: inlet.number(), data } }
    }
    const end = () => {
      // What has arrived is still given; nothing more will be due.
      stopped = true
      unregister(number)
      iterator.wake()
    }
    const close = () => {
      unregister(number)
      inlet.close()
    }
    const iterator = this.#iterate(poll, close, end, signal)
    return iterator
  }

  #iterate(poll, close, end, signal) {
    const iterator = new Arriving(
      poll,
      () => {
        this.#iterators.delete(end)
        close()
      },
      signal
    )
    this.#iterators.add(end)
    return iterator
  }

  // Streams.

  /** Opens a stream to the node with this id, which has to accept the name. Resolves when there is a way to that node. */
  async open(id, name, options) {
    const { signal } = options ?? {}
    checkId('id', id)
    checkName(name)
    const { operation, number } = await operate((...to) => calling(() => this.#native.open(id, name, ...to)), { signal, keep: true })
    return named(operation.takeStream(), number, this.options.maxMessage)
  }

  /** Takes the streams of this name that others open, until the node stops or the iteration ends. */
  accept(name, options) {
    const { signal } = options ?? {}
    checkName(name)
    const number = register(() => iterator.wake())
    let acceptor
    try {
      throwIfAborted(signal)
      acceptor = calling(() => this.#native.accept(name, bell, number))
    } catch (error) {
      unregister(number)
      throw error
    }
    const poll = () => {
      const reserved = reserve()
      const stream = acceptor.poll(bell, reserved)
      if (stream) return { value: named(stream, reserved, this.options.maxMessage) }
      unregister(reserved)
      return undefined
    }
    const close = () => {
      unregister(number)
      acceptor.close()
    }
    const iterator = this.#iterate(poll, close, () => iterator.finish({ done: true }), signal)
    return iterator
  }

  /** Opens a stream to the writer of a message, who takes it from `replies`. */
  reply(from, options) {
    return this.open(typeof from === 'object' && from !== null ? from.from : from, REPLY, options)
  }

  /** The streams that others open in reply to what this node has written. */
  replies(options) {
    return this.accept(REPLY, options)
  }

  // Questions.

  /** Asks everyone, and gives the answers as they come, `{ from, data }`, until `timeout` ms are over. */
  ask(data, options) {
    const { timeout = ASK_TIMEOUT, signal } = options ?? {}
    const question = bytes('data', data)
    if (typeof timeout !== 'number') throw optionType('timeout', 'a number of milliseconds', timeout)
    if (!(timeout >= 0)) throw optionRange('timeout', 'a number of milliseconds from 0 on', timeout)
    throwIfAborted(signal)
    let answers
    let failed = this.#state === 'stopped' ? notRunning() : undefined
    let number
    const poll = () => {
      if (failed !== undefined) return { error: failed }
      const answer = answers?.poll()
      if (answer) return { value: answer }
      return answers?.ended ? { done: true } : undefined
    }
    const asking = new AbortController()
    const close = () => {
      asking.abort()
      if (number !== undefined) unregister(number)
      answers?.close()
    }
    const iterator = this.#iterate(poll, close, () => iterator.finish({ done: true }), signal)
    if (failed !== undefined) return iterator
    operate((...to) => this.#native.ask(question, timeout, ...to), { signal: asking.signal, keep: true }).then(
      (result) => {
        answers = result.operation.takeAnswers()
        number = result.number
        if (asking.signal.aborted) return close()
        replace(number, iterator.wake)
        iterator.wake()
      },
      (error) => {
        failed = error
        iterator.wake()
      }
    )
    return iterator
  }

  /**
   * Answers what others ask: `handler(question, from)` returns the answer, a promise of it, or nothing. Until it is closed.
   */
  answer(handler) {
    if (typeof handler !== 'function') throw optionType('handler', 'a function (question, from) that returns the answer', handler)
    let questions
    const number = register(() => {
      for (let question = questions.poll(); question; question = questions.poll()) this.#answer(questions, handler, question)
    })
    try {
      questions = calling(() => this.#native.answer(bell, number))
    } catch (error) {
      unregister(number)
      throw error
    }
    const close = () => {
      unregister(number)
      questions.close()
    }
    return { close, [Symbol.dispose ?? Symbol.for('Symbol.dispose')]: close }
  }

  async #answer(questions, handler, { number, from, data }) {
    let answer
    try {
      const given = await handler(data, from)
      answer = given === undefined || given === null ? undefined : bytes('answer', given)
    } catch (error) {
      const text = error instanceof Error ? error.message : inspect(error)
      guarded(() => this.logger.error(`A question of ${from} could not be answered: ${text}`))
    } finally {
      questions.answer(number, answer)
    }
  }

  /** Tells of what has happened to the node so far. For readers: before what was written after it. */
  _happened() {
    this.#happened()
  }

  /** For the socket.io adapter: see channel.js. */
  _attachChannel(channel) {
    this.#channels.add(channel)
    return () => this.#channels.delete(channel)
  }

  /** Its id on the wire, whatever `id` was set to. */
  get _wireId() {
    return this.#native.id
  }
}

function bytes(name, data) {
  if (typeof data === 'string') return Buffer.from(data)
  if (Buffer.isBuffer(data)) return data
  if (ArrayBuffer.isView(data)) return Buffer.from(data.buffer, data.byteOffset, data.byteLength)
  if (data instanceof ArrayBuffer) return Buffer.from(data)
  throw optionType(name, 'a string, a Buffer or a Uint8Array', data)
}

function checkId(name, id) {
  if (typeof id !== 'string') throw optionType(name, 'the id of a node, 64 hex digits', id)
  if (!/^[0-9a-f]{64}$/.test(id)) throw optionRange(name, 'the id of a node, 64 hex digits', id)
}

function checkName(name) {
  if (typeof name !== 'string') throw optionType('name', 'a string', name)
  if (name === '' || Buffer.byteLength(name) > 255) throw optionRange('name', 'a string of 1 to 255 bytes', name)
}

function notRunning() {
  return coded(new Error('the node is not running; call start() first'), 'NOT_RUNNING')
}

function later(time) {
  return new Promise((resolve) => {
    setTimeout(resolve, time).unref()
  })
}

/** Follows `work` until the signal says that nobody waits any more. */
async function abortable(work, signal) {
  if (signal === undefined) return work
  throwIfAborted(signal)
  let abort
  const aborted = new Promise((_, reject) => {
    abort = () => reject(abortError(signal))
    signal.addEventListener('abort', abort, { once: true })
  })
  try {
    return await Promise.race([work, aborted])
  } finally {
    signal.removeEventListener('abort', abort)
  }
}

module.exports = { Node, inner }
