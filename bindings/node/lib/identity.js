'use strict'
/**
 * A node's key pair. Whoever holds it is the node with this id.
 */
const native = require('./native')
const { Described, calling, optionRange, optionType } = require('./errors')

const hidden = Symbol('native')

class Identity {
  constructor(inner) {
    if (!(inner instanceof native.NativeIdentity)) {
      throw optionType('identity', 'made by Identity.generate(), Identity.load(file), Identity.loadOrCreate(file) or Identity.fromSeed(bytes)', inner)
    }
    Object.defineProperty(this, hidden, { value: inner })
  }

  /** A new random one. */
  static generate() {
    return new Identity(native.NativeIdentity.generate())
  }

  /** The one of these 32 bytes: the same bytes give the same id. */
  static fromSeed(seed) {
    if (!(seed instanceof Uint8Array)) throw optionType('seed', 'a Buffer of 32 bytes', seed)
    if (seed.length !== 32) throw optionRange('seed', 'a Buffer of 32 bytes', new Described(`one of ${seed.length}`))
    return new Identity(native.NativeIdentity.fromSeed(seed))
  }

  /** Reads a key file. */
  static load(path) {
    return new Identity(calling(() => native.NativeIdentity.load(file(path))))
  }

  /** Reads a key file, or makes one that only this user can read. */
  static loadOrCreate(path) {
    return new Identity(calling(() => native.NativeIdentity.loadOrCreate(file(path))))
  }

  /** The id of the node: its public key, 64 hex digits. */
  get id() {
    return this[hidden].id
  }
}

function file(path) {
  if (typeof path !== 'string' || path === '') throw optionType('path', 'the path of a file', path)
  return path
}

module.exports = { Identity, nativeIdentity: (identity) => identity[hidden] }
