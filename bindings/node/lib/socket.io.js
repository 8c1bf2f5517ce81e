'use strict';

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

/** What is used for an option that is not given, in milliseconds. */
const DEFAULTS = {
  heartbeatInterval: 5000,
  heartbeatTimeout: 10_000,
  requestTimeout: 5000,
};

/** The longest delay that a timer of Node.js takes. */
const MAX_DELAY = 2 ** 31 - 1;

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
  checkNode(node);
  const checked = checkOptions(options ?? {});
  const { SmokesignalAdapter } = load();
  return function smokesignalAdapter(nsp) {
    return new SmokesignalAdapter(nsp, node, checked);
  };
}

function checkNode(node) {
  const methods = ['start', 'stop', 'open', 'accept', 'on'];
  if (methods.every((method) => typeof node?.[method] === 'function')) return;
  throw failure(TypeError, 'ERR_SMOKESIGNAL_INVALID_ARGUMENT',
    `createAdapter(node, options) takes a node as its first argument, not ${describe(node)}: pass what createNode() of smokesignal-p2p returns`);
}

function checkOptions(options) {
  if (typeof options !== 'object' || Array.isArray(options)) {
    throw failure(TypeError, 'ERR_SMOKESIGNAL_INVALID_ARGUMENT',
      `createAdapter(node, options) takes an object of options, not ${describe(options)}: leave it out or pass { heartbeatInterval: ${DEFAULTS.heartbeatInterval} }`);
  }
  const checked = { ...DEFAULTS };
  for (const [name, usual] of Object.entries(DEFAULTS)) {
    const value = options[name];
    if (value === undefined || value === null) continue;
    if (typeof value !== 'number') {
      throw failure(TypeError, 'ERR_SMOKESIGNAL_INVALID_OPTION',
        `The option "${name}" is a number of milliseconds, not ${describe(value)}: pass one such as ${usual}, or leave it out`);
    }
    if (!(value >= 1 && value <= MAX_DELAY)) {
      throw failure(RangeError, 'ERR_SMOKESIGNAL_INVALID_OPTION',
        `The option "${name}" is from 1 to ${MAX_DELAY} milliseconds, not ${value}: pass one such as ${usual}, or leave it out`);
    }
    checked[name] = value;
  }
  // A longer interval with the usual timeout would make each server lose the others.
  if (options.heartbeatTimeout === undefined || options.heartbeatTimeout === null) {
    checked.heartbeatTimeout = Math.min(MAX_DELAY,
      Math.max(DEFAULTS.heartbeatTimeout, checked.heartbeatInterval * 2));
  }
  if (checked.heartbeatTimeout <= checked.heartbeatInterval) {
    throw failure(RangeError, 'ERR_SMOKESIGNAL_INVALID_OPTION',
      `The option "heartbeatTimeout" (${checked.heartbeatTimeout}) is longer than "heartbeatInterval" (${checked.heartbeatInterval}), else every server takes the others for gone: make it twice as long`);
  }
  return checked;
}

/** Loads the adapter, which needs a package that not every user of this one has. */
function load() {
  let found;
  try {
    found = require('socket.io-adapter');
  } catch (error) {
    if (error.code !== 'MODULE_NOT_FOUND') throw error;
  }
  if (typeof found?.ClusterAdapterWithHeartbeat !== 'function') {
    throw failure(Error, 'ERR_SMOKESIGNAL_SOCKET_IO_MISSING',
      `smokesignal-p2p/socket.io needs the package socket.io-adapter, 2.5.5 or later, ${found ? 'and found an older one' : 'and did not find it'}: run "npm install socket.io@4 socket.io-adapter@2"`);
  }
  return require('./socket.io/adapter');
}

function describe(value) {
  if (value === null) return 'null';
  if (typeof value === 'string') return JSON.stringify(value.slice(0, 40));
  if (typeof value === 'object') return `an object of ${value.constructor?.name ?? 'no class'}`;
  if (typeof value === 'function') return 'a function';
  return String(value);
}

function failure(Kind, code, message) {
  return Object.assign(new Kind(message), { code });
}

module.exports = { createAdapter };
