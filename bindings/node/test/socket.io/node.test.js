'use strict'

// The adapter and its node, in every state of the node and with other users of the node.

const test = require('node:test')
const assert = require('node:assert/strict')
const { LIMIT, TestServer, newNode, cluster, knowing, until, childServer, once } = require('./helpers')

/**
 * Publishes as the base class does. Resolves to what happened first: 'resolved', or a turn of the
 * event loop.
 */
function publish(adapter, data) {
  const message = {
    type: 3,
    uid: adapter.uid,
    nsp: '/',
    data: { packet: { type: 2, data }, opts: { rooms: [], except: [], flags: {} } }
  }
  return Promise.race([
    adapter.doPublish(message).then(() => 'resolved'),
    new Promise((resolve) => setImmediate(resolve, 'late'))
  ])
}

test('several servers share one node', LIMIT, async (t) => {
  const [first, far] = await cluster(t, 2)
  const second = await new TestServer(t, first.node).listen()
  await knowing([first, second, far], 3)
  const clients = [await first.connect(), await second.connect(), await far.connect()]

  await t.test('and exchange events inside the process', async () => {
    first.io.emit('event', Buffer.from('x'))
    second.io.emit('event', Buffer.from('y'))
    far.io.emit('event', Buffer.from('z'))
    await until(() => clients.every(({ events }) => events.length === 3))
    for (const { events } of clients) {
      assert.deepEqual(events.map((event) => event[1].toString()).toSorted(), ['x', 'y', 'z'])
    }
  })

  await t.test('and answer each other', async () => {
    second.io.on('hello', (answer) => answer('second'))
    far.io.on('hello', (answer) => answer('far'))
    const answers = await first.io.serverSideEmitWithAck('hello')
    assert.deepEqual(answers.toSorted(), ['far', 'second'])
    assert.equal((await first.io.fetchSockets()).length, 3)
  })

  await t.test('and deliver after the call, each with its own copy of the values', async () => {
    const value = { list: [1] }
    let returned = false
    const arrived = new Promise((resolve) => {
      second.io.on('values', (got) => resolve([returned, got]))
    })
    first.io.serverSideEmit('values', value)
    returned = true
    value.list.push(2)
    assert.deepEqual(await arrived, [true, { list: [1] }])
  })

  await t.test('and one may leave while the others stay', async () => {
    await second.io.close()
    await knowing([first, far], 2)
    const [client] = clients
    far.io.emit('last')
    await once(client, 'last')
  })
})

test('several servers over a node that never starts exchange events', LIMIT, async (t) => {
  const node = newNode()
  const first = await new TestServer(t, node).listen()
  const second = await new TestServer(t, node).listen()
  await knowing([first, second], 2)
  const client = await second.connect()
  first.io.emit('event')
  await until(() => client.events.length === 1)
  assert.deepEqual(client.events, [['event']])
})

test(
  'servers of one node still know each other while the queue for the network is full',
  LIMIT,
  async (t) => {
    const options = { adapter: { heartbeatInterval: 50, heartbeatTimeout: 500 } }
    const node = newNode()
    const first = await new TestServer(t, node, options).listen()
    const second = await new TestServer(t, node, options).listen()
    await knowing([first, second], 2)
    for (let i = 0; i < 20; i++) first.io.emit('event', Buffer.alloc(1 << 20))
    // Waits for two checks of the base class for servers that are gone.
    const removed = []
    for (const { adapter } of [first, second]) {
      const { removeNode } = adapter
      adapter.removeNode = (uid) => {
        removed.push(uid)
        removeNode.call(adapter, uid)
      }
    }
    const heard = second.adapter.nodesMap.get(first.adapter.uid)
    await until(() => second.adapter.nodesMap.get(first.adapter.uid) > heard + 2000)
    assert.deepEqual(removed, [])
  }
)

test('a client recovers at another server over the same node', LIMIT, async (t) => {
  const node = newNode()
  const recovery = { connectionStateRecovery: {} }
  const first = await new TestServer(t, node, recovery).listen()
  const second = await new TestServer(t, node, recovery).listen()
  await knowing([first, second], 2)
  const client = await first.connect()
  first.io.emit('first')
  await once(client, 'first')
  client.io.uri = `http://127.0.0.1:${second.port}`
  client.io.engine.close()
  second.io.emit('missed')
  await once(client, 'connect')
  await until(() => client.events.length === 2)
  assert.ok(client.recovered)
  assert.deepEqual(
    client.events.map(([name]) => name),
    ['first', 'missed']
  )
})

test('events published before the node started arrive in order', LIMIT, async (t) => {
  const [first] = await cluster(t, 1)
  const client = await first.connect()
  const node = newNode(first.node)
  const late = await new TestServer(t, node).listen()
  for (let i = 0; i < 100; i++) late.io.emit('event', i, Buffer.alloc(100_000))
  await node.start()
  for (let i = 100; i < 120; i++) late.io.emit('event', i)
  await until(() => client.events.length === 120)
  assert.deepEqual(
    client.events.map((event) => event[1]),
    Array.from({ length: 120 }, (_, i) => i)
  )
  await knowing([first, late], 2)
})

test('a publish resolves immediately', LIMIT, async (t) => {
  const node = newNode()
  const server = await new TestServer(t, node).listen()
  const client = await server.connect()
  const { adapter } = server
  let sent = 0
  const check = async () => {
    assert.equal(await publish(adapter, ['event']), 'resolved')
    server.io.emit('event', sent++)
    await until(() => client.events.length === sent)
  }

  await t.test('before the start', check)
  await t.test('without a peer', async () => {
    await node.start()
    await check()
  })
  await t.test('after the stop', async () => {
    await node.stop()
    await check()
  })
  await t.test('after another start', async () => {
    await node.start()
    await check()
  })
  await t.test('when it is too large', async () => {
    const errors = []
    adapter.on('error', (error) => errors.push(error))
    assert.equal(await publish(adapter, ['event', Buffer.alloc(17 << 20)]), 'resolved')
    await until(() => errors.length === 1)
    assert.equal(errors[0].code, 'ERR_SMOKESIGNAL_SOCKET_IO_DROPPED')
    assert.equal(adapter.dropped, 1)
    await check()
  })
  await t.test('when it cannot be encoded', async () => {
    const circular = {}
    circular.self = circular
    assert.equal(await publish(adapter, ['event', circular]), 'resolved')
    await until(() => adapter.dropped === 2)
    await check()
  })
})

test('a publish above the maxMessage of the node is dropped and reported', LIMIT, async (t) => {
  const servers = await cluster(t, 2, { node: { maxMessage: 1 << 17 } })
  const clients = [await servers[0].connect(), await servers[1].connect()]
  const errors = []
  servers[0].adapter.on('error', (error) => errors.push(error))
  servers[0].io.emit('small', 1)
  servers[0].io.emit('large', Buffer.alloc(1 << 18))
  servers[0].io.emit('small', 2)
  await until(() => clients[1].events.length === 2 && clients[0].events.length === 3)
  assert.deepEqual(clients[1].events, [
    ['small', 1],
    ['small', 2]
  ])
  assert.equal(errors.length, 1)
  assert.equal(servers[0].adapter.dropped, 1)
})

test('a publish beyond the full queue is dropped and reported', LIMIT, async (t) => {
  const node = newNode()
  const server = await new TestServer(t, node).listen()
  const client = await server.connect()
  const errors = []
  // Without a listener for error, nothing is thrown.
  for (let i = 0; i < 40; i++) server.io.emit('event', i, Buffer.alloc(1 << 20))
  assert.ok(server.adapter.dropped >= 24)
  await new Promise(setImmediate)
  server.adapter.on('error', (error) => errors.push(error))
  for (let i = 40; i < 45; i++) server.io.emit('event', i, Buffer.alloc(1 << 20))
  await until(() => client.events.length === 45)
  assert.equal(errors.length, 5)
  const lines = node.logger.lines.filter((line) => /dropped for the other servers/.test(line))
  assert.ok(lines.length >= 1 && lines.length <= 10, lines.join('\n'))
  assert.match(lines[0], /^warn/)

  // The events that had room arrive.
  const far = newNode()
  const other = await new TestServer(t, far).listen()
  await far.start()
  const farClient = await other.connect()
  await node.start()
  await node.addPeer('127.0.0.1', far.options.port)
  server.io.emit('last')
  await until(() => farClient.events.at(-1)?.[0] === 'last')
  const numbers = farClient.events.slice(0, -1).map((event) => event[1])
  assert.deepEqual(
    numbers,
    Array.from({ length: numbers.length }, (_, i) => i)
  )
  assert.equal(numbers.length, 45 - server.adapter.dropped)
})

test(
  'messages of the adapter do not appear in broadcast, nor those of broadcast in the adapter',
  LIMIT,
  async (t) => {
    const servers = await cluster(t, 2)
    const plain = newNode(servers[0].node)
    await plain.start()
    t.after(() => plain.stop())
    const seen = []
    for (const node of [plain, servers[0].node, servers[1].node]) {
      node.broadcast.on('data', (data) => seen.push(data.toString()))
    }
    const reading = (async () => {
      for await (const { data } of plain.messages()) seen.push(`messages: ${data}`)
    })()
    const clients = [await servers[0].connect(), await servers[1].connect()]
    for (let i = 0; i < 10; i++) {
      servers[0].io.emit('event', i)
      plain.broadcast.write(`plain ${i}`)
      servers[1].node.broadcast.write(`server ${i}`)
    }
    await until(() => clients.every(({ events }) => events.length === 10))
    await until(
      () =>
        seen.filter((text) => text === 'plain 9').length === 2
        && seen.filter((text) => text === 'server 9').length === 2
        && seen.includes('messages: server 9')
    )
    assert.ok(
      seen.every((text) => /^(messages: )?(plain|server) \d$/.test(text)),
      seen.join()
    )
    for (const { adapter } of servers) assert.equal(adapter.bus.malformed, 0)
    await plain.stop()
    await reading
  }
)

test('a process ends by itself after its server was closed', LIMIT, async (t) => {
  const [server] = await cluster(t, 1)
  const { child } = await childServer(t, server.node.options.port, {
    leave: true,
    connectionStateRecovery: {}
  })
  await knowing([server], 2)
  await server.io.serverSideEmitWithAck('hello')
  const exited = once(child, 'exit')
  child.send('leave')
  assert.deepEqual(await exited, [0, null])
  await knowing([server], 1)
})
