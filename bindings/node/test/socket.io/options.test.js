'use strict'

const test = require('node:test')
const assert = require('node:assert/strict')
const { createAdapter } = require('../../lib/socket.io.js')
const { newNode } = require('./helpers')

/** Returns a check of an error: its class, its code, and what its text names. */
function fails(call, Kind, ...words) {
  assert.throws(call, (error) => {
    assert.ok(error instanceof Kind, `${error}`)
    assert.match(error.code, /^ERR_SMOKESIGNAL_/)
    for (const word of words) assert.ok(error.message.includes(word), error.message)
    return true
  })
}

test('an error of a wrong option names the option and the cure', () => {
  const node = newNode()
  fails(() => createAdapter(), TypeError, 'node', 'createNode()')
  fails(() => createAdapter(null), TypeError, 'node', 'createNode()')
  fails(() => createAdapter({ start() {} }), TypeError, 'node', 'createNode()')
  fails(() => createAdapter(node, 'quick'), TypeError, 'options')
  for (const name of ['heartbeatInterval', 'heartbeatTimeout', 'requestTimeout']) {
    for (const value of ['5000', true, {}, [], 5n]) {
      fails(() => createAdapter(node, { [name]: value }), TypeError, name, 'milliseconds')
    }
    for (const value of [0, -1, NaN, Infinity, 2 ** 31]) {
      fails(() => createAdapter(node, { [name]: value }), RangeError, name, 'milliseconds')
    }
  }
  fails(
    () => createAdapter(node, { heartbeatInterval: 100, heartbeatTimeout: 100 }),
    RangeError,
    'heartbeatTimeout',
    'heartbeatInterval'
  )
})

test('right options are accepted', () => {
  const node = newNode()
  for (const options of [
    undefined,
    null,
    {},
    { requestTimeout: undefined, heartbeatInterval: null },
    { heartbeatInterval: 1e6 },
    { heartbeatTimeout: 500 },
    { heartbeatInterval: 10, heartbeatTimeout: 100, requestTimeout: 1000 }
  ]) {
    assert.equal(typeof createAdapter(node, options), 'function')
  }
})
