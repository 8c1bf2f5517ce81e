'use strict'

// Clients whose connection broke go on where they were, at any server.

const test = require('node:test')
const assert = require('node:assert/strict')
const {
  LIMIT,
  cluster,
  knowing,
  until,
  breakAndReturn,
  withoutOffsets,
  childServer,
  connect,
  once
} = require('./helpers')

const RECOVERY = { connectionStateRecovery: {} }

/** Waits until a client has got this many events. */
function got(client, count) {
  return until(() => client.events.length >= count, `${count} events`)
}

/** Waits until all servers have seen what the others have published so far. */
async function settled(servers) {
  for (const { io } of servers) io.serverSideEmit('settled')
  await until(() =>
    servers.every(({ adapter }) =>
      servers.every(
        (other) =>
          other === servers.find((server) => server.adapter === adapter)
          || adapter.recovery.writers.get(other.adapter.uid)?.last === other.adapter.number
      )
    )
  )
}

/** Publishes more than a log keeps, as fast as the network takes it. */
async function publishMuch({ io, adapter }) {
  for (let i = 0; i < 20; i++) {
    io.to(['elsewhere', 'room'])
      .except('here')
      .emit('event', Buffer.alloc(1 << 20))
    await until(() => adapter.bus.queued === 0)
  }
}

/** Cuts a client off from its server, which does not notice yet. */
function deafen(client) {
  client.io.engine.off('data')
}

/** Starts three servers, and a client of the first one that has got one event. */
async function started(t, options = RECOVERY) {
  const servers = await cluster(t, 3, options)
  const client = await servers[0].connect()
  client.serverSide.join(['room', 5])
  client.serverSide.data = { name: 'A', blob: Buffer.from('x') }
  servers[1].io.emit('first')
  await got(client, 1)
  return { servers, client }
}

/** Checks that a client of `started` gets what it missed, wherever it comes back. */
async function misses({ servers, client }, there) {
  const { id } = client
  await breakAndReturn(client, there, async () => {
    await until(() => servers[0].io.of('/').sockets.size === 0)
    servers[0].io.emit('own', 1)
    servers[1].io.to(5).emit('number', [Buffer.from('y')])
    servers[1].io.to('5').emit('not for it')
    servers[1].io.except('room').emit('not for it')
    servers[2].io.to('room').emit('third', undefined, 'x')
    servers[2].io.to(id).emit('private')
    servers[2].io.volatile.emit('not kept')
    await settled(servers)
  })
  assert.equal(client.recovered, true)
  assert.equal(client.serverSide.recovered, true)
  assert.equal(client.id, id)
  assert.equal(client.serverSide.id, id)
  assert.deepEqual(client.serverSide.data, { name: 'A', blob: Buffer.from('x') })
  assert.ok(['room', 5, id].every((room) => client.serverSide.rooms.has(room)))
  servers[1].io.to(5).emit('last')
  await got(client, 6)
  const events = withoutOffsets(client.events)
  assert.deepEqual(
    events.filter(([name]) => name === 'number'),
    [['number', [Buffer.from('y')]]]
  )
  const names = events.map(([name]) => name)
  assert.deepEqual(names.toSorted(), ['first', 'last', 'number', 'own', 'private', 'third'])
  assert.ok(names.indexOf('third') < names.indexOf('private'))
  assert.equal(names.at(-1), 'last')
}

test('a client recovers its session', LIMIT, async (t) => {
  await t.test('at the same server', async (t) => {
    const { servers, client } = await started(t)
    await misses({ servers, client }, servers[0])
  })

  await t.test('at another server', async (t) => {
    const { servers, client } = await started(t)
    await misses({ servers, client }, servers[2])
  })

  await t.test('many times, even if it got nothing in between', async (t) => {
    const { servers, client } = await started(t)
    for (const there of [1, 2, 0, 0, 2, 1, 1, 0]) {
      await breakAndReturn(client, servers[there])
      assert.equal(client.recovered, true)
    }
    servers[2].io.emit('second')
    await got(client, 2)
    assert.deepEqual(withoutOffsets(client.events), [['first'], ['second']])
  })

  for (const there of [0, 2]) {
    await t.test(`and gets events that were lost on the way, at server ${there}`, async (t) => {
      const { servers, client } = await started(t)
      deafen(client)
      servers[1].io.emit('lost 1')
      servers[0].io.to('room').emit('lost 2')
      await settled(servers)
      client.serverSide.leave('room')
      servers[0].io.to('room').emit('not for it')
      client.serverSide.join('late')
      servers[0].io.to('late').emit('lost 3')
      await settled(servers)
      await breakAndReturn(client, servers[there])
      await got(client, 4)
      servers[1].io.emit('last')
      await got(client, 5)
      const names = client.events.map(([name]) => name)
      assert.deepEqual(
        names.filter((name) => name !== 'lost 1'),
        ['first', 'lost 2', 'lost 3', 'last']
      )
      assert.equal(names.filter((name) => name === 'lost 1').length, 1)
    })

    await t.test(`before its old server has noticed the break, at server ${there}`, async (t) => {
      const { servers, client } = await started(t)
      deafen(client)
      // `again` stands for it from now on: two that come back would take turns at one session.
      client.io.reconnection(false)
      servers[1].io.emit('lost')
      await settled(servers)
      const { id, _pid: pid, _lastOffset: offset } = client
      const accepted = once(servers[there].io, 'connection')
      const again = servers[there].client('/', { auth: { pid, offset } })
      const [socket] = await accepted
      assert.equal(socket.recovered, true)
      assert.equal(socket.id, id)
      await got(again, 1)
      assert.deepEqual(withoutOffsets(again.events), [['lost']])
    })
  }

  await t.test('when its connection breaks again while it gets what it missed', async (t) => {
    const { servers, client } = await started(t)
    await breakAndReturn(client, servers[1], async () => {
      await until(() => servers[0].io.of('/').sockets.size === 0)
      for (let i = 0; i < 10; i++) servers[2].io.emit('missed', i)
      await settled(servers)
    })
    await got(client, 11)
    // Pretends that the client has got four of them.
    client._lastOffset = client.events[4].at(-1)
    client.events.length = 5
    deafen(client)
    servers[0].io.emit('missed', 10)
    await settled(servers)
    await breakAndReturn(client, servers[2], async () => {
      servers[1].io.emit('missed', 11)
      await settled(servers)
    })
    await got(client, 13)
    const numbers = client.events.slice(1).map((event) => event[1])
    assert.deepEqual(
      numbers.toSorted((a, b) => a - b),
      [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    )
    assert.deepEqual(numbers.slice(0, 10), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  })

  await t.test('when its connection breaks again and again on the way back', async (t) => {
    const { servers, client } = await started(t)
    client.io.reconnection(false)
    client.io.engine.close()
    await until(() => servers[0].io.of('/').sockets.size === 0)
    for (let i = 0; i < 10; i++) servers[i % 3].io.emit('missed', i % 3, i)
    await settled(servers)
    // The number of packets that arrive before each break. The first packet is "connected".
    for (const [attempt, hears] of [0, 3, 1, 0, 0, 3, 2, 3].entries()) {
      client.io.uri = `http://127.0.0.1:${servers[attempt % 3].port}`
      const open = once(client.io, 'open')
      client.connect()
      await open
      const { engine } = client.io
      const heard = engine.listeners('data')
      engine.off('data')
      const cut = new Promise((resolve) => {
        let count = 0
        engine.on('data', (data) => {
          if (++count <= hears) heard.forEach((listener) => listener(data))
          else resolve()
        })
      })
      await cut
      engine.close()
    }
    client.io.uri = `http://127.0.0.1:${servers[1].port}`
    client.io.reconnection(true)
    client.connect()
    await once(client, 'connect')
    assert.equal(client.recovered, true)
    await got(client, 11)
    servers[2].io.emit('last')
    await got(client, 12)
    const events = withoutOffsets(client.events)
    assert.deepEqual(events.at(-1), ['last'])
    for (let writer = 0; writer < 3; writer++) {
      const numbers = events
        .filter((event) => event[0] === 'missed' && event[1] === writer)
        .map((event) => event[2])
      assert.deepEqual(
        numbers,
        [0, 3, 6, 9].map((n) => n + writer).filter((n) => n < 10)
      )
    }
  })

  await t.test('and gets events that were published while a middleware waited', async (t) => {
    const options = { connectionStateRecovery: { skipMiddlewares: false } }
    const { servers, client } = await started(t, options)
    let waiting
    const reached = new Promise((resolve) => {
      servers[1].io.use((socket, next) => {
        waiting = next
        resolve(socket)
      })
    })
    const back = breakAndReturn(client, servers[1], async () => {
      servers[2].io.emit('missed 1')
      await settled(servers)
    })
    assert.equal((await reached).recovered, true)
    servers[2].io.emit('missed 2')
    servers[1].io.emit('missed 3')
    await settled(servers)
    servers[1].io.emit('missed 4')
    waiting()
    servers[1].io.emit('missed 5')
    await back
    servers[1].io.emit('last')
    await got(client, 7)
    assert.deepEqual(client.events.map(([name]) => name).toSorted(), [
      'first',
      'last',
      'missed 1',
      'missed 2',
      'missed 3',
      'missed 4',
      'missed 5'
    ])
  })

  await t.test('at another server after its own was closed, but only once', async (t) => {
    const { servers, client } = await started(t)
    const { id, _pid: pid, _lastOffset: offset } = client
    servers[0].io.on('connection', (socket) => {
      socket.on('disconnect', () => servers[0].io.emit('somebody left'))
    })
    const other = await servers[0].connect()
    await breakAndReturn(client, servers[2], async () => {
      await servers[0].io.close()
      await knowing(servers.slice(1), 2)
      servers[1].io.emit('missed', Buffer.from('x'))
      await settled(servers.slice(1))
    })
    assert.equal(client.recovered, true)
    assert.equal(client.id, id)
    assert.ok(client.serverSide.rooms.has(5))
    servers[1].io.emit('last')
    await got(client, 4)
    assert.deepEqual(
      client.events.map(([name]) => name),
      ['first', 'somebody left', 'missed', 'last']
    )
    other.disconnect()
    await until(() => !servers[1].adapter.recovery.sessions.has(pid))
    // The session is here now, and no longer at the servers that it was handed over to.
    await breakAndReturn(client, servers[1])
    assert.equal(client.recovered, true)
    client.disconnect()
    const accepted = once(servers[1].io, 'connection')
    servers[1].client('/', { auth: { pid, offset } })
    assert.equal((await accepted)[0].recovered, false)
  })

  await t.test('when nothing was written to it for a long time, and the log went on', async (t) => {
    const { servers, client } = await started(t)
    client.serverSide.join('here')
    await publishMuch(servers[0])
    servers[1].io.emit('second')
    await got(client, 2)
    await publishMuch(servers[0])
    await settled(servers)
    await breakAndReturn(client, servers[2], async () => {
      await until(() => servers[0].io.of('/').sockets.size === 0)
      servers[1].io.emit('missed')
      await settled(servers)
    })
    assert.equal(client.recovered, true)
    await got(client, 3)
    assert.deepEqual(
      client.events.map(([name]) => name),
      ['first', 'second', 'missed']
    )
  })

  await t.test('at any server, while all servers publish', async (t) => {
    const { servers, client } = await started(t)
    let publishing = true
    const published = [0, 0, 0]
    const publish = () => {
      servers.forEach(({ io }, i) => io.to('room').emit('event', i, published[i]++))
      if (publishing) setTimeout(publish, 1)
    }
    publish()
    const counts = () => client.events.filter(([name]) => name === 'event').length
    for (let i = 0; i < 30; i++) {
      const before = counts()
      await until(() => counts() > before + i)
      await breakAndReturn(client, servers[(i * 7 + 1) % 3])
      assert.equal(client.recovered, true)
    }
    publishing = false
    await settled(servers)
    for (const { io } of servers) io.emit('last')
    await until(() => client.events.filter(([name]) => name === 'last').length === 3)
    for (let writer = 0; writer < 3; writer++) {
      const numbers = client.events
        .filter((event) => event[0] === 'event' && event[1] === writer)
        .map((event) => event[2])
      assert.deepEqual(
        numbers,
        Array.from({ length: published[writer] }, (_, i) => i)
      )
    }
  })
})

test('a client gets a fresh session', LIMIT, async (t) => {
  await t.test('when another client has taken the session', async (t) => {
    const { servers, client } = await started(t)
    const { _pid: pid, _lastOffset: offset } = client
    await breakAndReturn(client, servers[1])
    client.disconnect()
    for (const server of servers) {
      const accepted = once(server.io, 'connection')
      server.client('/', { auth: { pid, offset } })
      assert.equal((await accepted)[0].recovered, false)
    }
  })

  await t.test('with an offset that no server has issued', async (t) => {
    const { servers, client } = await started(t)
    const { _pid: pid, _lastOffset: offset } = client
    client.io.engine.close()
    client.disconnect()
    const foreign = [
      `${offset}zzzzzz`,
      'x',
      '',
      servers[1].adapter.tag,
      `${servers[1].adapter.tag}1`,
      `${offset.slice(0, 8)}-5`
    ]
    for (const bad of foreign) {
      const accepted = once(servers[0].io, 'connection')
      servers[0].client('/', { auth: { pid, offset: bad } })
      assert.equal((await accepted)[0].recovered, false)
    }
  })

  await t.test('after a server was killed', async (t) => {
    const adapter = { heartbeatInterval: 100, heartbeatTimeout: 1000 }
    const servers = await cluster(t, 2, { ...RECOVERY, adapter })
    const child = await childServer(t, servers[0].node.options.port, { ...RECOVERY, adapter })
    await knowing(servers, 3)
    const client = connect(`http://127.0.0.1:${child.port}`, {
      transports: ['websocket'],
      reconnectionDelay: 1,
      forceNew: true
    })
    t.after(() => client.disconnect())
    await once(client, 'connect')
    const { id } = client
    servers[0].io.emit('first')
    await once(client, 'first')
    client.io.uri = `http://127.0.0.1:${servers[1].port}`
    const back = once(client, 'connect')
    child.child.kill('SIGKILL')
    await back
    assert.equal(client.recovered, false)
    assert.notEqual(client.id, id)
    const second = once(client, 'second')
    servers[0].io.emit('second')
    await second
  })

  for (const there of [0, 2]) {
    await t.test(
      `at server ${there}, when it missed more than is kept, and one warning is logged`,
      async (t) => {
        const { servers, client } = await started(t)
        const { id } = client
        await breakAndReturn(client, servers[there], async () => {
          await until(() => servers[0].io.of('/').sockets.size === 0)
          await publishMuch(servers[1])
          await until(() =>
            servers.every(
              ({ adapter }) =>
                adapter.recovery.writers.get(servers[1].adapter.uid).last === servers[1].adapter.number
            )
          )
        })
        assert.equal(client.recovered, false)
        assert.notEqual(client.id, id)
        const { log } = servers[there].adapter.recovery
        assert.ok(log.bytes <= 16 << 20)
        const lines = servers.flatMap(({ node }) => node.logger.lines)
        assert.equal(lines.filter((line) => /missed more than is kept/.test(line)).length, 1)
      }
    )
  }

  for (const there of [0, 2]) {
    await t.test(
      `at server ${there}, when messages were lost between servers while it was away`,
      async (t) => {
        const { servers, client } = await started(t)
        const stays = await servers[0].connect()
        servers[1].io.emit('second')
        await got(stays, 1)
        await got(client, 2)
        await breakAndReturn(client, servers[there], async () => {
          await until(() => servers[0].io.of('/').sockets.size === 1)
          servers[1].adapter.number++ // A message that no server gets.
          servers[1].io.emit('third')
          await settled(servers)
        })
        assert.equal(client.recovered, false)
        // Clients that were connected, or whose connection breaks later, are not affected.
        await got(stays, 2)
        await breakAndReturn(stays, servers[there], async () => {
          servers[2].io.emit('fourth')
          await settled(servers)
        })
        assert.equal(stays.recovered, true)
        await got(stays, 3)
        assert.deepEqual(
          stays.events.map(([name]) => name),
          ['second', 'third', 'fourth']
        )
      }
    )
  }

  await t.test('while messages may be lost, until it is known that none were', async (t) => {
    const { servers, client } = await started(t)
    const { bus } = servers[0].adapter
    await breakAndReturn(client, servers[0], async () => {
      await until(() => servers[0].io.of('/').sockets.size === 0)
      bus.channel.ongap(servers[1].adapter.bus.id, 3)
      setTimeout(() => servers[1].io.emit('it is well'), 50)
    })
    assert.equal(client.recovered, true)
    await breakAndReturn(client, servers[0], async () => {
      await until(() => servers[0].io.of('/').sockets.size === 0)
      bus.channel.ongap(servers[1].adapter.bus.id, 3)
    })
    assert.equal(client.recovered, false)
    assert.ok(servers[0].node.logger.lines.some((line) => /messages of node .* were lost/.test(line)))
  })

  await t.test('after maxDisconnectionDuration', async (t) => {
    const { servers, client } = await started(t, {
      connectionStateRecovery: { maxDisconnectionDuration: 50 }
    })
    await breakAndReturn(client, servers[1], async () => {
      await until(() => servers[0].adapter.recovery.sessions.size === 1)
      const [session] = servers[0].adapter.recovery.sessions.values()
      await until(() => Date.now() > session.at + 50)
    })
    assert.equal(client.recovered, false)
  })

  await t.test('without the option there is no recovery, and events have no extra argument', async (t) => {
    const servers = await cluster(t, 2)
    const client = await servers[0].connect()
    servers[0].io.emit('event', 1)
    servers[1].io.emit('event', 1)
    client.serverSide.emit('event', 1)
    await got(client, 3)
    assert.deepEqual(client.events, [
      ['event', 1],
      ['event', 1],
      ['event', 1]
    ])
    await breakAndReturn(client, servers[0])
    assert.ok(!client.recovered)
  })
})

test('sessions and broadcasts are not kept for longer than maxDisconnectionDuration', LIMIT, async (t) => {
  const servers = await cluster(t, 2, {
    connectionStateRecovery: { maxDisconnectionDuration: 20 },
    adapter: { heartbeatInterval: 10, heartbeatTimeout: 10_000 }
  })
  servers[0].io.emit('event')
  const logs = servers.map(({ adapter }) => adapter.recovery.log)
  await until(() => logs.every(({ end }) => end === 1))
  await until(() => logs.every(({ entries, bytes }) => entries.length === 0 && bytes === 0))
})
