'use strict'

// What a server keeps so that a client whose connection broke can go on, here
// or at another server, as if nothing had happened.
//
// Every server sees the messages of each writer in order, but those of several
// writers in an order of its own. So:
//
// - Each server keeps a log of the broadcasts it saw, in its own order. A
//   position in this log, with the tag of the server, is the offset that its
//   clients get as the last argument of each event.
// - When a connection breaks, the server that had it keeps the session: rooms,
//   data, and how far it had seen each writer (`seen`).
// - The client comes back with the last offset it got. Only the server that
//   gave out this offset knows what it stands for: it looks up what it wrote to
//   the client after it (`resend`: lost on the way), and hands the session over.
// - The server where the client came back takes from its own log what is in
//   `resend`, and what each writer published beyond `seen` for these rooms: it
//   has all of it, because it too sees each writer in order. Where it is behind
//   it waits a moment; where something is missing the client gets a fresh session.
// - A server that is closed hands its sessions over to all others, for clients
//   that got all it wrote to them; the first that restores one tells the others.
// - A server looks up what a client missed in the same step that puts the
//   client among those who get what arrives next. So nothing falls between the
//   two and nothing comes twice, however long a middleware took.
//
// "Writers" are the adapters of one namespace on all servers, this one included.

const { readContent } = require('./wire')

/** What the log of one namespace takes at most; the oldest goes first. */
const LOG_BYTES = 16 << 20
/** What an entry takes beside its bytes, about. */
const ENTRY_BYTES = 200
/** Sessions and forwarding notes kept per namespace; the oldest goes first. */
const MAX_SESSIONS = 1 << 16
/** A server that publishes without a pause looks after so many broadcasts what is too old; else with each heartbeat. */
const EXPIRE_EVERY = 1024
/** Changes of rooms that are remembered per client; the older half goes first. */
const MAX_CHANGES = 256

class Recovery {
  /**
   * @param {string} uid of this server
   * @param {number} duration milliseconds that all is kept for
   */
  constructor(uid, duration) {
    this.duration = duration
    this.log = new Log(duration)
    /** How far each writer was seen. */
    this.writers = new Map()
    this.own = this.#writer(uid, 0, 1)
    /** Clients that are connected: sid to what was written to it. */
    this.clients = new Map()
    /** Clients that are connected: pid to sid. */
    this.sids = new Map()
    /** Clients that are away: pid to session. */
    this.sessions = new Map()
    /** Clients that went to another server: pid to its uid. */
    this.moved = new Map()
    /** Called when a writer was seen further. */
    this.waiting = new Set()
    this.snapshot = undefined
  }

  // ---- What was published ----

  /** Notes that this server published its message `number`. */
  published(number) {
    this.snapshot = undefined
    this.own.last = number
  }

  /**
   * Notes that message `number` of a writer came in; `beat`: that the writer
   * said it stands at this number. Returns false for what was seen before.
   */
  saw(uid, number, beat) {
    const writer = this.writers.get(uid)
    if (writer === undefined) {
      // What it published before it was met is not missed here.
      this.#writer(uid, number, beat ? number + 1 : number)
    } else {
      const next = beat ? number : number - 1
      if (next < writer.last) return beat
      if (next > writer.last) {
        writer.from = beat ? number + 1 : number
        this.log.hole()
      }
      writer.last = number
      writer.doubtful = false
      writer.goneAt = undefined
    }
    this.snapshot = undefined
    return true
  }

  /** Says that a message was seen and kept. */
  advanced() {
    if (this.waiting.size > 0) for (const again of [...this.waiting]) again()
  }

  /** Notes that messages of a writer may be lost; its next one will tell. */
  doubt(uid) {
    const writer = this.writers.get(uid)
    if (writer) writer.doubtful = true
  }

  /** Notes that a writer left. It may only have been out of sight: what is known of it stays a while. */
  gone(uid) {
    const writer = this.writers.get(uid)
    if (writer) writer.goneAt = Date.now()
    this.snapshot = undefined
  }

  /**
   * Keeps a broadcast of `uid`, and returns its position. `bytes` are its
   * arguments; with them `size` bytes stay in memory.
   */
  append(uid, number, opts, bytes, size) {
    if (this.log.end % EXPIRE_EVERY === 0) this.expire()
    const writer = this.writers.get(uid)
    const { rooms, except } = opts
    return this.log.append({ writer, number, rooms, except, bytes, size: size + ENTRY_BYTES })
  }

  #writer(uid, last, from) {
    const writer = {
      uid,
      /** The number of the last message seen. */
      last,
      /** From this number on all were seen. */
      from,
      doubtful: false,
      goneAt: undefined,
      /** What the log holds of it, and the last number that it no longer holds. */
      entries: new Queue(),
      evicted: 0,
    }
    this.writers.set(uid, writer)
    return writer
  }

  // ---- Clients that are connected ----

  /** Notes that a client is connected from now on, in these rooms. */
  connected(sid, pid, rooms) {
    const client = {
      pid,
      /** Gets what is behind this position. */
      since: this.log.end,
      /** The last position that was written to it. */
      last: 0,
      /** Positions before `since` that were written to it when it came back. */
      replayed: [],
      /** The offset that it came back with. */
      offset: undefined,
      rooms: new Set(),
      changes: [],
      /** Changes before this position are forgotten. */
      changesFrom: 0,
    }
    for (const room of rooms) client.rooms.add(room)
    this.clients.set(sid, client)
    this.sids.set(pid, sid)
    this.moved.delete(pid)
    return client
  }

  joined(sid, rooms) {
    const client = this.clients.get(sid)
    if (!client) return
    for (const room of rooms) {
      if (client.rooms.has(room)) continue
      client.rooms.add(room)
      this.#changed(client, room, true)
    }
  }

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

  disconnected(sid) {
    const client = this.clients.get(sid)
    if (!client) return
    this.clients.delete(sid)
    if (this.sids.get(client.pid) === sid) this.sids.delete(client.pid)
  }

  // ---- Sessions ----

  /** Keeps the session of a client that is connected until now. */
  persist(session) {
    const client = this.clients.get(session.sid)
    if (!client) return
    this.#keep({
      ...session,
      client,
      end: this.log.end,
      ...this.#seen(),
      at: Date.now(),
    })
  }

  /**
   * Keeps a plan instead of a session: its client went before it was connected
   * here, or its server left and handed it over.
   */
  keepPlan(plan) {
    if (!this.sids.has(plan.pid)) this.#keep({ sid: plan.sid, pid: plan.pid, plan, at: plan.at })
  }

  /**
   * Returns plans for all clients that are away, the newest first, as far as
   * they got all that was written to them. `offsetOf` makes an offset of a position.
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

  /** Whether the session of this client is here, or the client itself. */
  has(pid) {
    return this.sessions.has(pid) || this.sids.has(pid)
  }

  /**
   * Takes a session out, for a client that has all up to `offset`. Returns a
   * plan of what it still has to get, `undefined` where there is no session,
   * and `null` where what it missed is no longer known.
   *
   * @param {string} pid
   * @param {string} offset as the client has it
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
    // A client that got nothing since it came back here still has the offset
    // of the server before.
    if (offset === client.offset) position = 0
    if (position === undefined || position > session.end) return null
    const resend = this.#resend(session, position)
    if (!resend) return null
    const { sid, rooms, data, seen, gone, at } = session
    return { sid, pid, rooms, data, seen, gone, resend, offset, at }
  }

  /** Returns what was written to a client behind `position`, as numbers per writer. */
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
    // Walks back, and undoes on the way what changed in its rooms.
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
   * Returns how far each writer was seen, and which of them have left. Clients
   * that break off together share one answer.
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
   * Says whether this log has all that a plan needs: 'ready', 'behind' when it
   * may still come, 'lost' when it will not.
   */
  check(plan) {
    let behind = false
    for (const [uid, number] of plan.seen) {
      const writer = this.writers.get(uid)
      // One that had left when the client did has nothing more to say.
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
      // A writer that the other server did not know: one that came later, or
      // one that had left before.
      if (writer.goneAt !== undefined && writer.goneAt < plan.at) continue
      if (writer.from > 1 || writer.evicted > 0) return 'lost'
    }
    return behind ? 'behind' : 'ready'
  }

  /** Waits until this log has all that a plan needs. Resolves to whether it has. */
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
   * Returns what a client still has to get, in the order of this log, as
   * `[position, arguments]`; `null` where the log no longer has it.
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

  /** Forgets what is older than `duration`. */
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

  /** Notes where a client went, whose session may have been handed over to this server as well. */
  wentTo(pid, uid) {
    this.sessions.delete(pid)
    this.moved.delete(pid)
    this.moved.set(pid, { uid, at: Date.now() })
    trim(this.moved)
  }
}

/** The broadcasts of the last while, oldest first. */
class Log {
  constructor(duration) {
    this.duration = duration
    this.entries = new Queue()
    this.bytes = 0
    /** The last position given out. */
    this.end = 0
  }

  /** The first position that is still here. */
  get first() {
    return this.end - this.entries.size + 1
  }

  at(position) {
    return position >= this.first ? this.entries.get(position - this.first) : undefined
  }

  append(entry) {
    entry.position = ++this.end
    entry.time = Date.now()
    this.entries.push(entry)
    entry.writer.entries.push(entry)
    this.bytes += entry.size
    while (this.bytes > LOG_BYTES) this.#drop()
    const oldest = this.entries.get(0)
    if (oldest && oldest.time + this.duration < entry.time) this.expire(entry.time)
    return entry.position
  }

  /** Marks that something is missing here. */
  hole() {
    const newest = this.entries.get(this.entries.size - 1)
    if (newest && !newest.writer) return
    this.end++
    this.entries.push({ writer: undefined, size: ENTRY_BYTES, time: Date.now() })
    this.bytes += ENTRY_BYTES
  }

  expire(now) {
    while (this.entries.size > 0 && this.entries.get(0).time + this.duration < now) this.#drop()
  }

  #drop() {
    const { writer, number, size } = this.entries.shift()
    this.bytes -= size
    if (!writer) return
    writer.entries.shift()
    writer.evicted = number
  }
}

/** A list that loses its oldest item at little cost. */
class Queue {
  constructor() {
    this.items = []
    this.head = 0
  }

  get size() {
    return this.items.length - this.head
  }

  get(index) {
    return this.items[this.head + index]
  }

  push(item) {
    this.items.push(item)
  }

  shift() {
    const item = this.items[this.head]
    this.items[this.head++] = undefined
    if (this.head > 64 && this.head * 2 > this.items.length) {
      this.items.splice(0, this.head)
      this.head = 0
    }
    return item
  }

  /** Returns the items, whose numbers rise, with a number above `number`. */
  after(number) {
    return this.items.slice(this.#search(number + 1))
  }

  find(number) {
    const item = this.items[this.#search(number)]
    return item?.number === number ? item : undefined
  }

  #search(number) {
    let low = this.head
    let high = this.items.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.items[middle].number < number) low = middle + 1
      else high = middle
    }
    return low
  }
}

/** Says whether a client in these rooms gets a broadcast. */
function concerns({ rooms, except }, current) {
  return (rooms.length === 0 || rooms.some((room) => current.has(room)))
    && !except.some((room) => current.has(room))
}

function trim(map) {
  if (map.size > MAX_SESSIONS) map.delete(map.keys().next().value)
}

module.exports = { Recovery }
