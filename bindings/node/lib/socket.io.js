'use strict'
/**
 * The adapter for socket.io: several servers that only know each other's addresses.
 *
 *     const { createNode, localIp } = require('smokesignal-p2p')
 *     const { createAdapter } = require('smokesignal-p2p/socket.io')
 *
 *     const node = createNode({
 *       address: localIp('10.0.0.0/8'), port: 8495,
 *       seeds: [{ address: '10.0.0.1', port: 8495 }],
 *     })
 *     const io = new Server(httpServer, { adapter: createAdapter(node) })
 *     await node.start()
 *
 * How it works, from the top: `socket.io/adapter.js` is the adapter of one namespace. It exchanges
 * messages through `socket.io/bus.js`, which all adapters over one node share, and which sends
 * messages for one server over `socket.io/direct-streams.js`. `socket.io/wire.js` and
 * `socket.io/values.js` turn messages into bytes. `socket.io/recovery.js`, with
 * `socket.io/broadcast-log.js` and `socket.io/sessions.js`, lets clients whose connection broke go
 * on at any server.
 */
const { wireId } = require('./channel')
const { coded, optionRange, optionType } = require('./errors')

/** The defaults of the options, in ms. */
const DEFAULTS = {
  heartbeatInterval: 5000,
  heartbeatTimeout: 10_000,
  requestTimeout: 5000
}

/** The longest delay that a timer of Node.js accepts, in ms. */
const MAX_DELAY = 2 ** 31 - 1

/**
 * Returns a value for the option `adapter` of a socket.io server.
 *
 * @param node from `createNode`; it may be started before or after this
 * @param {object} [options]
 * @param {number} [options.heartbeatInterval] how long a server publishes nothing before it sends a
 *   heartbeat, in ms (default 5000)
 * @param {number} [options.heartbeatTimeout] how long a server may be silent before it counts as
 *   gone, in ms (default 10000). A server that is closed counts as gone immediately.
 * @param {number} [options.requestTimeout] how long `fetchSockets` and `serverSideEmit` wait for
 *   the other servers, in ms (default 5000)
 */
function createAdapter(node, options) {
  wireId(node) // Throws if this is not a node.
  const checked = checkOptions(options ?? {})
  const { SmokesignalAdapter } = load()
  return function smokesignalAdapter(nsp) {
    return new SmokesignalAdapter(nsp, node, checked)
  }
}

function checkOptions(options) {
  if (typeof options !== 'object' || Array.isArray(options)) {
    const example = `{ requestTimeout: ${DEFAULTS.requestTimeout} }`
    throw optionType('options', `left out or an object such as ${example}`, options)
  }
  const checked = { ...DEFAULTS }
  for (const [name, byDefault] of Object.entries(DEFAULTS)) {
    const value = options[name]
    if (value === undefined || value === null) continue
    const expected = `a number of milliseconds from 1 to ${MAX_DELAY} (default ${byDefault})`
    if (typeof value !== 'number') throw optionType(name, expected, value)
    if (!(value >= 1 && value <= MAX_DELAY)) throw optionRange(name, expected, value)
    checked[name] = value
  }
  // If only one of the two is given, the other follows it. Otherwise each server might take the
  // others for gone.
  if (options.heartbeatTimeout == null) {
    checked.heartbeatTimeout = Math.max(DEFAULTS.heartbeatTimeout, checked.heartbeatInterval * 2)
  } else if (options.heartbeatInterval == null) {
    checked.heartbeatInterval = Math.min(DEFAULTS.heartbeatInterval, checked.heartbeatTimeout / 2)
  }
  if (checked.heartbeatTimeout <= checked.heartbeatInterval) {
    const { heartbeatInterval } = checked
    const expected = `longer than heartbeatInterval (${heartbeatInterval}), such as ${2 * heartbeatInterval}`
    throw optionRange(
      'heartbeatTimeout',
      `${expected}, else each server takes the others for gone`,
      checked.heartbeatTimeout
    )
  }
  return checked
}

/** Loads the adapter. It needs socket.io-adapter, which not every user of this package has. */
function load() {
  let found
  try {
    found = require('socket.io-adapter')
  } catch (error) {
    if (error.code !== 'MODULE_NOT_FOUND') throw error
  }
  if (typeof found?.ClusterAdapterWithHeartbeat !== 'function') {
    const outcome = found ? 'found an older one' : 'did not find it'
    const text =
      'smokesignal-p2p/socket.io needs the package socket.io-adapter, 2.5.5 or later, '
      + `and ${outcome}: run "npm install socket.io@4 socket.io-adapter@2"`
    throw coded(new Error(text), 'SOCKET_IO_MISSING')
  }
  return require('./socket.io/adapter')
}

module.exports = { createAdapter }
