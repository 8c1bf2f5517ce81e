'use strict'
/**
 * Connection state recovery: what a server keeps so that a client whose connection broke can go on,
 * here or at another server, without losing or repeating an event.
 *
 * Every server sees the messages of each writer in order, but those of several writers in an order
 * of its own. Recovery follows from that:
 *
 * - Each server keeps a log of the broadcasts it saw, in its own order. A position in this log,
 *   with the tag of the server, is the offset that its clients get as the last argument of each
 *   event.
 * - When a connection breaks, the server that had it keeps the session: rooms, data, and how far it
 *   had seen each writer (`seen`).
 * - The client comes back with the last offset it got. Only the server that issued this offset
 *   knows what it stands for. It looks up what it wrote to the client after it, which was lost on
 *   the way (`resend`), and hands session and `resend` over as a restore plan.
 * - The server where the client came back takes from its own log what is in `resend`, and what each
 *   writer published beyond `seen` for these rooms. It has all of that, because it sees each writer
 *   in order, too. If it is behind, it waits; if something is missing, the client gets a fresh
 *   session.
 * - A server that is closed hands the sessions of its absent clients over to all others, as far as
 *   these clients got everything it wrote to them. The first server that restores such a session
 *   informs the others.
 * - A server looks up what a client missed in the same step in which the client begins to receive
 *   events. Nothing falls between the two and nothing comes twice, however long a middleware took.
 *
 * A "writer" is the adapter of one namespace on one server, this one included. This file is the
 * state and the bookkeeping; sessions.js is the exchange between servers.
 */
const { BroadcastLog } = require('./broadcast-log')
const { NumberedQueue } = require('../queue')
const { readContent } = require('./wire')

/** Sessions, and notes of clients that moved, kept per namespace. The oldest goes first. */
const MAX_SESSIONS = 1 << 16
/**
 * Old entries are removed with each heartbeat. A server that publishes without a pause sends none,
 * and removes them after this many broadcasts.
 */
const EXPIRE_EVERY = 1024
/** Changes of rooms that are remembered per client. The older half goes first. */
const MAX_CHANGES = 256

class Recovery {
  /**
   * @param {string} uid the uid of this server
   * @param {number} duration how long sessions and broadcasts are kept, in ms
   */
  constructor(uid, duration) {
    this.duration = duration
    this.log = new BroadcastLog(duration)
    /** How far each writer was seen, by its uid. */
    this.writers = new Map()
    this.own = this.#writer(uid, 0, 1)
    /** Connected clients: what was written to each, by its sid. */
    this.clients = new Map()
    /** Connected clients: sid by pid. */
    this.sids = new Map()
    /** Absent clients: session by pid. */
    this.sessions = new Map()
    /** Clients that moved to another server: its uid, by pid. */
    this.moved = new Map()
    /** Called when a writer was seen further. */
    this.waiting = new Set()
    /** The result of `#seen`, until a writer advances. */
    this.snapshot = undefined
  }

  // ---- What was published ----

  /** Notes that this server published its message `number`. */
  published(number) {
    this.snapshot = undefined
    this.own.last = number
  }

  /**
   * Notes that message `number` of a writer arrived. Returns false for a message that was seen
   * before.
   *
   * @param {boolean} heartbeat whether the message only says that `number` was the writer's last
   *   one
   */
  received(uid, number, heartbeat) {
    const writer = this.writers.get(uid)
    if (writer === undefined) {
      // A new writer. Its earlier messages are not expected here.
      this.#writer(uid, number, heartbeat ? number + 1 : number)
    } else {
      const next = heartbeat ? number : number - 1
      if (next < writer.last) return heartbeat
      if (next > writer.last) {
        writer.from = heartbeat ? number + 1 : number
        this.log.markGap()
      }
      writer.last = number
      writer.doubtful = false
      writer.goneAt = undefined
    }
    this.snapshot = undefined
    return true
  }

  /** Notifies those that wait for a writer. Called after a message was received and kept. */
  advanced() {
    if (this.waiting.size > 0) for (const again of [...this.waiting]) again()
  }

  /** Notes that messages of a writer may be lost. Its next message shows whether they are. */
  messagesLost(uid) {
    const writer = this.writers.get(uid)
    if (writer) writer.doubtful = true
  }

  /**
   * Notes that a writer left. It may only be unreachable, so what is known of it stays for a while.
   */
  writerLeft(uid) {
    const writer = this.writers.get(uid)
    if (writer) writer.goneAt = Date.now()
    this.snapshot = undefined
  }

  /**
   * Keeps a broadcast and returns its position.
   *
   * @param {string} uid the writer's uid
   * @param {Buffer} bytes the encoded arguments
   * @param {number} size how many bytes stay in memory with them
   */
  append(uid, number, opts, bytes, size) {
    if (this.log.end % EXPIRE_EVERY === 0) this.expire()
    const writer = this.writers.get(uid)
    const { rooms, except } = opts
    return this.log.append({ writer, number, rooms, except, bytes, size })
  }

  /** Adds a writer. */
  #writer(uid, last, from) {
    const writer = {
      uid,
      /** The number of the last message seen. */
      last,
      /** Every message from this number on was seen. */
      from,
      /** Whether messages may be lost. */
      doubtful: false,
      goneAt: undefined,
      /** Its entries in the log, and the last number that has left the log. */
      entries: new NumberedQueue(),
      evicted: 0
    }
    this.writers.set(uid, writer)
    return writer
  }

  // ---- Connected clients ----

  /** Notes that a client is connected from now on, in these rooms. */
  connected(sid, pid, rooms) {
    const client = {
      pid,
      /** It receives what comes after this position. */
      since: this.log.end,
      /** The last position that was written to it. */
      last: 0,
      /** Positions up to `since` that were written to it when it came back. */
      replayed: [],
      /** The offset that it came back with. */
      offset: undefined,
      rooms: new Set(),
      /** When it joined and left rooms: `{ after, room, joined }`, in order of the position. */
      changes: [],
      /** Changes up to this position are forgotten. */
      changesFrom: 0
    }
    for (const room of rooms) client.rooms.add(room)
    this.clients.set(sid, client)
    this.sids.set(pid, sid)
    this.moved.delete(pid)
    return client
  }

  /** Notes that a client joined rooms. */
  joined(sid, rooms) {
    const client = this.clients.get(sid)
    if (!client) return
    for (const room of rooms) {
      if (client.rooms.has(room)) continue
      client.rooms.add(room)
      this.#changed(client, room, true)
    }
  }

  /** Notes that a client left a room. */
  left(sid, room) {
    const client = this.clients.get(sid)
    if (client?.rooms.delete(room)) this.#changed(client, room, false)
  }

  #changed(client, room, joined) {
    client.changes.push({ after: this.log.end, room, joined })
    if (client.changes.length > MAX_CHANGES) {
      const forgotten = client.changes.splice(0, MAX_CHANGES / 2)
      client.changesFrom = forgotten.at(-1).after
    }
  }

  /** Forgets a connected client. */
  disconnected(sid) {
    const client = this.clients.get(sid)
    if (!client) return
    this.clients.delete(sid)
    if (this.sids.get(client.pid) === sid) this.sids.delete(client.pid)
  }

  // ---- Sessions ----

  /** Keeps the session of a client whose connection has just broken. */
  persist(session) {
    const client = this.clients.get(session.sid)
    if (!client) return
    this.#keep({
      ...session,
      client,
      end: this.log.end,
      ...this.#seen(),
      at: Date.now()
    })
  }

  /**
   * Keeps a restore plan in place of a session: the client left before it was connected here, or
   * its server was closed and handed the session over.
   */
  keepPlan(plan) {
    if (!this.sids.has(plan.pid)) this.#keep({ sid: plan.sid, pid: plan.pid, plan, at: plan.at })
  }

  /**
   * Returns restore plans for absent clients, the newest first, on the assumption that they got
   * everything that was written to them.
   *
   * @param {function} offsetOf returns the offset of a position
   */
  handOver(offsetOf) {
    const plans = []
    for (const session of this.sessions.values()) {
      if (session.plan) {
        plans.push(session.plan)
        continue
      }
      const { client, sid, pid, rooms, data, seen, gone, at } = session
      const offset = client.last > 0 ? offsetOf(client.last) : client.offset
      if (offset !== undefined) {
        plans.push({ sid, pid, rooms, data, seen, gone, resend: new Map(), offset, at })
      }
    }
    return plans.reverse()
  }

  #keep(session) {
    this.moved.delete(session.pid)
    this.sessions.delete(session.pid)
    this.sessions.set(session.pid, session)
    trim(this.sessions)
  }

  /** Returns whether the session of this client is here, or the client itself. */
  has(pid) {
    return this.sessions.has(pid) || this.sids.has(pid)
  }

  /**
   * Removes a session, and returns the plan to restore it for a client that has everything up to
   * `offset`. Returns `undefined` if there is no session, and `null` if what the client missed is
   * no longer known.
   *
   * @param {string} pid
   * @param {string} offset the client's last offset
   * @param {number | undefined} position what the offset stands for in this log
   */
  take(pid, offset, position) {
    const session = this.sessions.get(pid)
    this.sessions.delete(pid)
    if (!session || session.at + this.duration < Date.now()) return undefined
    if (session.plan) {
      return session.plan.offset === offset ? session.plan : null
    }
    const { client } = session
    // A client that got nothing since it came back here still has the offset of the previous
    // server.
    if (offset === client.offset) position = 0
    if (position === undefined || position > session.end) return null
    const resend = this.#resend(session, position)
    if (!resend) return null
    const { sid, rooms, data, seen, gone, at } = session
    return { sid, pid, rooms, data, seen, gone, resend, offset, at }
  }

  /** Returns what was written to a client after `position`: the numbers of messages, by writer. */
  #resend(session, position) {
    const { client, end, rooms } = session
    const resend = new Map()
    if (position >= client.last) return resend
    const add = ({ writer, number }) => {
      const numbers = resend.get(writer.uid)
      if (numbers) numbers.push(number)
      else resend.set(writer.uid, [number])
    }
    for (const replayed of client.replayed) {
      if (replayed <= position) continue
      const entry = this.log.at(replayed)
      if (!entry) return null
      add(entry)
    }
    // Walks back from the end, and undoes the changes of rooms on the way.
    const start = Math.max(position, client.since)
    if (start < client.changesFrom || start + 1 < this.log.first) return null
    const current = new Set(rooms)
    let change = client.changes.length - 1
    for (let at = end; at > start; at--) {
      for (; change >= 0 && client.changes[change].after >= at; change--) {
        const { room, joined } = client.changes[change]
        if (joined) current.delete(room)
        else current.add(room)
      }
      const entry = this.log.at(at)
      if (!entry.writer) return null
      if (concerns(entry, current)) add(entry)
    }
    return resend
  }

  /**
   * Returns how far each writer was seen, and which of them have left. Clients whose connections
   * break together share one result.
   */
  #seen() {
    if (!this.snapshot) {
      const seen = new Map()
      const gone = new Set()
      for (const { uid, last, goneAt } of this.writers.values()) {
        seen.set(uid, last)
        if (goneAt !== undefined) gone.add(uid)
      }
      this.snapshot = { seen, gone }
    }
    return this.snapshot
  }

  /**
   * Returns whether this log has everything that a plan needs: 'ready', 'behind' if something may
   * still arrive, 'lost' if it will not.
   */
  check(plan) {
    let behind = false
    for (const [uid, number] of plan.seen) {
      const writer = this.writers.get(uid)
      // A writer that had left before the client publishes nothing more.
      if (!writer && plan.gone.has(uid)) continue
      if (!writer || writer.doubtful || writer.last < number) behind = true
      else if (writer.from > number + 1 || writer.evicted > number) return 'lost'
    }
    for (const [uid, numbers] of plan.resend) {
      const writer = this.writers.get(uid)
      for (const number of numbers) {
        if (!writer || writer.last < number) behind = true
        else if (!writer.entries.find(number)) return 'lost'
      }
    }
    for (const writer of this.writers.values()) {
      if (plan.seen.has(writer.uid)) continue
      // A writer that the other server did not know: it came later, or had left before.
      if (writer.goneAt !== undefined && writer.goneAt < plan.at) continue
      if (writer.from > 1 || writer.evicted > 0) return 'lost'
    }
    return behind ? 'behind' : 'ready'
  }

  /** Waits until this log has everything that a plan needs. Resolves to whether it has. */
  ready(plan, deadline) {
    const state = this.check(plan)
    if (state !== 'behind') return Promise.resolve(state === 'ready')
    return new Promise((resolve) => {
      const finish = (ready) => {
        clearTimeout(timer)
        this.waiting.delete(again)
        resolve(ready)
      }
      const again = () => {
        const now = this.check(plan)
        if (now !== 'behind') finish(now === 'ready')
      }
      const timer = setTimeout(finish, Math.max(0, deadline - Date.now()), false)
      this.waiting.add(again)
    })
  }

  /**
   * Returns the broadcasts that a client has missed, in the order of this log, as `[position,
   * arguments]`. Returns `null` if the log does not have them all.
   */
  missed(plan) {
    if (this.check(plan) !== 'ready') return null
    const entries = []
    const rooms = new Set(plan.rooms)
    for (const writer of this.writers.values()) {
      const resend = new Set(plan.resend.get(writer.uid))
      for (const number of resend) entries.push(writer.entries.find(number))
      const seen = plan.seen.get(writer.uid)
      if (seen === undefined && writer.goneAt < plan.at) continue
      for (const entry of writer.entries.after(seen ?? 0)) {
        if (!resend.has(entry.number) && concerns(entry, rooms)) entries.push(entry)
      }
    }
    entries.sort((a, b) => a.position - b.position)
    return entries.map(({ position, bytes }) => [position, readContent(bytes)])
  }

  /** Removes everything that is older than `duration`. */
  expire() {
    const now = Date.now()
    this.log.expire(now)
    for (const [pid, { at }] of this.sessions) {
      if (at + this.duration >= now) break
      this.sessions.delete(pid)
    }
    for (const [pid, { at }] of this.moved) {
      if (at + this.duration >= now) break
      this.moved.delete(pid)
    }
    for (const [uid, { goneAt }] of this.writers) {
      if (goneAt + this.duration < now) this.writers.delete(uid)
    }
    for (const client of this.clients.values()) {
      if (client.replayed.length > 0 && client.replayed.at(-1) < this.log.first) {
        client.replayed = []
      }
    }
  }

  /**
   * Notes that a client is at another server now. Its session may have been handed over to this
   * one.
   */
  movedTo(pid, uid) {
    this.sessions.delete(pid)
    this.moved.delete(pid)
    this.moved.set(pid, { uid, at: Date.now() })
    trim(this.moved)
  }
}

/** Returns whether a client in these rooms receives a broadcast. */
function concerns({ rooms, except }, current) {
  return (
    (rooms.length === 0 || rooms.some((room) => current.has(room)))
    && !except.some((room) => current.has(room))
  )
}

/** Removes the oldest item of a map that has too many. */
function trim(map) {
  if (map.size > MAX_SESSIONS) map.delete(map.keys().next().value)
}

module.exports = { Recovery }
