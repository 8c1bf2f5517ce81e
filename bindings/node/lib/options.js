'use strict'
/**
 * Options of `createNode`, checked: what is wrong is named together with the cure. Defaults of 0.2.x stand here, all others
 * are the library's.
 */
const net = require('node:net')
const native = require('./native')
const { Identity, nativeIdentity } = require('./identity')
const { MemoryNetwork, nativeNetwork } = require('./memory')
const { Described, calling, coded, optionRange, optionType } = require('./errors')

const MIB = 1024 * 1024
/** As many as the library tells others. */
const MAX_ADVERTISED = 4

module.exports = { readOptions, readPort: port, hostAndPort }

/** What the user sees as `node.options`, and what the native half is given. */
function readOptions(given = {}) {
  if (typeof given !== 'object' || given === null) throw optionType('options', 'an object', given)
  if (isMissing(given.address)) throw coded(new Error('"address" option is not set'), 'BAD_OPTION', { option: 'address' })
  const address = host('address', given.address)
  const maxPeerNo = count('maxPeerNo', given.maxPeerNo, 5)
  const minPeerNo = count('minPeerNo', given.minPeerNo, Math.min(3, maxPeerNo))
  if (minPeerNo > maxPeerNo) {
    throw optionRange('minPeerNo', `at most "maxPeerNo", which is ${maxPeerNo}; lower the one or raise the other`, minPeerNo)
  }
  const options = {
    address,
    minPeerNo,
    maxPeerNo,
    port: isMissing(given.port) ? 0 : port('port', given.port, 0),
    seeds: seeds(given.seeds),
    pingTimeout: pingTimeout(given.pingTimeout),
    logger: logger(given.logger),
    advertise: advertise(given.advertise),
    maxMessage: integer('maxMessage', given.maxMessage, 1, 1024 * MIB) ?? 16 * MIB,
    identity: instance('identity', given.identity, Identity, 'an Identity; make one with Identity.generate() or Identity.load(file)'),
    keyFile: text('keyFile', given.keyFile),
    networkSecret: secret(given.networkSecret),
    readFrom: readFrom(given.readFrom),
    unsigned: flag('unsigned', given.unsigned),
    relayOnly: flag('relayOnly', given.relayOnly),
    preferNearPeers: flag('preferNearPeers', given.preferNearPeers),
    rngSeed: integer('rngSeed', given.rngSeed, 0, Number.MAX_SAFE_INTEGER),
    transport: instance('transport', given.transport, MemoryNetwork, 'a MemoryNetwork, or left out for TCP')
  }
  if (options.identity !== undefined && options.keyFile !== undefined) {
    throw optionType('keyFile', 'left out where "identity" is given', options.keyFile)
  }
  // Not for logs: `console.log(node)` shows the options.
  Object.defineProperty(options, 'networkSecret', { enumerable: false })
  return options
}

/** As the native half takes them. */
readOptions.forNative = function forNative(options, logLevel) {
  const { address, listenAt, advertised } = place(options)
  return [
    {
      address: listenAt,
      port: options.port,
      seeds: options.seeds.map((seed) => hostAndPort(seed.address, seed.port)),
      advertise: options.advertise.length > 0 ? options.advertise : advertised ? [hostAndPort(address, options.port)] : [],
      minPeers: options.minPeerNo,
      maxPeers: options.maxPeerNo === Infinity ? undefined : options.maxPeerNo,
      pingTimeout: options.pingTimeout,
      maxMessage: options.maxMessage,
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

/** Where to listen: at `address` where that is this machine's, else everywhere, and others are told `address`. */
function place({ address, transport }) {
  if (address === 'localhost') return { address, listenAt: '127.0.0.1', advertised: false }
  const isAddress = net.isIP(address) !== 0
  if (isAddress && (transport !== undefined || isLocalAddress(address))) {
    return { address, listenAt: address, advertised: false }
  }
  if (transport !== undefined) throw optionRange('address', 'an IP address where "transport" is given', address)
  return { address, listenAt: net.isIPv6(address) ? '::' : '0.0.0.0', advertised: true }
}

function isLocalAddress(address) {
  try {
    calling(() => native.localIp(address))
    return true
  } catch {
    return false
  }
}

/** `HOST:PORT`, with an IPv6 address in brackets. */
function hostAndPort(address, number) {
  return net.isIPv6(address) ? `[${address}]:${number}` : `${address}:${number}`
}

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

/** A whole number, as a number or as its digits. */
function port(name, value, least) {
  const digits = typeof value === 'string' && /^\s*[0-9]+\s*$/.test(value)
  if (typeof value !== 'number' && typeof value !== 'string') throw optionType(name, 'a number', value)
  const number = digits ? Number(value) : value
  if (!Number.isInteger(number) || number < least || number > 65535) {
    throw optionRange(name, `a whole number from ${least} to 65535`, value)
  }
  return number
}

/** 0 stands for the default, as it did in 0.2.x. */
function count(name, value, otherwise) {
  if (isMissing(value) || value === 0) return otherwise
  if (typeof value !== 'number') throw optionType(name, 'a number', value)
  if (value === Infinity && name === 'maxPeerNo') return Infinity
  if (!Number.isInteger(value) || value < 1 || value > 0xffffffff) {
    throw optionRange(name, `a whole number from 1 on${name === 'maxPeerNo' ? ', or Infinity' : ''}`, value)
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

function pingTimeout(value) {
  if (isMissing(value) || value === 0) return 3000
  if (typeof value !== 'number') throw optionType('pingTimeout', 'a number of milliseconds', value)
  if (!(value >= 100 && value <= 3_600_000)) {
    throw optionRange('pingTimeout', 'from 100 to 3600000 milliseconds; 3000 is the default', value)
  }
  return value
}

function seeds(value) {
  if (isMissing(value)) return []
  if (!Array.isArray(value)) throw optionType('seeds', "an array of { address, port }, such as [{ address: '10.0.0.1', port: 8495 }]", value)
  return value.map((seed, index) => {
    const name = `seeds[${index}]`
    if (typeof seed !== 'object' || seed === null) throw optionType(name, 'an object { address, port }', seed)
    return { ...seed, address: host(`${name}.address`, seed.address), port: port(`${name}.port`, seed.port, 1) }
  })
}

function advertise(value) {
  if (isMissing(value)) return []
  const list = Array.isArray(value) ? value : [value]
  if (list.length > MAX_ADVERTISED) {
    throw optionRange('advertise', `${MAX_ADVERTISED} addresses at most, the best one first`, new Described(`${list.length}`))
  }
  return list.map((entry) => {
    if (typeof entry !== 'string') throw optionType('advertise', "a string 'HOST:PORT', or an array of them", entry)
    if (!isDialable(entry)) throw optionRange('advertise', 'what others can dial, as HOST:PORT, such as 203.0.113.7:8495', entry)
    return entry
  })
}

/** Whether others may be told to dial this. Port 0 stands for the port where the node listens. */
function isDialable(text) {
  const parts = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+)):([0-9]{1,5})$/.exec(text)
  if (parts === null) return false
  const [, inBrackets, name, number] = parts
  if (Number(number) > 65535) return false
  // Neither all interfaces nor a group.
  if (inBrackets !== undefined) return net.isIPv6(inBrackets) && !/^(::$|ff)/i.test(inBrackets)
  return !(net.isIPv4(name) && /^(0\.0\.0\.0$|22[4-9]\.|23[0-9]\.)/.test(name))
}

function logger(value) {
  if (isMissing(value)) return {}
  if (typeof value !== 'object' && typeof value !== 'function') {
    throw optionType('logger', 'an object with any of the methods trace, debug, info, warn, error, fatal', value)
  }
  return value
}

function instance(name, value, kind, expected) {
  if (isMissing(value)) return undefined
  if (!(value instanceof kind)) throw optionType(name, expected, value)
  return value
}

function text(name, value) {
  if (isMissing(value)) return undefined
  if (typeof value !== 'string' || value === '') throw optionType(name, 'the path of a file', value)
  return value
}

function secret(value) {
  if (isMissing(value)) return undefined
  const bytes = typeof value === 'string' ? Buffer.from(value) : value
  if (!(bytes instanceof Uint8Array)) throw optionType('networkSecret', 'a string or a Buffer', value)
  if (bytes.length < 16) {
    throw optionRange('networkSecret', 'at least 16 bytes, better 32 random ones', new Described(`one of ${bytes.length} bytes`))
  }
  return bytes
}

function readFrom(value) {
  if (isMissing(value)) return 'now'
  const expected = "'now', 'oldest' or { last: n }"
  if (value === 'now' || value === 'oldest') return value
  if (typeof value !== 'object') throw optionType('readFrom', expected, value)
  if (!Number.isSafeInteger(value.last) || value.last < 0) {
    throw optionRange('readFrom', `${expected} with a whole number from 0 on`, new Described(`{ last: ${String(value.last)} }`))
  }
  return { last: value.last }
}

function flag(name, value) {
  if (isMissing(value)) return false
  if (typeof value !== 'boolean') throw optionType(name, 'true or false', value)
  return value
}
