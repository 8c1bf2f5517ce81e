'use strict'

// The tests that socket.io has for its own cluster adapters: three servers with one client each.

const test = require('node:test')
const assert = require('node:assert/strict')
const { LIMIT, cluster, knowing, until, childServer, once, newNode, TestServer } = require('./helpers')

/** Starts three servers with one client each. */
async function three(t, options) {
  const servers = await cluster(t, 3, options)
  const clients = []
  for (const server of servers) clients.push(await server.connect())
  return { servers, clients, sockets: clients.map((client) => client.serverSide) }
}

/** Waits until each client has got this many events. */
function got(clients, count) {
  return until(
    () => clients.every(({ events }) => events.length === count),
    `each client gets ${count} events`
  )
}

/** Emits an event that arrives after everything that this server has sent before. */
async function fence({ io }, clients) {
  const before = clients.map(({ events }) => events.length)
  const arrived = clients.map((client) => once(client, 'fence'))
  io.emit('fence')
  await Promise.all(arrived)
  clients.forEach((client, i) => {
    client.events = client.events.filter(([name]) => name !== 'fence')
    assert.ok(client.events.length >= before[i])
  })
}

test('a broadcast arrives', LIMIT, async (t) => {
  await t.test('to all clients, with all kinds of values', async (t) => {
    const { servers, clients } = await three(t)
    const blob = Buffer.from([1, 2, 3])
    servers[0].io.emit('event', 1, '2', { a: [3, { blob }], none: null }, blob)
    await got(clients, 1)
    for (const { events } of clients) {
      assert.deepEqual(events, [['event', 1, '2', { a: [3, { blob }], none: null }, blob]])
    }
  })

  await t.test('to a namespace only', async (t) => {
    const servers = await cluster(t, 3)
    for (const { io } of servers) io.of('/custom')
    await knowing(servers, 3, '/custom')
    const custom = []
    const others = []
    for (const server of servers) {
      custom.push(await server.connect('/custom'))
      others.push(await server.connect('/'))
    }
    servers[1].io.of('/custom').emit('event')
    await got(custom, 1)
    await fence(servers[1], others)
    assert.deepEqual(
      others.map(({ events }) => events),
      [[], [], []]
    )
  })

  await t.test('to a dynamic namespace', async (t) => {
    const servers = await cluster(t, 2)
    for (const { io } of servers) io.of(/^\/dynamic-\d+$/)
    const clients = []
    for (const server of servers) {
      const client = server.client('/dynamic-1')
      await once(client, 'connect')
      clients.push(client)
    }
    await knowing(servers, 2, '/dynamic-1')
    servers[1].io.of('/dynamic-1').emit('event')
    await got(clients, 1)
  })

  await t.test('to a room, except another one', async (t) => {
    const { servers, clients, sockets } = await three(t)
    sockets[1].join('room')
    sockets[2].join(['room', 'quiet'])
    servers[0].io.to('room').emit('first')
    servers[0].io.to('room').except('quiet').emit('second')
    servers[0].io.except('room').emit('third')
    await fence(servers[0], clients)
    assert.deepEqual(
      clients.map(({ events }) => events.flat()),
      [['third'], ['first', 'second'], ['first']]
    )
  })

  await t.test('to a room whose name is a number, which differs from its string', async (t) => {
    const { servers, clients, sockets } = await three(t)
    sockets[1].join(1)
    sockets[2].join('1')
    servers[0].io.to(1).emit('number')
    servers[0].io.to('1').emit('text')
    servers[0].io.except(1).emit('not the number')
    await fence(servers[0], clients)
    assert.deepEqual(
      clients.map(({ events }) => events.flat()),
      [['not the number'], ['number'], ['text', 'not the number']]
    )
  })

  await t.test('to the clients of one server', async (t) => {
    const { servers, clients } = await three(t)
    servers[0].io.local.emit('event')
    await fence(servers[0], clients)
    assert.deepEqual(
      clients.map(({ events }) => events.length),
      [1, 0, 0]
    )
  })

  await t.test('from one socket at all others', async (t) => {
    const { servers, clients, sockets } = await three(t)
    sockets[0].broadcast.emit('event')
    await fence(servers[0], clients)
    assert.deepEqual(
      clients.map(({ events }) => events.length),
      [0, 1, 1]
    )
  })

  await t.test("one writer's events come in order", async (t) => {
    const { servers, clients } = await three(t)
    for (let i = 0; i < 1000; i++) servers[i % 3].io.emit('event', i % 3, i)
    await got(clients, 1000)
    for (const { events } of clients) {
      for (let writer = 0; writer < 3; writer++) {
        const numbers = events.filter((event) => event[1] === writer).map((event) => event[2])
        assert.deepEqual(
          numbers,
          numbers.toSorted((a, b) => a - b)
        )
      }
    }
  })

  await t.test('when it is large', async (t) => {
    const { servers, clients } = await three(t, { maxHttpBufferSize: 1e8 })
    const large = Buffer.alloc(3 << 20, 7)
    servers[0].io.emit('event', large)
    await got(clients, 1)
    for (const { events } of clients) assert.ok(large.equals(events[0][1]))
  })
})

test('acknowledgements arrive', LIMIT, async (t) => {
  await t.test('from all clients, with nested Buffers', async (t) => {
    const { servers, clients } = await three(t)
    clients.forEach((client, i) => {
      client.on('event', (blob, answer) => answer({ i, blobs: [Buffer.concat([blob, blob])] }))
    })
    const answers = await servers[0].io.timeout(20_000).emitWithAck('event', Buffer.from([7]))
    answers.sort((a, b) => a.i - b.i)
    assert.deepEqual(
      answers,
      [0, 1, 2].map((i) => ({ i, blobs: [Buffer.from([7, 7])] }))
    )
    assert.ok(answers.every(({ blobs }) => Buffer.isBuffer(blobs[0])))
  })

  await t.test('without those of a client that does not answer', async (t) => {
    const { servers, clients } = await three(t)
    clients[0].on('event', (answer) => answer(1))
    clients[1].on('event', (answer) => answer(2))
    clients[2].on('event', () => {})
    await assert.rejects(servers[0].io.timeout(500).emitWithAck('event'), (error) => {
      assert.deepEqual(error.responses.sort(), [1, 2])
      return true
    })
  })

  await t.test('while a server joins that was not known when the event was emitted', async (t) => {
    const { servers, clients } = await three(t)
    clients.forEach((client, i) => client.on('event', (answer) => answer(i)))
    // Pretends that the server has joined after the count.
    servers[0].adapter.nodesMap.delete(servers[2].adapter.uid)
    const answers = await servers[0].io.timeout(20_000).emitWithAck('event')
    assert.deepEqual(answers.toSorted(), [0, 1])
  })

  await t.test('from no client', async (t) => {
    const { servers } = await three(t)
    assert.deepEqual(await servers[0].io.to('empty').timeout(20_000).emitWithAck('event'), [])
  })

  await t.test('from one client on another server', async (t) => {
    const { servers, clients } = await three(t)
    clients[2].on('event', (answer) => answer('here'))
    const sockets = await servers[0].io.in(clients[2].id).fetchSockets()
    assert.equal(await sockets[0].timeout(20_000).emitWithAck('event'), 'here')
  })
})

test('sockets of all servers', LIMIT, async (t) => {
  await t.test('are fetched from all servers', async (t) => {
    const { servers, clients, sockets } = await three(t)
    sockets[1].data = { name: 'B', blob: Buffer.from('x') }
    sockets[1].join(7)
    const all = await servers[0].io.fetchSockets()
    assert.deepEqual(all.map(({ id }) => id).sort(), clients.map(({ id }) => id).sort())
    const remote = all.find(({ id }) => id === clients[1].id)
    assert.deepEqual(remote.data, { name: 'B', blob: Buffer.from('x') })
    assert.ok(remote.rooms.has(7))
    assert.equal(typeof remote.handshake.headers, 'object')
    assert.equal((await servers[2].io.in(7).fetchSockets()).length, 1)
    assert.equal((await servers[2].io.local.fetchSockets()).length, 1)
  })

  await t.test('join and leave rooms', async (t) => {
    const { servers, clients, sockets } = await three(t)
    sockets[1].join('some')
    servers[0].io.socketsJoin('all')
    servers[0].io.in('some').socketsJoin([8, '8'])
    await fence(servers[0], clients)
    assert.deepEqual(
      sockets.map(({ rooms }) => [rooms.has('all'), rooms.has(8), rooms.has('8')]),
      [
        [true, false, false],
        [true, true, true],
        [true, false, false]
      ]
    )
    servers[0].io.in('some').socketsLeave(8)
    servers[0].io.socketsLeave('all')
    await fence(servers[0], clients)
    assert.deepEqual(
      sockets.map(({ rooms }) => [rooms.has('all'), rooms.has(8), rooms.has('8')]),
      [
        [false, false, false],
        [false, false, true],
        [false, false, false]
      ]
    )
  })

  await t.test('join a room before what is emitted next', async (t) => {
    const { servers, clients } = await three(t)
    servers[0].io.socketsJoin('all')
    servers[0].io.to('all').emit('event')
    await got(clients, 1)
  })

  await t.test('are disconnected', async (t) => {
    const { servers, clients, sockets } = await three(t)
    sockets[0].join('room')
    sockets[1].join('room')
    const reasons = [0, 1].map((i) => once(clients[i], 'disconnect'))
    servers[2].io.in('room').disconnectSockets()
    assert.deepEqual(
      (await Promise.all(reasons)).map(([reason]) => reason),
      ['io server disconnect', 'io server disconnect']
    )
    assert.ok(clients[2].connected)
  })
})

test('serverSideEmit reaches the other servers', LIMIT, async (t) => {
  await t.test('reaches the other servers', async (t) => {
    const { servers } = await three(t)
    const events = []
    const arrived = servers.map(
      ({ io }, i) =>
        new Promise((resolve) => {
          io.on('hello', (...args) => {
            events.push([i, ...args])
            resolve()
          })
        })
    )
    servers[0].io.serverSideEmit('hello', 1, '2', { 3: [undefined, Buffer.from('4')] })
    await Promise.all(arrived.slice(1))
    events.sort()
    assert.deepEqual(
      events,
      [1, 2].map((i) => [i, 1, '2', { 3: [undefined, Buffer.from('4')] }])
    )
  })

  await t.test('and returns their answers', async (t) => {
    const { servers } = await three(t)
    servers[0].io.on('hello', () => assert.fail('not the one that asks'))
    servers[1].io.on('hello', (answer) => answer(2))
    servers[2].io.on('hello', (answer) => answer({ blob: Buffer.from('3') }))
    const answers = await servers[0].io.serverSideEmitWithAck('hello')
    assert.deepEqual(
      answers.sort((a) => (a === 2 ? -1 : 1)),
      [2, { blob: Buffer.from('3') }]
    )
  })

  await t.test('and fails when one of them does not answer', async (t) => {
    const { servers } = await three(t, { adapter: { requestTimeout: 300 } })
    servers[1].io.on('hello', (answer) => answer(2))
    servers[2].io.on('hello', () => {})
    await assert.rejects(servers[0].io.serverSideEmitWithAck('hello'), (error) => {
      assert.match(error.message, /timeout reached: missing 1 responses/)
      assert.deepEqual(error.responses, [2])
      return true
    })
  })

  await t.test('and does not wait for a server that leaves', async (t) => {
    const { servers } = await three(t)
    servers[1].io.on('hello', (answer) => answer(2))
    servers[2].io.on('hello', () => servers[2].io.close())
    assert.deepEqual(await servers[0].io.serverSideEmitWithAck('hello'), [2])
  })

  await t.test('and an exception of a listener stays at its server', async (t) => {
    const { servers, clients } = await three(t)
    const thrown = new Promise((resolve) => {
      t.after(() => process.setUncaughtExceptionCaptureCallback(null))
      process.setUncaughtExceptionCaptureCallback(resolve)
    })
    servers[1].io.on('hello', () => {
      throw new Error('of the listener')
    })
    servers[0].io.serverSideEmit('hello')
    servers[0].io.emit('event')
    assert.equal((await thrown).message, 'of the listener')
    await got(clients, 1)
  })
})

test('servers come and go', LIMIT, async (t) => {
  // With these timeouts, only messages of the adapter can inform the others in time.
  const slow = { adapter: { heartbeatInterval: 1e6, heartbeatTimeout: 1e7 } }

  await t.test('a server that joins or leaves is known immediately', async (t) => {
    const servers = await cluster(t, 2, slow)
    const node = newNode(servers[0].node)
    const late = await new TestServer(t, node, slow).listen()
    await node.start()
    await knowing([...servers, late], 3)
    await late.io.close()
    await knowing(servers, 2)
  })

  await t.test(
    'a server that is killed counts as gone after the timeout, and requests stop waiting for it',
    async (t) => {
      const quick = { adapter: { heartbeatInterval: 100, heartbeatTimeout: 1000 } }
      const servers = await cluster(t, 2, quick)
      const { child } = await childServer(t, servers[0].node.options.port, quick)
      await knowing(servers, 3)
      servers[1].io.on('hello', (answer) => answer('from this process'))
      const all = await servers[0].io.serverSideEmitWithAck('hello')
      assert.deepEqual(all.sort(), ['from a child', 'from this process'])
      child.kill('SIGKILL')
      const answers = servers[0].io.serverSideEmitWithAck('hello')
      const client = await servers[1].connect()
      client.on('event', (answer) => answer('from a client'))
      const acknowledged = servers[0].io.timeout(50_000).emitWithAck('event')
      await knowing(servers, 2)
      assert.deepEqual(await acknowledged, ['from a client'])
      assert.deepEqual((await answers).includes('from this process'), true)
      assert.deepEqual(await servers[0].io.serverSideEmitWithAck('hello'), ['from this process'])
    }
  )
})
