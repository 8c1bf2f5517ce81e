'use strict'
/**
 * A node's key pair. The public key is the node's id, so a program that holds the key pair can act
 * as the node with this id. The private key never leaves the native half.
 */
const native = require('./native')
const { Described, calling, optionRange, optionType } = require('./errors')

const hidden = Symbol('native')

/** Bytes of the seed of a key pair. */
const SEED_BYTES = 32

class Identity {
  constructor(inner) {
    if (!(inner instanceof native.NativeIdentity)) {
      const ways = ['generate()', 'load(file)', 'loadOrCreate(file)', 'fromSeed(bytes)']
      throw optionType('identity', `made by one of ${ways.map((way) => `Identity.${way}`).join(', ')}`, inner)
    }
    Object.defineProperty(this, hidden, { value: inner })
  }

  /** Returns a new random identity. */
  static generate() {
    return new Identity(native.NativeIdentity.generate())
  }

  /** Returns the identity that belongs to 32 bytes. The same bytes give the same id. */
  static fromSeed(seed) {
    if (!(seed instanceof Uint8Array)) throw optionType('seed', `a Buffer of ${SEED_BYTES} bytes`, seed)
    if (seed.length !== SEED_BYTES) {
      throw optionRange('seed', `a Buffer of ${SEED_BYTES} bytes`, new Described(`one of ${seed.length}`))
    }
    return new Identity(native.NativeIdentity.fromSeed(seed))
  }

  /** Reads a key file. */
  static load(path) {
    return new Identity(calling(() => native.NativeIdentity.load(checkPath(path))))
  }

  /** Reads a key file. If there is none, creates one that only this user can read. */
  static loadOrCreate(path) {
    return new Identity(calling(() => native.NativeIdentity.loadOrCreate(checkPath(path))))
  }

  /** The id of the node: its public key, 64 hex digits. */
  get id() {
    return this[hidden].id
  }
}

function checkPath(path) {
  if (typeof path !== 'string' || path === '') throw optionType('path', 'the path of a file', path)
  return path
}

module.exports = { Identity, nativeIdentity: (identity) => identity[hidden] }
