'use strict'
/**
 * Options of `createNode`.
 *
 * `readOptions` checks what the user gave and returns a copy with the defaults, which is
 * `node.options`; an error names the option, the value and the cure. `forNative` turns that copy
 * into what the native half takes. The defaults of 0.2.x stand here; where the native half gets
 * `undefined`, the library's default applies.
 */
const net = require('node:net')
const native = require('./native')
const { Identity, nativeIdentity } = require('./identity')
const { MemoryNetwork, nativeNetwork } = require('./memory-network')
const { Described, calling, coded, optionRange, optionType } = require('./errors')

const MIB = 1024 * 1024
/** Default and largest `maxMessage`, in bytes. */
const MAX_MESSAGE = 16 * MIB
const LARGEST_MAX_MESSAGE = 1024 * MIB
/** Defaults of the numbers of peers. */
const MIN_PEERS = 3
const MAX_PEERS = 5
/** `pingTimeout` of each preset, in ms. The library has the same, and other times of the presets. */
const PING_TIMEOUT = { default: 3000, lan: 1000, internet: 6000 }
/** The readers that writes wait for; the first is the default. */
const PACES = ['most', 'all', 'none']
/** Bounds of `pingTimeout`, in ms. */
const SHORTEST_PING_TIMEOUT = 100
const LONGEST_PING_TIMEOUT = 3_600_000
/** Default and longest `leaveTimeout`, in ms. */
const LEAVE_TIMEOUT = 30_000
const LONGEST_LEAVE_TIMEOUT = 86_400_000
/** Bounds of `readerTimeout`, in ms. */
const SHORTEST_READER_TIMEOUT = 1
const LONGEST_READER_TIMEOUT = 86_400_000
/** Default of `retention`, in bytes and ms. */
const RETENTION = { bytes: 64 * MIB, age: 60_000 }
/** Bytes retained at least: two messages of `maxMessage`, or of this size. The library's limit. */
const LEAST_RETAINED = MIB
/** The shortest age of `retention`, in ms. */
const SHORTEST_AGE = 1000
/** The lowest `uploadLimit`, in bytes per second: this, and two frames in each `pingTimeout`. */
const LOWEST_UPLOAD_LIMIT = 16_000
const LARGEST_FRAME = 64 * 1024
/** The shortest `networkSecret`, in bytes. */
const MIN_SECRET = 16
/** Addresses that a node advertises at most. The library has the same limit. */
const MAX_ADVERTISED = 4
const MAX_PORT = 65535

module.exports = { readOptions, forNative, readPort: port, hostAndPort }

/** Returns a checked copy of the user's options, with the defaults. */
function readOptions(given = {}) {
  if (typeof given !== 'object' || given === null) throw optionType('options', 'an object', given)
  if (isMissing(given.address)) {
    throw coded(new Error('"address" option is not set'), 'BAD_OPTION', { option: 'address' })
  }
  const address = host('address', given.address)
  const { minPeerNo, maxPeerNo } = peerCounts(given)
  const preset = oneOf('preset', given.preset, Object.keys(PING_TIMEOUT))
  const timeout = pingTimeout(given.pingTimeout, preset)
  const maxMessage = integer('maxMessage', given.maxMessage, 1, LARGEST_MAX_MESSAGE) ?? MAX_MESSAGE
  const options = {
    address,
    minPeerNo,
    maxPeerNo,
    port: isMissing(given.port) ? 0 : port('port', given.port, 0),
    seeds: seeds(given.seeds),
    preset,
    pingTimeout: timeout,
    leaveTimeout: integer('leaveTimeout', given.leaveTimeout, 0, LONGEST_LEAVE_TIMEOUT) ?? LEAVE_TIMEOUT,
    logger: logger(given.logger),
    advertise: advertise(given.advertise),
    maxMessage,
    retention: retention(given.retention, maxMessage),
    pace: oneOf('pace', given.pace, PACES),
    readerTimeout: readerTimeout(given.readerTimeout),
    uploadLimit: uploadLimit(given.uploadLimit, timeout),
    identity: identity(given.identity),
    keyFile: filePath('keyFile', given.keyFile),
    networkSecret: secret(given.networkSecret),
    readFrom: readFrom(given.readFrom),
    unsigned: flag('unsigned', given.unsigned),
    relayOnly: flag('relayOnly', given.relayOnly),
    preferNearPeers: flag('preferNearPeers', given.preferNearPeers, true),
    rngSeed: integer('rngSeed', given.rngSeed, 0, Number.MAX_SAFE_INTEGER),
    transport: instance('transport', given.transport, MemoryNetwork, 'a MemoryNetwork, or left out for TCP')
  }
  if (options.identity !== undefined && options.keyFile !== undefined) {
    throw optionType('keyFile', 'left out where "identity" is given', options.keyFile)
  }
  // Keeps the secret out of `console.log(node)`, which shows the options.
  Object.defineProperty(options, 'networkSecret', { enumerable: false })
  return options
}

/**
 * Returns the arguments of the native node: options, identity and network.
 *
 * @param options from `readOptions`
 * @param logLevel the least severe level that the logger takes, or `undefined` for no log
 */
function forNative(options, logLevel) {
  const { listenAt, advertise } = addresses(options)
  return [
    {
      address: listenAt,
      port: options.port,
      seeds: options.seeds.map((seed) => hostAndPort(seed.address, seed.port)),
      advertise,
      minPeers: options.minPeerNo,
      maxPeers: options.maxPeerNo === Infinity ? undefined : options.maxPeerNo,
      preset: options.preset,
      pingTimeout: options.pingTimeout,
      leaveTimeout: options.leaveTimeout,
      maxMessage: options.maxMessage,
      retention: options.retention,
      pace: options.pace,
      readerTimeout: options.readerTimeout,
      uploadLimit: options.uploadLimit,
      keyFile: options.keyFile,
      networkSecret: options.networkSecret,
      unsigned: options.unsigned,
      backlog: typeof options.readFrom === 'object' ? options.readFrom.last : undefined,
      fromOldest: options.readFrom === 'oldest',
      relayOnly: options.relayOnly,
      preferNearPeers: options.preferNearPeers,
      rngSeed: options.rngSeed,
      logLevel
    },
    options.identity && nativeIdentity(options.identity),
    options.transport && nativeNetwork(options.transport)
  ]
}

/**
 * Returns where to listen and what to advertise. An `address` of this machine is where the node
 * listens, and needs no advertising. Any other one is advertised, and the node listens on all
 * interfaces.
 */
function addresses({ address, port, advertise, transport }) {
  if (address === 'localhost') return { listenAt: '127.0.0.1', advertise }
  const isAddress = net.isIP(address) !== 0
  const reachable = transport !== undefined || isLocalAddress(address)
  if (isAddress && reachable) return { listenAt: address, advertise }
  if (transport !== undefined) {
    throw optionRange('address', 'an IP address where "transport" is given', address)
  }
  const listenAt = net.isIPv6(address) ? '::' : '0.0.0.0'
  return { listenAt, advertise: advertise.length > 0 ? advertise : [hostAndPort(address, port)] }
}

/** Returns whether this machine has the address. */
function isLocalAddress(address) {
  try {
    calling(() => native.localIp(address))
    return true
  } catch {
    return false
  }
}

/** Returns `HOST:PORT`, with an IPv6 address in brackets. */
function hostAndPort(address, number) {
  return net.isIPv6(address) ? `[${address}]:${number}` : `${address}:${number}`
}

/** Returns whether an option was left out: `null` counts as well. */
function isMissing(value) {
  return value === undefined || value === null
}

function host(name, value) {
  if (typeof value !== 'string') throw optionType(name, 'an IP address or a host name, as a string', value)
  const trimmed = value.trim()
  if (net.isIP(trimmed) === 0 && !/^[A-Za-z0-9]([A-Za-z0-9._-]{0,252}[A-Za-z0-9.])?$/.test(trimmed)) {
    throw optionRange(name, 'an IP address or a host name, such as 192.168.2.100', value)
  }
  return trimmed
}

/** Returns a port number. A string of digits counts as a number. */
function port(name, value, least) {
  const digits = typeof value === 'string' && /^\s*[0-9]+\s*$/.test(value)
  if (typeof value !== 'number' && typeof value !== 'string') throw optionType(name, 'a number', value)
  const number = digits ? Number(value) : value
  if (!Number.isInteger(number) || number < least || number > MAX_PORT) {
    throw optionRange(name, `a whole number from ${least} to ${MAX_PORT}`, value)
  }
  return number
}

/** Returns the numbers of peers. A `maxPeerNo` below the default of `minPeerNo` lowers that. */
function peerCounts(given) {
  const maxPeerNo = peerCount('maxPeerNo', given.maxPeerNo, MAX_PEERS)
  const minPeerNo = peerCount('minPeerNo', given.minPeerNo, Math.min(MIN_PEERS, maxPeerNo))
  if (minPeerNo > maxPeerNo) {
    const expected = `at most "maxPeerNo", which is ${maxPeerNo}; lower the one or raise the other`
    throw optionRange('minPeerNo', expected, minPeerNo)
  }
  return { minPeerNo, maxPeerNo }
}

/** Returns a number of peers. 0 stands for the default, as it did in 0.2.x. */
function peerCount(name, value, byDefault) {
  if (isMissing(value) || value === 0) return byDefault
  if (typeof value !== 'number') throw optionType(name, 'a number', value)
  if (value === Infinity && name === 'maxPeerNo') return Infinity
  if (!Number.isInteger(value) || value < 1 || value > 0xffffffff) {
    throw optionRange(name, `a whole number, at least 1${name === 'maxPeerNo' ? ', or Infinity' : ''}`, value)
  }
  return value
}

function integer(name, value, least, most) {
  if (isMissing(value)) return undefined
  if (typeof value !== 'number') throw optionType(name, 'a number', value)
  if (!Number.isInteger(value) || value < least || value > most) {
    throw optionRange(name, `a whole number from ${least} to ${most}`, value)
  }
  return value
}

/** Returns one of the names, of which the first is the default. */
function oneOf(option, value, names) {
  if (isMissing(value)) return names[0]
  const expected = `one of ${names.map((name) => `'${name}'`).join(', ')}`
  if (typeof value !== 'string') throw optionType(option, expected, value)
  if (!names.includes(value)) throw optionRange(option, expected, value)
  return value
}

/** Returns a ping timeout. 0 stands for the default, as it did in 0.2.x. */
function pingTimeout(value, preset) {
  const byDefault = PING_TIMEOUT[preset]
  if (isMissing(value) || value === 0) return byDefault
  if (typeof value !== 'number') throw optionType('pingTimeout', 'a number of milliseconds', value)
  if (!(value >= SHORTEST_PING_TIMEOUT && value <= LONGEST_PING_TIMEOUT)) {
    const range = `from ${SHORTEST_PING_TIMEOUT} to ${LONGEST_PING_TIMEOUT} milliseconds`
    throw optionRange('pingTimeout', `${range}; ${byDefault} is the default`, value)
  }
  return value
}

/** Returns a limit in milliseconds. The library refuses 0 for the same reason. */
function readerTimeout(value) {
  if (isMissing(value)) return undefined
  if (typeof value !== 'number') throw optionType('readerTimeout', 'a number of milliseconds', value)
  if (!Number.isInteger(value) || value < SHORTEST_READER_TIMEOUT || value > LONGEST_READER_TIMEOUT) {
    const range = `from ${SHORTEST_READER_TIMEOUT} to ${LONGEST_READER_TIMEOUT} milliseconds`
    const cure = `${value === 0 ? 'no reader is that fast; ' : ''}leave it out for no limit`
    throw optionRange('readerTimeout', `a whole number ${range}; ${cure}`, value)
  }
  return value
}

/** Returns what is retained. The default grows with the largest message. */
function retention(value, maxMessage) {
  const least = 2 * Math.max(maxMessage, LEAST_RETAINED)
  if (isMissing(value)) value = {}
  if (typeof value !== 'object') throw optionType('retention', 'an object { bytes, age }', value)
  const bytes = value.bytes ?? Math.max(RETENTION.bytes, least)
  const age = value.age ?? RETENTION.age
  if (!Number.isSafeInteger(bytes) || bytes < least) {
    const expected = `an object with bytes of at least ${least}: two messages of "maxMessage", and 2 MiB`
    throw optionRange('retention', expected, new Described(`{ bytes: ${String(bytes)} }`))
  }
  if (typeof age !== 'number' || !(age >= SHORTEST_AGE)) {
    const expected = `an object with an age of at least ${SHORTEST_AGE} milliseconds`
    throw optionRange('retention', expected, new Described(`{ age: ${String(age)} }`))
  }
  return { bytes, age }
}

/** Returns a limit in bytes per second. The library has the same lowest one. */
function uploadLimit(value, timeout) {
  if (isMissing(value) || value === Infinity) return undefined
  if (typeof value !== 'number') throw optionType('uploadLimit', 'a number of bytes per second', value)
  const lowest = Math.max(LOWEST_UPLOAD_LIMIT, Math.floor((2 * LARGEST_FRAME * 1000) / timeout))
  if (!Number.isSafeInteger(value) || value < lowest) {
    const cure = `raise it, or "pingTimeout", which is ${timeout}`
    throw optionRange('uploadLimit', `a whole number of bytes per second from ${lowest}; ${cure}`, value)
  }
  return value
}

function seeds(value) {
  if (isMissing(value)) return []
  if (!Array.isArray(value)) {
    const example = "[{ address: '10.0.0.1', port: 8495 }]"
    throw optionType('seeds', `an array of { address, port }, such as ${example}`, value)
  }
  return value.map((seed, index) => {
    const name = `seeds[${index}]`
    if (typeof seed !== 'object' || seed === null) throw optionType(name, 'an object { address, port }', seed)
    const address = host(`${name}.address`, seed.address)
    return { ...seed, address, port: port(`${name}.port`, seed.port, 1) }
  })
}

function advertise(value) {
  if (isMissing(value)) return []
  const list = Array.isArray(value) ? value : [value]
  if (list.length > MAX_ADVERTISED) {
    const expected = `${MAX_ADVERTISED} addresses at most, the best one first`
    throw optionRange('advertise', expected, new Described(`${list.length}`))
  }
  return list.map((entry) => {
    if (typeof entry !== 'string') {
      throw optionType('advertise', "a string 'HOST:PORT', or an array of them", entry)
    }
    if (!isDialable(entry)) {
      throw optionRange('advertise', 'what others can dial, as HOST:PORT, such as 203.0.113.7:8495', entry)
    }
    return entry
  })
}

/** Returns whether others could dial this. Port 0 stands for the port where the node listens. */
function isDialable(text) {
  const parts = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+)):([0-9]{1,5})$/.exec(text)
  if (parts === null) return false
  const [, inBrackets, name, number] = parts
  if (Number(number) > MAX_PORT) return false
  // The unspecified address and multicast groups cannot be dialled.
  if (inBrackets !== undefined) return net.isIPv6(inBrackets) && !/^(::$|ff)/i.test(inBrackets)
  return !(net.isIPv4(name) && /^(0\.0\.0\.0$|22[4-9]\.|23[0-9]\.)/.test(name))
}

function logger(value) {
  if (isMissing(value)) return {}
  if (typeof value !== 'object' && typeof value !== 'function') {
    const methods = 'trace, debug, info, warn, error, fatal'
    throw optionType('logger', `an object with any of the methods ${methods}`, value)
  }
  return value
}

function identity(value) {
  const expected = 'an Identity; make one with Identity.generate() or Identity.load(file)'
  return instance('identity', value, Identity, expected)
}

function instance(name, value, kind, expected) {
  if (isMissing(value)) return undefined
  if (!(value instanceof kind)) throw optionType(name, expected, value)
  return value
}

function filePath(name, value) {
  if (isMissing(value)) return undefined
  if (typeof value !== 'string' || value === '') throw optionType(name, 'the path of a file', value)
  return value
}

function secret(value) {
  if (isMissing(value)) return undefined
  const bytes = typeof value === 'string' ? Buffer.from(value) : value
  if (!(bytes instanceof Uint8Array)) throw optionType('networkSecret', 'a string or a Buffer', value)
  if (bytes.length < MIN_SECRET) {
    // The text has the length alone, never the secret.
    const length = new Described(`one of ${bytes.length} bytes`)
    throw optionRange('networkSecret', `at least ${MIN_SECRET} bytes, better 32 random ones`, length)
  }
  return bytes
}

function readFrom(value) {
  if (isMissing(value)) return 'now'
  const expected = "'now', 'oldest' or { last: n }"
  if (value === 'now' || value === 'oldest') return value
  if (typeof value !== 'object') throw optionType('readFrom', expected, value)
  if (!Number.isSafeInteger(value.last) || value.last < 0) {
    const shown = new Described(`{ last: ${String(value.last)} }`)
    throw optionRange('readFrom', `${expected} with a whole number, at least 0`, shown)
  }
  return { last: value.last }
}

function flag(name, value, missing = false) {
  if (isMissing(value)) return missing
  if (typeof value !== 'boolean') throw optionType(name, 'true or false', value)
  return value
}
