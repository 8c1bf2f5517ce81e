'use strict'

// What socket.io servers send one another, in bytes, and how it is checked.
//
// A chunk (one message on the channel, or one on a stream between two nodes)
// is a version byte and any number of frames, each with its length in front.
// A frame names its sender by a tag of 8 characters: together with the id of
// the node that the chunk provably came from it makes the `uid` of a server,
// so that no node can speak for the servers of another.
//
//   published: type, tag, number of the message, namespace, content
//   direct:    type, tag, tag of the receiver,   namespace, content
//
// Reader checks the bytes; the functions below check that the values are what
// socket.io expects at their place, for it would throw at others.

const { randomBytes } = require('node:crypto')
const { Writer, Reader, DecodeError } = require('./values')

const VERSION = 1
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
  /** A client came back here: "do you hold its session?" */
  RESTORE: 64,
  RESTORE_RESPONSE: 65,
  /** "I leave: here are the sessions of clients that are away", and "one of them is back, here". */
  SESSIONS: 66,
  TAKEN: 67,
}

/** Events of a namespace that only socket.io itself may emit. */
const RESERVED = new Set(['connect', 'connection', 'new_namespace'])

/** Returns a tag for a new server. */
function newTag() {
  return randomBytes(TAG * 6 / 8).toString('base64url')
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

/**
 * Encodes what a server publishes. Returns its bytes, and where in them the
 * arguments of a broadcast begin.
 *
 * @param {string} tag of the server
 * @param {number} number of the message, counted per server
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

/** Encodes what one server tells another. */
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

/** Returns one chunk of all `frames`, whose lengths add up to `bytes`. */
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

/** Calls `each` with every frame of a chunk, and throws where it is broken. */
function splitFrames(chunk, each) {
  const reader = new Reader(chunk)
  if (reader.byte() !== VERSION) throw new DecodeError('another version wrote this')
  while (reader.offset < reader.end) {
    const start = reader.skip(reader.varint())
    each(chunk.subarray(start, reader.offset))
  }
}

/** Reads who published a frame and for which namespace; `readPublished` reads on. */
function openPublished(frame) {
  const reader = new Reader(frame)
  return {
    type: reader.byte(),
    tag: readTag(reader),
    number: reader.varint(),
    nsp: reader.text(),
    reader,
  }
}

/** Reads who sent a direct frame to whom; `readDirect` reads on. */
function openDirect(frame) {
  const reader = new Reader(frame)
  return {
    type: reader.byte(),
    tag: readTag(reader),
    to: readTag(reader),
    nsp: reader.text(),
    reader,
  }
}

/**
 * Reads the content of a published frame into the ClusterMessage that
 * `onMessage` takes, with `content`: where the arguments of a broadcast begin.
 */
function readPublished({ type, nsp, reader }, uid) {
  const message = { uid, nsp, type }
  switch (type) {
    case Type.INITIAL_HEARTBEAT:
    case Type.HEARTBEAT:
    case Type.ADAPTER_CLOSE:
      return message
    case Type.BROADCAST: {
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
        opts: readOptions({ rooms, except, flags }),
      }
      if (id !== undefined) message.data.packet.id = id
      return message
    }
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
      // Its presence alone asks for an answer.
      if (requestId !== undefined) message.data.requestId = requestId
      return message
    }
    case Type.SESSIONS: {
      const { groups } = readObject(reader)
      check(Array.isArray(groups), 'a list of sessions')
      for (const group of groups) {
        check(isObject(group) && Array.isArray(group.sessions), 'a list of sessions')
        checkSeen(group)
        group.sessions.forEach(checkClient)
      }
      message.data = { groups }
      return message
    }
    case Type.TAKEN: {
      const { pid } = readObject(reader)
      check(typeof pid === 'string', 'a session')
      message.data = { pid }
      return message
    }
    default:
      throw new DecodeError(`there is no message of type ${type}`)
  }
}

/** Reads the content of a direct frame into a ClusterResponse or what RESTORE needs. */
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
      throw new DecodeError(`there is no answer of type ${type}`)
  }
  return { uid, nsp, type, data }
}

function readTag(reader) {
  const tag = reader.text(TAG)
  check(tag.length === TAG, 'a tag')
  return tag
}

/** Reads the arguments of a broadcast alone. */
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
  // A server far away decides nothing else about how packets are sent here.
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

function check(right, what) {
  if (!right) throw new DecodeError(`this is not ${what}`)
}

module.exports = {
  Type, DecodeError,
  newTag, uidOf, nodeOf, tagOf,
  encodePublished, encodeDirect, joinFrames, splitFrames,
  openPublished, openDirect, readPublished, readDirect, readContent,
}
