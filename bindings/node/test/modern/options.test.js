'use strict'
/**
 * Options of `createNode`: errors name wrong ones, and missing ones have a default.
 */
const assert = require('node:assert/strict')
const { test } = require('node:test')
const { createNode, Identity, localIp, MemoryNetwork } = require('smokesignal-p2p')

const address = '127.0.0.1'
const identity = Identity.generate()

/** Each option with wrong values and the class of the error. */
const wrong = {
  address: { TypeError: [5, {}, true], RangeError: ['', ' ', 'a b', 'http://10.0.0.1', '10.0.0.1:80', '-'] },
  port: {
    TypeError: [{}, [], true],
    RangeError: [-1, 65536, 1.5, NaN, Infinity, '', 'http', '-1', '1.5', '65536', '8e3']
  },
  minPeerNo: { TypeError: ['3', {}, true], RangeError: [-1, 1.5, NaN, Infinity, 6] },
  maxPeerNo: { TypeError: ['5', [], false], RangeError: [-1, 2.5, NaN, -Infinity, 2 ** 32] },
  seeds: { TypeError: [{}, 'localhost:8495', 5] },
  preset: { TypeError: [5, {}, true], RangeError: ['', 'LAN', 'moon', 'toString'] },
  pingTimeout: { TypeError: ['3s', {}], RangeError: [99, -1, NaN, Infinity, 3_600_001] },
  leaveTimeout: { TypeError: ['30s', {}], RangeError: [-1, 1.5, NaN, Infinity, 86_400_001] },
  logger: { TypeError: [5, 'console', true] },
  advertise: {
    TypeError: [5, {}, [5]],
    RangeError: [
      'nowhere',
      'host:',
      ':80',
      'host:65536',
      '0.0.0.0:80',
      '[::]:80',
      '224.0.0.1:80',
      ['10.0.0.1:80', 'nowhere']
    ]
  },
  maxMessage: { TypeError: ['1', {}], RangeError: [0, -1, 1.5, NaN, Infinity, 2 ** 30 + 1] },
  retention: {
    TypeError: [64, '64MiB', true],
    RangeError: [
      { bytes: 2 ** 25 - 1 },
      { bytes: Infinity },
      { bytes: '67108864' },
      { age: 999 },
      { age: NaN },
      { age: '60s' }
    ]
  },
  pace: { TypeError: [5, {}, true], RangeError: ['', 'ALL', 'some', 'toString'] },
  readerTimeout: { TypeError: ['60s', {}, true], RangeError: [0, -1, 1.5, NaN, Infinity, 86_400_001] },
  uploadLimit: { TypeError: ['500k', {}, true], RangeError: [0, -1, 43_689, 100_000.5, NaN] },
  identity: { TypeError: [{}, 'ann', identity.id] },
  keyFile: { TypeError: [5, '', {}] },
  networkSecret: { TypeError: [5, {}, ['secret']], RangeError: ['', 'fifteen bytes !', Buffer.alloc(15)] },
  readFrom: {
    TypeError: ['newest', '', 5, true],
    RangeError: [{}, { last: -1 }, { last: 1.5 }, { last: '3' }, { last: Infinity }]
  },
  unsigned: { TypeError: [1, 0, 'true'] },
  relayOnly: { TypeError: [1, 'false'] },
  preferNearPeers: { TypeError: [0, {}] },
  rngSeed: { TypeError: ['1', {}], RangeError: [-1, 1.5, NaN, 2 ** 53] },
  transport: { TypeError: [{}, 'tcp', MemoryNetwork] }
}

for (const [option, kinds] of Object.entries(wrong)) {
  test(`a wrong ${option} is refused with an error that names it`, () => {
    for (const [name, values] of Object.entries(kinds)) {
      for (const value of values) {
        assert.throws(
          () => createNode({ address, [option]: value }),
          (error) => {
            assert.deepEqual(
              [error.name, error.code],
              [name, 'ERR_SMOKESIGNAL_BAD_OPTION'],
              `${String(value)}: ${error.message}`
            )
            assert.match(error.message, new RegExp(`"${option}"`))
            assert.equal(error.option, option)
            return true
          },
          String(value)
        )
      }
    }
  })
}

test('each seed is checked, and the error names its index', () => {
  const good = { address: '10.0.0.1', port: 8495 }
  for (const [seed, name, named] of [
    [null, 'TypeError', 'seeds[1]'],
    ['10.0.0.1:8495', 'TypeError', 'seeds[1]'],
    [{}, 'TypeError', 'seeds[1].address'],
    [{ address: 'a b', port: 1 }, 'RangeError', 'seeds[1].address'],
    [{ address: '10.0.0.1' }, 'TypeError', 'seeds[1].port'],
    [{ address: '10.0.0.1', port: 65536 }, 'RangeError', 'seeds[1].port'],
    [{ address: '10.0.0.1', port: 'http' }, 'RangeError', 'seeds[1].port']
  ]) {
    assert.throws(
      () => createNode({ address, seeds: [good, seed] }),
      (error) => {
        assert.deepEqual([error.name, error.code], [name, 'ERR_SMOKESIGNAL_BAD_OPTION'])
        assert.ok(error.message.startsWith(`"${named}" has to be`), error.message)
        return true
      }
    )
  }
})

test('without an address the error has the text of 0.2.x', () => {
  for (const options of [{}, { address: undefined }, { address: null }, undefined]) {
    assert.throws(() => createNode(options), {
      message: '"address" option is not set',
      code: 'ERR_SMOKESIGNAL_BAD_OPTION'
    })
  }
  for (const options of [null, 5, 'address']) {
    assert.throws(() => createNode(options), {
      name: 'TypeError',
      code: 'ERR_SMOKESIGNAL_BAD_OPTION',
      message: /"options"/
    })
  }
})

test('a reader timeout of 0 is refused with the words of the library', () => {
  const cure = 'no reader is that fast; leave it out for no limit, not 0'
  assert.throws(() => createNode({ address, readerTimeout: 0 }), {
    name: 'RangeError',
    code: 'ERR_SMOKESIGNAL_BAD_OPTION',
    message: `"readerTimeout" has to be a whole number from 1 to 86400000 milliseconds; ${cure}`
  })
})

test('an identity and a key file exclude each other', () => {
  assert.throws(() => createNode({ address, identity, keyFile: 'node.key' }), {
    code: 'ERR_SMOKESIGNAL_BAD_OPTION',
    message: /"keyFile".*"identity"/
  })
})

const defaults = {
  port: 0,
  minPeerNo: 3,
  maxPeerNo: 5,
  seeds: [],
  preset: 'default',
  pingTimeout: 3000,
  leaveTimeout: 30_000,
  logger: {},
  advertise: [],
  maxMessage: 16 * 1024 * 1024,
  retention: { bytes: 64 * 1024 * 1024, age: 60_000 },
  pace: 'most',
  readerTimeout: undefined,
  uploadLimit: undefined,
  identity: undefined,
  keyFile: undefined,
  networkSecret: undefined,
  readFrom: 'now',
  unsigned: false,
  relayOnly: false,
  preferNearPeers: true,
  rngSeed: undefined,
  transport: undefined
}

for (const missing of [undefined, null]) {
  test(`${missing} means the default`, () => {
    for (const [option, value] of Object.entries(defaults)) {
      assert.deepEqual(createNode({ address, [option]: missing }).options[option], value, option)
    }
  })
}

test('the defaults of all options are tested', () => {
  assert.deepEqual(Object.keys(wrong).sort(), ['address', ...Object.keys(defaults)].sort())
  // The secret exists, but is not enumerable, so that a log does not show it.
  const { options } = createNode({ address })
  assert.deepEqual(Object.getOwnPropertyNames(options).sort(), ['address', ...Object.keys(defaults)].sort())
  assert.ok(!Object.keys(options).includes('networkSecret'))
})

test('ports may be digits in a string', () => {
  const { options } = createNode({ address, port: '8495', seeds: [{ address: 'localhost', port: ' 13 ' }] })
  assert.deepEqual([options.port, options.seeds], [8495, [{ address: 'localhost', port: 13 }]])
})

test('0 means the default for the numbers of peers', () => {
  const { options } = createNode({ address, minPeerNo: 0, maxPeerNo: 0 })
  assert.deepEqual([options.minPeerNo, options.maxPeerNo], [3, 5])
})

test('a maxPeerNo below the default of minPeerNo lowers that, and Infinity means no limit', () => {
  for (const [maxPeerNo, minPeerNo] of [
    [1, 1],
    [2, 2],
    [3, 3],
    [4, 3],
    [Infinity, 3]
  ]) {
    const { options } = createNode({ address, maxPeerNo })
    assert.deepEqual([options.minPeerNo, options.maxPeerNo], [minPeerNo, maxPeerNo])
  }
  assert.throws(() => createNode({ address, minPeerNo: 3, maxPeerNo: 2 }), {
    name: 'RangeError',
    code: 'ERR_SMOKESIGNAL_BAD_OPTION',
    message: /"minPeerNo".*"maxPeerNo".* 2;.* 3$/
  })
})

test('right values of all options are kept', () => {
  for (const options of [
    { address: '::1' },
    { address: 'localhost' },
    { address: 'node-1.example' },
    { address, pingTimeout: 100 },
    { address, pingTimeout: 3_600_000 },
    { address, maxMessage: 1 },
    { address, maxMessage: 1024 * 1024 * 1024 },
    { address, preset: 'lan' },
    { address, retention: { bytes: 2 ** 25, age: 1000 } },
    { address, retention: { bytes: Number.MAX_SAFE_INTEGER, age: Infinity } },
    { address, maxMessage: 1, retention: { bytes: 2 ** 21, age: 1000 } },
    { address, pace: 'all' },
    { address, pace: 'none' },
    { address, readerTimeout: 1 },
    { address, pace: 'all', readerTimeout: 86_400_000 },
    { address, uploadLimit: 43_690 },
    { address, uploadLimit: 16_000, pingTimeout: 3_600_000 },
    { address, readFrom: 'oldest' },
    { address, readFrom: { last: 0 } },
    { address, rngSeed: 0 },
    { address, rngSeed: Number.MAX_SAFE_INTEGER },
    { address, logger: console },
    { address, identity },
    { address, unsigned: true, relayOnly: true, preferNearPeers: false },
    { address, transport: new MemoryNetwork() }
  ]) {
    const node = createNode(options)
    for (const [option, value] of Object.entries(options)) assert.deepEqual(node.options[option], value)
  }
  assert.deepEqual(createNode({ address, advertise: 'host.example:0' }).options.advertise, ['host.example:0'])
  assert.deepEqual(
    createNode({ address, networkSecret: 'sixteen bytes ok' }).options.networkSecret,
    Buffer.from('sixteen bytes ok')
  )
})

test('the preset has a pingTimeout of its own, which an explicit one replaces', () => {
  for (const [given, pingTimeout] of [
    [{ preset: 'lan' }, 1000],
    [{ preset: 'internet' }, 6000],
    [{ preset: 'lan', pingTimeout: 3000 }, 3000],
    [{ pingTimeout: 500, preset: 'internet' }, 500],
    [{ preset: 'lan', pingTimeout: 0 }, 1000]
  ]) {
    assert.equal(createNode({ address, ...given }).options.pingTimeout, pingTimeout)
  }
})

test('what is left out of the retention has its default, which grows with maxMessage', () => {
  const retention = (given) => createNode({ address, ...given }).options.retention
  assert.deepEqual(retention({ retention: { age: 5000 } }), { bytes: 2 ** 26, age: 5000 })
  assert.deepEqual(retention({ retention: { bytes: 2 ** 25, age: null } }), { bytes: 2 ** 25, age: 60_000 })
  assert.deepEqual(retention({ maxMessage: 2 ** 26 }), { bytes: 2 ** 27, age: 60_000 })
})

test('options are copied', () => {
  const seeds = [{ address: '10.0.0.1', port: 8495 }]
  const given = { address, seeds }
  const node = createNode(given)
  given.address = '10.0.0.9'
  seeds[0].port = 1
  seeds.push({})
  assert.deepEqual(
    [node.options.address, node.options.seeds],
    [address, [{ address: '10.0.0.1', port: 8495 }]]
  )
  assert.deepEqual(Object.keys(given), ['address', 'seeds'])
})

test('localIp finds the address in a subnet, and its errors name what is wrong', () => {
  assert.equal(localIp('127.0.0.1/255.0.0.0'), '127.0.0.1')
  assert.equal(localIp('127.0.0.0/8'), '127.0.0.1')
  assert.throws(() => localIp('203.0.113.0/24'), {
    name: 'Error',
    message: "Couldn't determine IP address",
    code: 'ERR_SMOKESIGNAL_NO_LOCAL_ADDRESS'
  })
  assert.throws(() => localIp('nonsense'), {
    name: 'RangeError',
    code: 'ERR_SMOKESIGNAL_BAD_SUBNET',
    message: /nonsense.*192\.168\.2\.0\/24/
  })
  assert.throws(() => localIp('fd00::/8'), { name: 'RangeError', code: 'ERR_SMOKESIGNAL_BAD_OPTION' })
  assert.throws(() => localIp(), { name: 'TypeError', code: 'ERR_SMOKESIGNAL_BAD_OPTION' })
})
