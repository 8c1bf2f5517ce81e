'use strict'
/**
 * The exchange of sessions between servers, for clients that come back to another server than the
 * one whose connection broke (see recovery.js).
 *
 * The server where a client comes back asks the server that issued its offset. That one answers
 * with the restore plan, or with the server that the client has moved to since, which is asked
 * next. A server that is closed publishes the sessions of its absent clients instead, and the first
 * server that restores one of those makes the others forget it.
 */
const { Type, encodePublished, offsetTag, readOffset, tagOf, writeOffset } = require('./wire')

/** How long a client that comes back waits for its session at most, in ms. */
const RESTORE_MS = 2000
/**
 * How long a server that has just started waits to get to know the one that issued an offset, in
 * ms.
 */
const GREET_MS = 500
/** Servers that are asked for one session, from the one that issued the offset on. */
const MAX_MOVES = 8
/** Bytes that a closing server publishes about the sessions of one namespace. The oldest lose. */
const HANDOVER_BYTES = 4 << 20

const TOO_OLD = 'a client missed more than is kept here, and gets a fresh session'

class Sessions {
  /**
   * @param adapter the adapter whose clients these are
   * @param recovery its Recovery
   */
  constructor(adapter, recovery) {
    this.adapter = adapter
    this.recovery = recovery
    this.startedAt = Date.now()
    /** Requests to other servers: `{ uid, finish }` by their id. */
    this.requests = new Map()
    this.lastRequest = 0
  }

  /**
   * Returns the plan to restore the session of a client that came back, or `null`. It is ready: the
   * log has everything that the client missed.
   */
  async restore(pid, offset) {
    const deadline = Date.now() + Math.min(RESTORE_MS, this.adapter.requestTimeout)
    const plan = this.recovery.has(pid)
      ? await this.#takeOwn(pid, offset, deadline)
      : await this.#takeFromOthers(pid, offset, deadline)
    if (!plan) return null
    if (plan.handedOver) this.adapter.publish({ type: Type.TAKEN, data: { pid } })
    if (await this.recovery.ready(plan, deadline)) return plan
    this.warnTooOld()
    return null
  }

  /** Takes a session of this server. A connection that the client still has is closed. */
  async #takeOwn(pid, offset, deadline) {
    const sid = this.recovery.sids.get(pid)
    const socket = sid !== undefined && this.adapter.nsp.sockets.get(sid)
    if (socket) await disconnected(socket, deadline)
    const plan = this.recovery.take(pid, offset, readOffset(this.adapter.tag, offset))
    if (plan === null) this.warnTooOld()
    return plan ?? null
  }

  /** Asks the server that issued the offset, and then those that the client has moved to since. */
  async #takeFromOthers(pid, offset, deadline) {
    let uid = this.recovery.moved.get(pid)?.uid ?? (await this.#issuerOf(offset, deadline))
    for (let moves = 0; uid !== undefined && moves < MAX_MOVES; moves++) {
      const response = await this.#request(uid, { pid, offset }, deadline)
      if (response?.session) {
        const { age, ...plan } = response.session
        return { ...plan, pid, offset, at: Date.now() - age }
      }
      uid = response?.moved
    }
    return null
  }

  /**
   * Returns the server that issued an offset. A server that has just started waits to hear of it.
   */
  async #issuerOf(offset, deadline) {
    const tag = offsetTag(offset)
    const find = () => [...this.adapter.nodesMap.keys()].find((uid) => tagOf(uid) === tag)
    const latest = Math.min(deadline, this.startedAt + GREET_MS)
    if (find() || latest <= Date.now()) return find()
    return new Promise((resolve) => {
      const finish = () => {
        clearTimeout(timer)
        this.recovery.waiting.delete(again)
        resolve(find())
      }
      const again = () => {
        if (find()) finish()
      }
      const timer = setTimeout(finish, latest - Date.now())
      this.recovery.waiting.add(again)
    })
  }

  /** Asks one server. Resolves to its response, or to `undefined` after the deadline. */
  #request(uid, data, deadline) {
    if (!this.adapter.nodesMap.has(uid)) return undefined
    const requestId = `${++this.lastRequest}`
    return new Promise((resolve) => {
      const finish = (response) => {
        clearTimeout(timer)
        this.requests.delete(requestId)
        resolve(response)
      }
      const timer = setTimeout(finish, Math.max(0, deadline - Date.now()))
      this.requests.set(requestId, { uid, finish })
      this.adapter.sendDirect(uid, { type: Type.RESTORE, data: { ...data, requestId } })
    })
  }

  /** Handles the request of another server. */
  async onRequest(uid, { requestId, pid, offset }) {
    const response = { requestId }
    if (this.recovery.has(pid)) {
      const plan = await this.#takeOwn(pid, offset, Date.now() + RESTORE_MS).catch(() => null)
      if (plan) {
        response.session = withAge(plan)
        this.recovery.movedTo(pid, uid)
      }
    } else {
      const moved = this.recovery.moved.get(pid)?.uid
      if (moved !== uid) response.moved = moved
    }
    this.adapter.sendDirect(uid, { type: Type.RESTORE_RESPONSE, data: response })
  }

  /** Handles the response of another server. */
  onResponse(uid, response) {
    const request = this.requests.get(response.requestId)
    if (request?.uid === uid) request.finish(response)
  }

  /** Publishes the sessions of absent clients, because this server is closing. */
  handOver() {
    const { adapter } = this
    if (adapter.nodesMap.size === 0) return
    let plans = this.recovery.handOver((position) => writeOffset(adapter.tag, position))
    // Halves the number, oldest sessions first, until the message is small enough.
    for (; plans.length > 0; plans = plans.slice(0, plans.length >> 1)) {
      const message = { type: Type.SESSIONS, nsp: adapter.nsp.name, data: { groups: grouped(plans) } }
      try {
        if (encodePublished(adapter.tag, 0, message).bytes.length > HANDOVER_BYTES) continue
      } catch (error) {
        adapter.bus.warn('sessions', `socket.io: sessions cannot be handed over: ${error.message}`)
        return
      }
      adapter.publish(message)
      return
    }
  }

  /** Keeps the sessions that a closing server has published. */
  takeOver({ groups }) {
    for (const { seen, gone, sessions } of groups) {
      for (const { age, ...session } of sessions) {
        this.recovery.keepPlan({
          ...session,
          seen,
          gone,
          resend: new Map(),
          at: Date.now() - age,
          handedOver: true
        })
      }
    }
  }

  warnTooOld() {
    this.adapter.bus.warn('refused', `socket.io: ${TOO_OLD}`)
  }
}

/** Closes the connection of a client that came back before the break was noticed. */
function disconnected(socket, deadline) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, Math.max(0, deadline - Date.now()))
    socket.once('disconnect', () => {
      clearTimeout(timer)
      resolve()
    })
    socket.conn.close(true)
  })
}

/** Groups plans by what was seen, which clients that left together share. */
function grouped(plans) {
  const groups = new Map()
  for (const plan of plans) {
    const { seen, gone, resend: _, ...session } = withAge(plan)
    if (plan.resend.size > 0) continue
    if (!groups.has(seen)) groups.set(seen, { seen, gone, sessions: [] })
    groups.get(seen).sessions.push(session)
  }
  return [...groups.values()]
}

/** Replaces the time of a plan by its age in ms, because the clock of another server may differ. */
function withAge({ at, handedOver: _, ...plan }) {
  return { ...plan, age: Math.max(0, Date.now() - at) }
}

module.exports = { Sessions }
