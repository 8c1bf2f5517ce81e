'use strict'

// The adapter of one namespace of one `io` object.
//
// socket.io-adapter knows what servers have to tell one another: it calls
// `doPublish` and `doPublishResponse`, and is called with `onMessage` and
// `onResponse`. Here is what it leaves open: recovery of broken connections,
// what a server does to its own clients (at once, as without an adapter), and
// timeouts that can be chosen.

const adapters = require('socket.io-adapter')
const { coded } = require('../errors')
const { Hub } = require('./hub')
const { Recovery } = require('./recovery')
const {
  Type, newTag, tagOf, nodeOf, uidOf,
  encodePublished, encodeDirect, readPublished, readDirect,
} = require('./wire')

const { Adapter, ClusterAdapterWithHeartbeat } = adapters

/** How long a client that comes back may wait for its session. */
const RESTORE_MS = 2000
/** How long a server that has just started may not know yet who gave out an offset. */
const GREET_MS = 500
/** Servers between the one that gave out an offset and the one that has the session. */
const MAX_MOVES = 8
/** What a server that leaves tells the others about its clients, in a namespace. */
const HANDOVER_BYTES = 4 << 20
/** Servers that one node may have in this namespace, and all nodes together. */
const MAX_SERVERS_PER_NODE = 64
const MAX_SERVERS = 4096
/** `PacketType.EVENT` of socket.io-parser. */
const EVENT = 2

const REFUSED = 'a client missed more than is kept here, and gets a fresh session'

class SmokesignalAdapter extends ClusterAdapterWithHeartbeat {
  constructor(nsp, node, options) {
    super(nsp, options)
    this.hub = Hub.of(node)
    this.tag = newTag()
    this.uid = uidOf(this.hub.id, this.tag)
    this.requestTimeout = options.requestTimeout
    /** Publishes that did not reach the other servers. */
    this.dropped = 0
    this.closed = false
    this.beating = false
    this.number = 0
    const { connectionStateRecovery } = nsp.server.opts
    if (connectionStateRecovery) {
      this.recovery = new Recovery(this.uid, connectionStateRecovery.maxDisconnectionDuration)
      this.startedAt = Date.now()
      /** Sessions whose clients are about to be connected: sid to plan. */
      this.restoring = new Map()
      /** Questions for sessions: id to what takes the answer. */
      this.questions = new Map()
      this.questionCount = 0
      /** The position of the broadcast that is being delivered. */
      this.delivering = 0
    }
  }

  init() {
    this.hub.add(this)
    super.init()
  }

  /** Leaves: the other servers know at once. Resolves when they were told. */
  async close() {
    if (this.closed) return
    this.#handOver()
    super.close()
    this.closed = true
    // Requests are answered with what there is.
    for (const uid of [...this.nodesMap.keys()]) this.removeNode(uid)
    await this.hub.remove(this)
  }

  // ---- What this server sends ----

  /** Called by the hub when there are servers that have not heard of this one. */
  announce() {
    this.publish({ type: Type.INITIAL_HEARTBEAT })
  }

  publish(message) {
    if (!this.closed) super.publish(message)
  }

  /** Publishes to the other servers. Resolves at once, whatever becomes of it. */
  doPublish(message) {
    this.#publish(message)
    return Promise.resolve('')
  }

  #publish(message) {
    const heartbeat = message.type === Type.HEARTBEAT
    if (isBeat(message)) {
      this.recovery?.expire()
      // Many who ask at once get one answer.
      if (heartbeat && this.beating) return undefined
      this.beating = true
      setImmediate(() => { this.beating = false })
    } else {
      this.number++
      this.recovery?.published(this.number)
    }
    let frame
    let problem
    try {
      frame = encodePublished(this.tag, this.number, message)
      problem = this.hub.publish(this, frame.bytes, heartbeat)
    } catch (error) {
      problem = error
    }
    if (problem) this.dropping(problem)
    return frame
  }

  /** Counts a publish that the other servers do not get, and says so. */
  dropping(cause) {
    this.dropped++
    const error = coded(new Error(
      `A publish is dropped for the other servers: ${cause.message}. Publish less at a time, or smaller messages; where no other server is reached, look at the seeds of the node.`,
      { cause }), 'SOCKET_IO_DROPPED')
    this.hub.complain('dropped', `socket.io: ${error.message}`)
    process.nextTick(() => {
      if (this.listenerCount('error') > 0) this.emit('error', error)
    })
  }

  doPublishResponse(uid, response) {
    this.#send(uid, response)
    return Promise.resolve()
  }

  #send(uid, message) {
    if (this.closed) return
    message.nsp = this.nsp.name
    let problem
    try {
      problem = this.hub.send(uid, encodeDirect(this.tag, tagOf(uid), message))
    } catch (error) {
      problem = error
    }
    if (problem) this.hub.complain('answer', `socket.io: an answer is dropped: ${problem.message}`)
  }

  // ---- What comes from other servers ----

  /** Called by the hub with what another server published. */
  receive(uid, frame, bytes) {
    if (this.closed || uid === this.uid || !this.#admits(uid)) return
    const message = readPublished(frame, uid)
    if (!this.recovery) return this.#handle(message)
    if (!this.recovery.saw(uid, frame.number, isBeat(message))) return
    if (isKept(message)) {
      // A part of a larger buffer: kept alone, it does not hold the rest.
      const content = Buffer.from(bytes.subarray(message.content))
      this.#deliver(uid, frame.number, message.data.opts, content, content.length,
        (offset) => this.#handle(message, offset))
    } else {
      this.#handle(message)
    }
    this.recovery.advanced()
  }

  #handle(message, offset) {
    if (message.type !== Type.BROADCAST) {
      if (message.type === Type.SESSIONS) this.#takeOver(message.data)
      else if (message.type === Type.TAKEN) this.recovery?.wentTo(message.data.pid, message.uid)
      return this.onMessage(message, offset)
    }
    try {
      this.onMessage(message, offset)
    } catch (error) {
      // A value that the parser cannot write, such as a big integer in JSON.
      this.hub.complain('broadcast', `socket.io: an event of another server cannot be sent to clients: ${error.message}`)
    }
  }

  /** Whether there is room for this server among those that are known. */
  #admits(uid) {
    if (this.nodesMap.has(uid)) return true
    const node = nodeOf(uid)
    let count = 0
    for (const known of this.nodesMap.keys()) if (nodeOf(known) === node) count++
    if (count < MAX_SERVERS_PER_NODE && this.nodesMap.size < MAX_SERVERS) return true
    this.hub.complain('servers', `socket.io: too many servers in ${this.nsp.name}; one of node ${node} is ignored`)
    return false
  }

  /** Called by the hub with what another server sent to this one alone. */
  receiveDirect(uid, frame) {
    if (this.closed) return
    const message = readDirect(frame, uid)
    if (message.type === Type.RESTORE) this.#answerRestore(uid, message.data)
    else if (message.type === Type.RESTORE_RESPONSE) this.#restoreAnswered(uid, message.data)
    else this.onResponse(message)
  }

  /** Called by the hub when messages of a node may be lost. */
  doubt(node) {
    if (!this.recovery) return
    for (const uid of this.nodesMap.keys()) {
      if (nodeOf(uid) === node) this.recovery.doubt(uid)
    }
  }

  removeNode(uid) {
    super.removeNode(uid)
    // It will not say any more how many clients it has.
    for (const { missing, clientCountCallback } of this.ackRequests.values()) {
      if (missing.delete(uid)) clientCountCallback(0)
    }
    this.recovery?.gone(uid)
  }

  // ---- What a server does to its own clients, it does at once ----

  broadcast(packet, opts) {
    if (opts.flags?.local) return Adapter.prototype.broadcast.call(this, packet, opts)
    const message = {
      type: Type.BROADCAST, data: { packet, opts: encodeOptions(opts) },
    }
    const frame = this.#tell(message)
    if (!frame || !this.recovery || !isKept(message)) {
      return Adapter.prototype.broadcast.call(this, packet, opts)
    }
    const content = frame.bytes.subarray(frame.content)
    this.#deliver(this.uid, this.number, message.data.opts, content, frame.bytes.length, (offset) => {
      packet.data.push(offset)
      Adapter.prototype.broadcast.call(this, packet, opts)
    })
  }

  /** Publishes, as `publish` does, and returns the frame. */
  #tell(message) {
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
      // Nobody knows here when the last client has answered.
      setTimeout(() => this.ackRequests.delete(requestId), opts.flags?.timeout).unref()
      this.publish({
        type: Type.BROADCAST, data: { packet, requestId, opts: encodeOptions(opts) },
      })
    }
    Adapter.prototype.broadcastWithAck.call(this, packet, opts, clientCountCallback, ack)
  }

  /** socket.io counts on as many servers as were known when it asked: one that came since would confuse it. */
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
      type: Type.SERVER_SIDE_EMIT, resolve: ack, missingUids, responses: [], timeout: undefined,
    }
    request.timeout = setTimeout(() => {
      this.customRequests.delete(requestId)
      ack(new Error(`timeout reached: missing ${missingUids.size} responses`), request.responses)
    }, this.requestTimeout)
    this.customRequests.set(requestId, request)
    this.publish({
      type: Type.SERVER_SIDE_EMIT, data: { requestId, packet: packet.slice(0, -1) },
    })
  }

  // ---- Recovery of connections that broke (see recovery.js) ----

  /** Keeps a broadcast and delivers it, in one step. */
  #deliver(uid, number, opts, content, size, deliver) {
    const position = this.recovery.append(uid, number, opts, content, size)
    this.delivering = position
    try {
      deliver(this.#offset(position))
    } finally {
      this.delivering = 0
    }
  }

  /** Notes for each client that gets a broadcast which one it was. */
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

  #offset(position) {
    return this.tag + position.toString(36)
  }

  /** Returns the position of an offset that this server gave out. */
  #position(offset) {
    if (!offset.startsWith(this.tag)) return undefined
    const position = parseInt(offset.slice(this.tag.length), 36)
    return position > 0 ? position : undefined
  }

  addAll(sid, rooms) {
    super.addAll(sid, rooms)
    if (!this.recovery) return
    const socket = this.nsp.sockets.get(sid)
    if (!socket) return
    if (this.recovery.clients.has(sid)) this.recovery.joined(sid, rooms)
    else this.#connected(socket)
  }

  /** Called when a socket is among those that get what arrives from now on. */
  #connected(socket) {
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
    // Behind the packet that says "connected", which comes next: what a client
    // gets before it waits there, and would come twice if the connection broke again.
    const { packet } = socket
    socket.packet = (...connected) => {
      socket.packet = packet
      socket.packet(...connected)
      for (const [position, data] of missed) {
        data.push(this.#offset(position))
        socket.packet({ type: EVENT, data })
      }
    }
  }

  /** What a client missed went out of the log while a middleware waited. */
  #startAfresh(socket) {
    this.#refused()
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
    // It went before it was connected, and may come again.
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
    if (!this.recovery) return null
    const deadline = Date.now() + Math.min(RESTORE_MS, this.requestTimeout)
    const plan = this.recovery.has(pid)
      ? await this.#take(pid, offset, deadline)
      : await this.#ask(pid, offset, deadline)
    if (!plan) return null
    if (plan.handedOver) this.publish({ type: Type.TAKEN, data: { pid } })
    if (!await this.recovery.ready(plan, deadline)) {
      this.#refused()
      return null
    }
    // Packets that it missed are added when it is connected: more may come until then.
    const { sid, rooms, data } = plan
    this.restoring.set(sid, plan)
    return { sid, pid, rooms, data, missedPackets: [] }
  }

  /** Takes a session that is here; a connection that it still has is given up. */
  async #take(pid, offset, deadline) {
    const sid = this.recovery.sids.get(pid)
    const socket = sid !== undefined && this.nsp.sockets.get(sid)
    if (socket) await this.#disconnect(socket, deadline)
    const plan = this.recovery.take(pid, offset, this.#position(offset))
    if (plan === null) this.#refused()
    return plan ?? null
  }

  /** The client is back before its old connection was noticed to be broken. */
  #disconnect(socket, deadline) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, Math.max(0, deadline - Date.now()))
      socket.once('disconnect', () => {
        clearTimeout(timer)
        resolve()
      })
      socket.conn.close(true)
    })
  }

  /** Asks the server that gave out the offset, and those that the client went to since. */
  async #ask(pid, offset, deadline) {
    let uid = this.recovery.moved.get(pid)?.uid ?? await this.#serverOf(offset, deadline)
    for (let moves = 0; uid !== undefined && moves < MAX_MOVES; moves++) {
      const answer = await this.#question(uid, { pid, offset }, deadline)
      if (answer?.session) {
        const { age, ...plan } = answer.session
        return { ...plan, pid, offset, at: Date.now() - age }
      }
      uid = answer?.moved
    }
    return null
  }

  /** Returns the server that gave out an offset. One that has just started waits to get to know it. */
  async #serverOf(offset, deadline) {
    const tag = offset.slice(0, this.tag.length)
    const find = () => [...this.nodesMap.keys()].find((uid) => tagOf(uid) === tag)
    const latest = Math.min(deadline, this.startedAt + GREET_MS)
    if (find() || latest <= Date.now()) return find()
    return new Promise((resolve) => {
      const finish = () => {
        clearTimeout(timer)
        this.recovery.waiting.delete(again)
        resolve(find())
      }
      const again = () => { if (find()) finish() }
      const timer = setTimeout(finish, latest - Date.now())
      this.recovery.waiting.add(again)
    })
  }

  #question(uid, data, deadline) {
    if (!this.nodesMap.has(uid)) return undefined
    const requestId = `${++this.questionCount}`
    return new Promise((resolve) => {
      const finish = (answer) => {
        clearTimeout(timer)
        this.questions.delete(requestId)
        resolve(answer)
      }
      const timer = setTimeout(finish, Math.max(0, deadline - Date.now()))
      this.questions.set(requestId, { uid, finish })
      this.#send(uid, { type: Type.RESTORE, data: { ...data, requestId } })
    })
  }

  async #answerRestore(uid, { requestId, pid, offset }) {
    if (!this.recovery) return
    const answer = { requestId }
    if (this.recovery.has(pid)) {
      const plan = await this.#take(pid, offset, Date.now() + RESTORE_MS).catch(() => null)
      if (plan) {
        answer.session = aged(plan)
        this.recovery.wentTo(pid, uid)
      }
    } else {
      const moved = this.recovery.moved.get(pid)?.uid
      if (moved !== uid) answer.moved = moved
    }
    this.#send(uid, { type: Type.RESTORE_RESPONSE, data: answer })
  }

  #restoreAnswered(uid, answer) {
    const question = this.questions.get(answer.requestId)
    if (question?.uid === uid) question.finish(answer)
  }

  /** Gives the sessions of clients that are away to the other servers; what is too much, the oldest lose. */
  #handOver() {
    if (!this.recovery || this.nodesMap.size === 0) return
    let plans = this.recovery.handOver((position) => this.#offset(position))
    for (; plans.length > 0; plans = plans.slice(0, plans.length >> 1)) {
      // Clients that went together share what was seen.
      const groups = new Map()
      for (const plan of plans) {
        const { seen, gone, resend: _, ...session } = aged(plan)
        if (plan.resend.size > 0) continue
        if (!groups.has(seen)) groups.set(seen, { seen, gone, sessions: [] })
        groups.get(seen).sessions.push(session)
      }
      const message = { type: Type.SESSIONS, nsp: this.nsp.name, data: { groups: [...groups.values()] } }
      try {
        if (encodePublished(this.tag, 0, message).bytes.length > HANDOVER_BYTES) continue
      } catch (error) {
        this.hub.complain('sessions', `socket.io: sessions cannot be handed over: ${error.message}`)
        return
      }
      this.publish(message)
      return
    }
  }

  #takeOver({ groups }) {
    if (!this.recovery) return
    for (const { seen, gone, sessions } of groups) {
      for (const { age, ...session } of sessions) {
        this.recovery.keepPlan({
          ...session, seen, gone, resend: new Map(), at: Date.now() - age, handedOver: true,
        })
      }
    }
  }

  #refused() {
    this.hub.complain('refused', `socket.io: ${REFUSED}`)
  }
}

/** A plan as it is told to another server, whose clock may be another. */
function aged({ at, handedOver: _, ...plan }) {
  return { ...plan, age: Math.max(0, Date.now() - at) }
}

function isBeat({ type }) {
  return type === Type.HEARTBEAT || type === Type.INITIAL_HEARTBEAT
}

/** Whether a message is a broadcast that clients may miss. socket.io keeps no others. */
function isKept({ type, data }) {
  return type === Type.BROADCAST
    && data.requestId === undefined
    && data.packet.type === EVENT
    && data.packet.id === undefined
    && data.opts.flags?.volatile === undefined
}

function encodeOptions({ rooms, except, flags }) {
  return { rooms: [...rooms], except: [...except ?? []], flags }
}

module.exports = { SmokesignalAdapter }
