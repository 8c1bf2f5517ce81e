'use strict'
/**
 * Checks the arguments of a node's methods. Each function returns the value in the form that the
 * native half takes, or throws `ERR_SMOKESIGNAL_BAD_OPTION`.
 */
const { optionRange, optionType } = require('./errors')

/** The longest name of a stream, in bytes. */
const MAX_NAME_BYTES = 255

/** Returns text or binary data as a Buffer. Binary data is not copied. */
function toBytes(name, data) {
  if (typeof data === 'string') return Buffer.from(data)
  if (Buffer.isBuffer(data)) return data
  if (ArrayBuffer.isView(data)) return Buffer.from(data.buffer, data.byteOffset, data.byteLength)
  if (data instanceof ArrayBuffer) return Buffer.from(data)
  throw optionType(name, 'a string, a Buffer or a Uint8Array', data)
}

/** Returns a node id. */
function checkId(name, id) {
  if (typeof id !== 'string') throw optionType(name, 'the id of a node, 64 hex digits', id)
  if (!/^[0-9a-f]{64}$/.test(id)) throw optionRange(name, 'the id of a node, 64 hex digits', id)
  return id
}

/** Returns the name of a stream. */
function checkStreamName(name) {
  if (typeof name !== 'string') throw optionType('name', 'a string', name)
  if (name === '' || Buffer.byteLength(name) > MAX_NAME_BYTES) {
    throw optionRange('name', `a string of 1 to ${MAX_NAME_BYTES} bytes`, name)
  }
  return name
}

module.exports = { toBytes, checkId, checkStreamName }
