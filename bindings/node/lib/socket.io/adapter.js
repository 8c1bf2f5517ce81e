'use strict'
/**
 * The adapter of one namespace of one `io` object.
 *
 * ClusterAdapterWithHeartbeat of socket.io-adapter knows which messages servers have to exchange:
 * it calls `doPublish` and `doPublishResponse`, and expects `onMessage` and `onResponse`. This
 * class encodes, decodes and checks these messages (wire.js) and exchanges them through the node
 * (bus.js). It adds what socket.io leaves open: connection state recovery across servers
 * (recovery.js, sessions.js), actions on its own clients that take effect immediately, as without
 * an adapter, and timeouts that can be chosen.
 */
const adapters = require('socket.io-adapter')
const { coded } = require('../errors')
const { ClusterBus } = require('./bus')
const { Recovery } = require('./recovery')
const { Sessions } = require('./sessions')
const {
  Type,
  newTag,
  tagOf,
  nodeOf,
  uidOf,
  writeOffset,
  encodePublished,
  encodeDirect,
  readPublished,
  readDirect
} = require('./wire')

const { Adapter, ClusterAdapterWithHeartbeat } = adapters

/**
 * Servers that one node may have in this namespace, and all nodes together. Further ones are
 * ignored.
 */
const MAX_SERVERS_PER_NODE = 64
const MAX_SERVERS = 4096
/** `PacketType.EVENT` of socket.io-parser. */
const EVENT = 2

class SmokesignalAdapter extends ClusterAdapterWithHeartbeat {
  constructor(nsp, node, options) {
    super(nsp, options)
    this.bus = ClusterBus.of(node)
    this.tag = newTag()
    this.uid = uidOf(this.bus.id, this.tag)
    this.requestTimeout = options.requestTimeout
    /** How many publishes were dropped for the other servers. */
    this.dropped = 0
    this.closed = false
    /** Whether a heartbeat has been published in this turn of the event loop. */
    this.heartbeatSent = false
    /** The number of the last message that was published. */
    this.number = 0
    const { connectionStateRecovery } = nsp.server.opts
    if (connectionStateRecovery) {
      this.recovery = new Recovery(this.uid, connectionStateRecovery.maxDisconnectionDuration)
      this.sessions = new Sessions(this, this.recovery)
      /** Restore plans of clients that are about to be connected, by their sid. */
      this.restoring = new Map()
      /** The log position of the broadcast that is being delivered, or 0. */
      this.delivering = 0
    }
  }

  init() {
    this.bus.add(this)
    super.init()
  }

  /** Leaves the cluster and informs the other servers. Resolves when the message has left. */
  async close() {
    if (this.closed) return
    this.sessions?.handOver()
    super.close()
    this.closed = true
    // Pending requests complete with the responses that have arrived.
    for (const uid of [...this.nodesMap.keys()]) this.removeNode(uid)
    await this.bus.remove(this)
  }

  // ---- Sending ----

  /** Called by the bus when there may be servers that have not heard of this one. */
  announce() {
    this.publish({ type: Type.INITIAL_HEARTBEAT })
  }

  publish(message) {
    if (!this.closed) super.publish(message)
  }

  /** Publishes to the other servers. Resolves immediately, whether it succeeds or not. */
  doPublish(message) {
    this.#publish(message)
    return Promise.resolve('')
  }

  /**
   * Publishes a message. Returns its frame `{ bytes, content }`, or `undefined` if there is none.
   */
  #publish(message) {
    const heartbeat = message.type === Type.HEARTBEAT
    if (isHeartbeat(message)) {
      this.recovery?.expire()
      // One heartbeat answers all servers that have introduced themselves in this turn.
      if (heartbeat && this.heartbeatSent) return undefined
      this.heartbeatSent = true
      setImmediate(() => {
        this.heartbeatSent = false
      })
    } else {
      this.number++
      this.recovery?.published(this.number)
    }
    let frame
    let problem
    try {
      frame = encodePublished(this.tag, this.number, message)
      problem = this.bus.publish(this, frame.bytes, heartbeat)
    } catch (error) {
      problem = error
    }
    if (problem) this.publishDropped(problem)
    return frame
  }

  /** Counts a publish that the other servers do not get, logs it, and emits `error`. */
  publishDropped(cause) {
    this.dropped++
    const text =
      `A publish is dropped for the other servers: ${cause.message}. Publish less at a time, `
      + 'or smaller messages; where no other server is reached, look at the seeds of the node.'
    const error = coded(new Error(text, { cause }), 'SOCKET_IO_DROPPED')
    this.bus.warn('dropped', `socket.io: ${error.message}`)
    process.nextTick(() => {
      if (this.listenerCount('error') > 0) this.emit('error', error)
    })
  }

  doPublishResponse(uid, response) {
    this.sendDirect(uid, response)
    return Promise.resolve()
  }

  /** Sends a message to one server. */
  sendDirect(uid, message) {
    if (this.closed) return
    message.nsp = this.nsp.name
    let problem
    try {
      problem = this.bus.send(uid, encodeDirect(this.tag, tagOf(uid), message))
    } catch (error) {
      problem = error
    }
    if (problem) {
      this.bus.warn('direct', `socket.io: a message to server ${uid} is dropped: ${problem.message}`)
    }
  }

  // ---- Receiving ----

  /**
   * Called by the bus with a frame that another server has published.
   *
   * @param frame from `openPublished`
   * @param bytes the bytes of the frame
   */
  receive(uid, frame, bytes) {
    if (this.closed || uid === this.uid || !this.#admits(uid)) return
    const message = readPublished(frame, uid)
    if (!this.recovery) return this.#handle(message)
    if (!this.recovery.received(uid, frame.number, isHeartbeat(message))) return
    if (isRecoverable(message)) {
      // A copy, because the frame is part of a larger buffer that would stay in memory with it.
      const content = Buffer.from(bytes.subarray(message.content))
      this.#deliver(uid, frame.number, message.data.opts, content, content.length, (offset) =>
        this.#handle(message, offset)
      )
    } else {
      this.#handle(message)
    }
    this.recovery.advanced()
  }

  #handle(message, offset) {
    if (message.type !== Type.BROADCAST) {
      if (message.type === Type.SESSIONS) this.sessions?.takeOver(message.data)
      else if (message.type === Type.TAKEN) this.recovery?.movedTo(message.data.pid, message.uid)
      return this.onMessage(message, offset)
    }
    try {
      this.onMessage(message, offset)
    } catch (error) {
      // The event has a value that the parser cannot encode, such as a big integer in JSON.
      const text = `socket.io: an event of another server cannot be sent to clients: ${error.message}`
      this.bus.warn('broadcast', text)
    }
  }

  /** Returns whether this server is known, or there is room for it. */
  #admits(uid) {
    if (this.nodesMap.has(uid)) return true
    const node = nodeOf(uid)
    let count = 0
    for (const known of this.nodesMap.keys()) if (nodeOf(known) === node) count++
    if (count < MAX_SERVERS_PER_NODE && this.nodesMap.size < MAX_SERVERS) return true
    const limits = `at most ${MAX_SERVERS_PER_NODE} per node and ${MAX_SERVERS} in all`
    const text = `socket.io: too many servers in ${this.nsp.name}, ${limits}; one of node ${node} is ignored`
    this.bus.warn('servers', text)
    return false
  }

  /** Called by the bus with a frame that another server has sent to this one alone. */
  receiveDirect(uid, frame) {
    if (this.closed) return
    const message = readDirect(frame, uid)
    if (message.type === Type.RESTORE) this.sessions?.onRequest(uid, message.data)
    else if (message.type === Type.RESTORE_RESPONSE) this.sessions?.onResponse(uid, message.data)
    else this.onResponse(message)
  }

  /** Called by the bus when messages of a node may be lost. */
  messagesLost(node) {
    if (!this.recovery) return
    for (const uid of this.nodesMap.keys()) {
      if (nodeOf(uid) === node) this.recovery.messagesLost(uid)
    }
  }

  removeNode(uid) {
    super.removeNode(uid)
    // A server that left will not report how many clients it has.
    for (const { missing, clientCountCallback } of this.ackRequests.values()) {
      if (missing.delete(uid)) clientCountCallback(0)
    }
    this.recovery?.writerLeft(uid)
  }

  // ---- Actions on sockets. On this server's own clients they take effect immediately ----

  broadcast(packet, opts) {
    if (opts.flags?.local) return Adapter.prototype.broadcast.call(this, packet, opts)
    const message = {
      type: Type.BROADCAST,
      data: { packet, opts: encodeOptions(opts) }
    }
    const frame = this.#publishAsOwn(message)
    if (!frame || !this.recovery || !isRecoverable(message)) {
      return Adapter.prototype.broadcast.call(this, packet, opts)
    }
    const content = frame.bytes.subarray(frame.content)
    this.#deliver(this.uid, this.number, message.data.opts, content, frame.bytes.length, (offset) => {
      packet.data.push(offset)
      Adapter.prototype.broadcast.call(this, packet, opts)
    })
  }

  /** Publishes like the `publish` of the base class, and returns the frame. */
  #publishAsOwn(message) {
    if (this.closed) return undefined
    message.uid = this.uid
    message.nsp = this.nsp.name
    this.scheduleHeartbeat()
    return this.#publish(message)
  }

  addSockets(opts, rooms) {
    if (!opts.flags?.local) {
      this.publish({ type: Type.SOCKETS_JOIN, data: { opts: encodeOptions(opts), rooms } })
    }
    Adapter.prototype.addSockets.call(this, opts, rooms)
  }

  delSockets(opts, rooms) {
    if (!opts.flags?.local) {
      this.publish({ type: Type.SOCKETS_LEAVE, data: { opts: encodeOptions(opts), rooms } })
    }
    Adapter.prototype.delSockets.call(this, opts, rooms)
  }

  disconnectSockets(opts, close) {
    if (!opts.flags?.local) {
      this.publish({ type: Type.DISCONNECT_SOCKETS, data: { opts: encodeOptions(opts), close } })
    }
    Adapter.prototype.disconnectSockets.call(this, opts, close)
  }

  // ---- Requests ----

  broadcastWithAck(packet, opts, clientCountCallback, ack) {
    if (!opts.flags?.local) {
      const requestId = newTag()
      const servers = new Set(this.nodesMap.keys())
      this.ackRequests.set(requestId, { clientCountCallback, ack, servers, missing: new Set(servers) })
      // The adapter does not learn when the last client has acknowledged, so the request just
      // expires.
      setTimeout(() => this.ackRequests.delete(requestId), opts.flags?.timeout).unref()
      this.publish({
        type: Type.BROADCAST,
        data: { packet, requestId, opts: encodeOptions(opts) }
      })
    }
    Adapter.prototype.broadcastWithAck.call(this, packet, opts, clientCountCallback, ack)
  }

  /**
   * Filters responses: socket.io expects them from the servers that were known when it asked, and a
   * server that came since would upset its count.
   */
  onResponse(response) {
    const { type, uid, data } = response
    if (type === Type.BROADCAST_CLIENT_COUNT || type === Type.BROADCAST_ACK) {
      const request = this.ackRequests.get(data.requestId)
      if (!request?.servers.has(uid)) return
      if (type === Type.BROADCAST_CLIENT_COUNT && !request.missing.delete(uid)) return
    }
    super.onResponse(response)
  }

  fetchSockets(opts) {
    const flags = { ...opts.flags, timeout: opts.flags?.timeout ?? this.requestTimeout }
    return super.fetchSockets({ ...opts, flags })
  }

  async serverSideEmit(packet) {
    const ack = packet.at(-1)
    if (typeof ack !== 'function') return super.serverSideEmit(packet)
    const missingUids = new Set(this.nodesMap.keys())
    if (missingUids.size === 0) return ack(null, [])
    const requestId = newTag()
    const request = {
      type: Type.SERVER_SIDE_EMIT,
      resolve: ack,
      missingUids,
      responses: [],
      timeout: undefined
    }
    request.timeout = setTimeout(() => {
      this.customRequests.delete(requestId)
      ack(new Error(`timeout reached: missing ${missingUids.size} responses`), request.responses)
    }, this.requestTimeout)
    this.customRequests.set(requestId, request)
    this.publish({
      type: Type.SERVER_SIDE_EMIT,
      data: { requestId, packet: packet.slice(0, -1) }
    })
  }

  // ---- Connection state recovery (see recovery.js) ----

  /** Keeps a broadcast and delivers it, in one step. */
  #deliver(uid, number, opts, content, size, deliver) {
    const position = this.recovery.append(uid, number, opts, content, size)
    this.delivering = position
    try {
      deliver(writeOffset(this.tag, position))
    } finally {
      this.delivering = 0
    }
  }

  /** Calls back for each socket that matches. Notes which broadcast was written to it last. */
  apply(opts, callback) {
    const position = this.delivering
    if (!position) return super.apply(opts, callback)
    this.delivering = 0
    const { clients } = this.recovery
    super.apply(opts, (socket) => {
      const client = clients.get(socket.id)
      if (client) client.last = position
      callback(socket)
    })
  }

  addAll(sid, rooms) {
    super.addAll(sid, rooms)
    if (!this.recovery) return
    const socket = this.nsp.sockets.get(sid)
    if (!socket) return
    if (this.recovery.clients.has(sid)) this.recovery.joined(sid, rooms)
    else this.#socketConnected(socket)
  }

  /** Called when a socket begins to receive events. Adds what it missed, if it is restored. */
  #socketConnected(socket) {
    const { id: sid } = socket
    const plan = this.restoring.get(sid)
    this.restoring.delete(sid)
    const missed = plan && this.recovery.missed(plan)
    if (plan && !missed) this.#startAfresh(socket)
    const client = this.recovery.connected(sid, socket.pid, this.socketRooms(sid))
    if (!missed) return
    client.offset = plan.offset
    client.replayed = missed.map(([position]) => position)
    client.last = client.replayed.at(-1) ?? 0
    // The missed events go behind the packet "connected", which comes next. A client queues what it
    // gets before that packet, and would get it twice if the connection broke again.
    const { packet } = socket
    socket.packet = (...connected) => {
      socket.packet = packet
      socket.packet(...connected)
      for (const [position, data] of missed) {
        data.push(writeOffset(this.tag, position))
        socket.packet({ type: EVENT, data })
      }
    }
  }

  /** Makes a fresh session: what the client missed has left the log while a middleware waited. */
  #startAfresh(socket) {
    this.sessions.warnTooOld()
    super.delAll(socket.id)
    super.addAll(socket.id, new Set([socket.id]))
    socket.pid = newTag() + newTag()
    socket.data = {}
    socket.recovered = false
  }

  del(sid, room) {
    super.del(sid, room)
    this.recovery?.left(sid, room)
  }

  delAll(sid) {
    super.delAll(sid)
    if (!this.recovery) return
    this.recovery.disconnected(sid)
    // The client left before it was connected, and may come back again.
    const plan = this.restoring.get(sid)
    if (plan) {
      this.restoring.delete(sid)
      this.recovery.keepPlan(plan)
    }
  }

  persistSession(session) {
    if (!this.closed) this.recovery?.persist(session)
  }

  /** Finds the session of a client that comes back, here or at another server. */
  async restoreSession(pid, offset) {
    const plan = await this.sessions?.restore(pid, offset)
    if (!plan) return null
    // `#socketConnected` adds the missed packets: there may be more of them by then.
    const { sid, rooms, data } = plan
    this.restoring.set(sid, plan)
    return { sid, pid, rooms, data, missedPackets: [] }
  }
}

function isHeartbeat({ type }) {
  return type === Type.HEARTBEAT || type === Type.INITIAL_HEARTBEAT
}

/**
 * Returns whether a message is a broadcast that clients get again after a recovery. socket.io
 * itself keeps no others.
 */
function isRecoverable({ type, data }) {
  return (
    type === Type.BROADCAST
    && data.requestId === undefined
    && data.packet.type === EVENT
    && data.packet.id === undefined
    && data.opts.flags?.volatile === undefined
  )
}

function encodeOptions({ rooms, except, flags }) {
  return { rooms: [...rooms], except: [...(except ?? [])], flags }
}

module.exports = { SmokesignalAdapter }
