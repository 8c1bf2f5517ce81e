'use strict'
/**
 * What socket.io servers send each other, in bytes, and how it is checked.
 *
 * A chunk (one message on the channel, or one on a stream between two nodes) is a version byte and
 * any number of frames, each with its length in front. A frame names its sender by a tag of 8
 * characters. Together with the id of the node that the chunk provably came from, the tag makes the
 * `uid` of a server, so that no node can speak for the servers of another one.
 *
 *     published: type, tag, number of the message, namespace, content
 *     direct:    type, tag, tag of the receiver,   namespace, content
 *
 * Reading has two steps: `openPublished` and `openDirect` read the head, by which the bus finds the
 * adapter, and `readPublished` and `readDirect` read the content. `Reader` checks the bytes; the
 * functions below check that the values are what socket.io expects, which would throw at others.
 */
const { randomBytes } = require('node:crypto')
const { Writer, Reader, DecodeError } = require('./values')

/** The version of the format. Chunks of another version are refused. */
const VERSION = 1
/** Characters of a tag. */
const TAG = 8

/** `MessageType` of socket.io-adapter, and what this adapter adds to it. */
const Type = {
  INITIAL_HEARTBEAT: 1,
  HEARTBEAT: 2,
  BROADCAST: 3,
  SOCKETS_JOIN: 4,
  SOCKETS_LEAVE: 5,
  DISCONNECT_SOCKETS: 6,
  FETCH_SOCKETS: 7,
  FETCH_SOCKETS_RESPONSE: 8,
  SERVER_SIDE_EMIT: 9,
  SERVER_SIDE_EMIT_RESPONSE: 10,
  BROADCAST_CLIENT_COUNT: 11,
  BROADCAST_ACK: 12,
  ADAPTER_CLOSE: 13,
  /** Asks for the session of a client that came back, and the response. */
  RESTORE: 64,
  RESTORE_RESPONSE: 65,
  /** The sessions of a closing server, and the news that one of them was restored. */
  SESSIONS: 66,
  TAKEN: 67
}

/** Events of a namespace that only socket.io itself may emit. */
const RESERVED = new Set(['connect', 'connection', 'new_namespace'])

/** Returns a tag for a new server. */
function newTag() {
  return randomBytes((TAG * 6) / 8).toString('base64url')
}

/** Returns the uid of a server from the id of its node and its own tag. */
function uidOf(node, tag) {
  return `${node}:${tag}`
}

/** Returns the id of the node that a server runs on. */
function nodeOf(uid) {
  return uid.slice(0, -TAG - 1)
}

/** Returns the tag of a server. */
function tagOf(uid) {
  return uid.slice(-TAG)
}

/** Returns the offset of a log position: what clients get with each event, see recovery.js. */
function writeOffset(tag, position) {
  return tag + position.toString(36)
}

/** Returns the tag of the server that issued an offset. */
function offsetTag(offset) {
  return offset.slice(0, TAG)
}

/**
 * Returns the log position of an offset, or `undefined` if the server with this tag did not issue
 * it.
 */
function readOffset(tag, offset) {
  if (!offset.startsWith(tag)) return undefined
  const position = parseInt(offset.slice(TAG), 36)
  return position > 0 ? position : undefined
}

/**
 * Encodes a message to all servers. Returns `{ bytes, content }`: the frame, and where in it the
 * arguments of a broadcast begin.
 *
 * @param {string} tag the tag of this server
 * @param {number} number the number of the message, counted per server
 * @param {object} message a ClusterMessage of socket.io-adapter
 */
function encodePublished(tag, number, message) {
  const writer = Writer.take()
  try {
    writer.byte(message.type)
    writer.raw(Buffer.from(tag, 'latin1'))
    writer.varint(number)
    writer.text(message.nsp)
    let content = 0
    if (message.type === Type.BROADCAST) {
      const { packet, requestId, opts } = message.data
      writer.value([requestId, opts.rooms, opts.except, opts.flags, packet.type, packet.id])
      content = writer.length
      writer.value(packet.data)
    } else if (message.data !== undefined) {
      writer.value(message.data)
    }
    return { bytes: writer.finish(), content }
  } catch (error) {
    writer.release()
    throw error
  }
}

/** Encodes a message to one server. Returns the frame. */
function encodeDirect(from, to, message) {
  const writer = Writer.take()
  try {
    writer.byte(message.type)
    writer.raw(Buffer.from(from + to, 'latin1'))
    writer.text(message.nsp)
    writer.value(message.data)
    return writer.finish()
  } catch (error) {
    writer.release()
    throw error
  }
}

/** Returns a chunk of `frames`, whose lengths add up to `bytes`. */
function joinFrames(frames, bytes) {
  const chunk = Buffer.allocUnsafe(1 + bytes + 5 * frames.length)
  let at = 0
  chunk[at++] = VERSION
  for (const frame of frames) {
    let { length } = frame
    while (length > 0x7f) {
      chunk[at++] = (length & 0x7f) | 0x80
      length >>>= 7
    }
    chunk[at++] = length
    chunk.set(frame, at)
    at += frame.length
  }
  return chunk.subarray(0, at)
}

/** Calls `each` with every frame of a chunk. Throws a DecodeError where the chunk is malformed. */
function splitFrames(chunk, each) {
  const reader = new Reader(chunk)
  const version = reader.byte()
  if (version !== VERSION) {
    const text = `the format has version ${version}, expected ${VERSION}`
    throw new DecodeError(`${text}; run the same package on all servers`)
  }
  while (reader.offset < reader.end) {
    const start = reader.skip(reader.varint())
    each(chunk.subarray(start, reader.offset))
  }
}

/** Reads the head of a published frame. `readPublished` reads on from there. */
function openPublished(frame) {
  const reader = new Reader(frame)
  return {
    type: reader.byte(),
    tag: readTag(reader),
    number: reader.varint(),
    nsp: reader.text(),
    reader
  }
}

/** Reads the head of a direct frame. `readDirect` reads on from there. */
function openDirect(frame) {
  const reader = new Reader(frame)
  return {
    type: reader.byte(),
    tag: readTag(reader),
    to: readTag(reader),
    nsp: reader.text(),
    reader
  }
}

/**
 * Reads the content of a published frame. Returns the ClusterMessage that `onMessage` takes, with
 * `content`, the place where the arguments of a broadcast begin.
 */
function readPublished({ type, nsp, reader }, uid) {
  const message = { uid, nsp, type }
  switch (type) {
    case Type.INITIAL_HEARTBEAT:
    case Type.HEARTBEAT:
    case Type.ADAPTER_CLOSE:
      return message
    case Type.BROADCAST:
      return readBroadcast(message, reader)
    case Type.SOCKETS_JOIN:
    case Type.SOCKETS_LEAVE: {
      const { opts, rooms } = readObject(reader)
      check(isRooms(rooms), 'a list of rooms')
      message.data = { opts: readOptions(opts), rooms }
      return message
    }
    case Type.DISCONNECT_SOCKETS: {
      const { opts, close } = readObject(reader)
      message.data = { opts: readOptions(opts), close: Boolean(close) }
      return message
    }
    case Type.FETCH_SOCKETS: {
      const { opts, requestId } = readObject(reader)
      check(typeof requestId === 'string', 'a request')
      message.data = { opts: readOptions(opts), requestId }
      return message
    }
    case Type.SERVER_SIDE_EMIT: {
      const { packet, requestId } = readObject(reader)
      check(isEvent(packet) && !RESERVED.has(packet[0]), 'an event')
      check(requestId === undefined || typeof requestId === 'string', 'a request')
      message.data = { packet }
      // The presence of the property is what asks for a response.
      if (requestId !== undefined) message.data.requestId = requestId
      return message
    }
    case Type.SESSIONS:
      message.data = readSessions(reader)
      return message
    case Type.TAKEN: {
      const { pid } = readObject(reader)
      check(typeof pid === 'string', 'a session')
      message.data = { pid }
      return message
    }
    default:
      throw new DecodeError(`message type ${type} is unknown`)
  }
}

/** Adds the content of a broadcast to its message. */
function readBroadcast(message, reader) {
  const head = reader.value()
  check(Array.isArray(head) && head.length === 6, 'a broadcast')
  const [requestId, rooms, except, flags, packetType, id] = head
  message.content = reader.offset
  const data = reader.value()
  check(requestId === undefined || typeof requestId === 'string', 'a request')
  check(packetType === 2 || packetType === 5, 'a packet')
  check(id === undefined || Number.isSafeInteger(id), 'a packet')
  check(isEvent(data), 'an event')
  message.data = {
    packet: { type: packetType, data },
    requestId,
    opts: readOptions({ rooms, except, flags })
  }
  if (id !== undefined) message.data.packet.id = id
  return message
}

/** Reads the sessions that a closing server has published. */
function readSessions(reader) {
  const { groups } = readObject(reader)
  check(Array.isArray(groups), 'a list of sessions')
  for (const group of groups) {
    check(isObject(group) && Array.isArray(group.sessions), 'a list of sessions')
    checkSeen(group)
    group.sessions.forEach(checkClient)
  }
  return { groups }
}

/** Reads the content of a direct frame. Returns a ClusterResponse, or a message of sessions.js. */
function readDirect({ type, nsp, reader }, uid) {
  const data = readObject(reader)
  const { requestId } = data
  check(typeof requestId === 'string', 'a request')
  switch (type) {
    case Type.FETCH_SOCKETS_RESPONSE:
      check(Array.isArray(data.sockets) && data.sockets.every(isSocket), 'a list of sockets')
      break
    case Type.SERVER_SIDE_EMIT_RESPONSE:
      break
    case Type.BROADCAST_CLIENT_COUNT:
      check(Number.isSafeInteger(data.clientCount) && data.clientCount >= 0, 'a count')
      break
    case Type.BROADCAST_ACK:
      break
    case Type.RESTORE:
      check(typeof data.pid === 'string' && typeof data.offset === 'string', 'a session')
      break
    case Type.RESTORE_RESPONSE:
      check(data.moved === undefined || typeof data.moved === 'string', 'a session')
      if (data.session !== undefined) checkSession(data.session)
      break
    default:
      throw new DecodeError(`direct message type ${type} is unknown`)
  }
  return { uid, nsp, type, data }
}

function readTag(reader) {
  const tag = reader.text(TAG)
  check(tag.length === TAG, 'a tag')
  return tag
}

/** Reads the arguments of a broadcast, from the place `content` of its frame. */
function readContent(bytes) {
  return new Reader(bytes).value()
}

function readObject(reader) {
  const data = reader.value()
  check(isObject(data), 'an object')
  return data
}

function readOptions(opts) {
  check(isObject(opts) && isRooms(opts.rooms) && isRooms(opts.except), 'a choice of sockets')
  const { flags } = opts
  check(flags === undefined || isObject(flags), 'a set of flags')
  const { volatile, compress, timeout } = flags ?? {}
  // Only these flags: a remote server decides nothing else about how packets are sent here.
  const known = {}
  if (volatile !== undefined) known.volatile = Boolean(volatile)
  if (compress !== undefined) known.compress = Boolean(compress)
  if (typeof timeout === 'number') known.timeout = timeout
  return { rooms: opts.rooms, except: opts.except, flags: known }
}

function checkSession(session) {
  checkClient(session)
  checkSeen(session)
  const { resend } = session
  check(resend instanceof Map, 'a session')
  for (const [uid, numbers] of resend) {
    check(typeof uid === 'string' && Array.isArray(numbers), 'a session')
    check(numbers.every(Number.isSafeInteger), 'a session')
  }
}

function checkClient(session) {
  check(isObject(session), 'a session')
  const { sid, pid, rooms, offset, age } = session
  check(typeof sid === 'string' && typeof pid === 'string' && isRooms(rooms), 'a session')
  check(typeof offset === 'string' && typeof age === 'number' && age >= 0, 'a session')
}

function checkSeen({ seen, gone }) {
  check(seen instanceof Map && gone instanceof Set, 'a session')
  for (const [uid, number] of seen) {
    check(typeof uid === 'string' && Number.isSafeInteger(number), 'a session')
  }
}

function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isEvent(data) {
  return Array.isArray(data) && (typeof data[0] === 'string' || typeof data[0] === 'number')
}

function isRooms(rooms) {
  return Array.isArray(rooms) && rooms.every((room) => typeof room !== 'object')
}

function isSocket(socket) {
  return isObject(socket) && typeof socket.id === 'string' && isRooms(socket.rooms)
}

function check(condition, expected) {
  if (!condition) throw new DecodeError(`the message does not hold ${expected}`)
}

module.exports = {
  Type,
  DecodeError,
  newTag,
  uidOf,
  nodeOf,
  tagOf,
  writeOffset,
  offsetTag,
  readOffset,
  encodePublished,
  encodeDirect,
  joinFrames,
  splitFrames,
  openPublished,
  openDirect,
  readPublished,
  readDirect,
  readContent
}
