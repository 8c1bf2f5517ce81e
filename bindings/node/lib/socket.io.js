'use strict'

// socket.io on several servers that only know one another's addresses:
//
//   const { createNode, localIp } = require('smokesignal-p2p');
//   const { createAdapter } = require('smokesignal-p2p/socket.io');
//
//   const node = createNode({
//     address: localIp('10.0.0.0/8'), port: 8495,
//     seeds: [{ address: '10.0.0.1', port: 8495 }],
//   });
//   const io = new Server(httpServer, { adapter: createAdapter(node) });
//   await node.start();
//
// How it works, from the top: `socket.io/adapter.js` is the adapter of one
// namespace, `socket.io/recovery.js` lets clients whose connection broke go on,
// `socket.io/hub.js` is what all adapters over one node share, with
// `socket.io/links.js` for answers to one server, and `socket.io/wire.js` and
// `socket.io/values.js` are what servers tell one another, in bytes.

const { wireId } = require('./channel')
const { coded, optionRange, optionType } = require('./errors')

/** What is used for an option that is not given, in milliseconds. */
const DEFAULTS = {
  heartbeatInterval: 5000,
  heartbeatTimeout: 10_000,
  requestTimeout: 5000,
}

/** The longest delay that a timer of Node.js takes. */
const MAX_DELAY = 2 ** 31 - 1

/**
 * Returns what the option `adapter` of a socket.io server takes.
 *
 * @param node from `createNode`; it may be started before or after this
 * @param {object} [options]
 * @param {number} [options.heartbeatInterval] milliseconds after which a server that published nothing says that it is there (5000)
 * @param {number} [options.heartbeatTimeout] milliseconds without a sign after which a server counts as gone (10000); one that is closed is gone at once
 * @param {number} [options.requestTimeout] milliseconds that `fetchSockets` and `serverSideEmit` wait for the other servers (5000)
 */
function createAdapter(node, options) {
  wireId(node) // throws where this is no node
  const checked = checkOptions(options ?? {})
  const { SmokesignalAdapter } = load()
  return function smokesignalAdapter(nsp) {
    return new SmokesignalAdapter(nsp, node, checked)
  }
}

function checkOptions(options) {
  if (typeof options !== 'object' || Array.isArray(options)) {
    throw optionType('options', `left out or an object such as { requestTimeout: ${DEFAULTS.requestTimeout} }`, options)
  }
  const checked = { ...DEFAULTS }
  for (const [name, usual] of Object.entries(DEFAULTS)) {
    const value = options[name]
    if (value === undefined || value === null) continue
    const expected = `a number of milliseconds from 1 to ${MAX_DELAY} (left out: ${usual})`
    if (typeof value !== 'number') throw optionType(name, expected, value)
    if (!(value >= 1 && value <= MAX_DELAY)) throw optionRange(name, expected, value)
    checked[name] = value
  }
  // One of the two alone moves the other: else each server took the others for gone.
  if (options.heartbeatTimeout == null) {
    checked.heartbeatTimeout = Math.max(DEFAULTS.heartbeatTimeout, checked.heartbeatInterval * 2)
  } else if (options.heartbeatInterval == null) {
    checked.heartbeatInterval = Math.min(DEFAULTS.heartbeatInterval, checked.heartbeatTimeout / 2)
  }
  if (checked.heartbeatTimeout <= checked.heartbeatInterval) {
    throw optionRange('heartbeatTimeout',
      `longer than heartbeatInterval (${checked.heartbeatInterval}), such as ${2 * checked.heartbeatInterval}, else each server takes the others for gone`,
      checked.heartbeatTimeout)
  }
  return checked
}

/** Loads the adapter, which needs a package that not every user of this one has. */
function load() {
  let found
  try {
    found = require('socket.io-adapter')
  } catch (error) {
    if (error.code !== 'MODULE_NOT_FOUND') throw error
  }
  if (typeof found?.ClusterAdapterWithHeartbeat !== 'function') {
    throw coded(new Error(
      `smokesignal-p2p/socket.io needs the package socket.io-adapter, 2.5.5 or later, ${found ? 'and found an older one' : 'and did not find it'}: run "npm install socket.io@4 socket.io-adapter@2"`), 'SOCKET_IO_MISSING')
  }
  return require('./socket.io/adapter')
}

module.exports = { createAdapter }
