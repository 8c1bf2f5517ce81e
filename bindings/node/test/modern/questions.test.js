'use strict'
/**
 * `ask` and `answer`.
 */
const assert = require('node:assert/strict')
const { test } = require('node:test')
const { network, pair, soon, started } = require('../helpers')
const { take } = require('./common')

test('every node that has an answer gives it', async (t) => {
  const [asker, one, two, silent, dumb] = await network(t, 5)
  one.answer((question, from) => `${question} of ${from}: one`)
  two.answer(async (question) => Buffer.concat([question, Buffer.from(': two')]))
  silent.answer(() => undefined)
  dumb.answer(async () => null)
  const answers = await take(asker.ask('who?', { timeout: 60_000 }), 2)
  assert.deepEqual(
    answers.map(({ from, data }) => [from, String(data)]).sort(),
    [
      [one.id, `who? of ${asker.id}: one`],
      [two.id, 'who?: two']
    ].sort()
  )
})

test('the answers end after the timeout, even if there are none', async (t) => {
  const { a, b } = await pair(t)
  b.answer((question) => (String(question) === 'yes?' ? 'yes' : undefined))
  const collect = async (question) => {
    const answers = []
    for await (const { data } of a.ask(question, { timeout: 500 })) answers.push(String(data))
    return answers
  }
  assert.deepEqual(await soon(Promise.all([collect('yes?'), collect('no?')])), [['yes'], []])
})

test('a node does not answer its own question, and questions are not messages', async (t) => {
  const { a, b } = await pair(t)
  a.answer(() => 'myself')
  b.answer(() => 'the other')
  const messages = b.messages()
  assert.deepEqual(
    (await take(a.ask('who?'), 1)).map(({ from }) => from),
    [b.id]
  )
  await a.send('a message')
  const [message] = await take(messages, 1)
  // Questions have sequence numbers, too.
  assert.deepEqual([String(message.data), message.seq], ['a message', 2])
})

test('an error of the handler is logged, and other nodes answer', async (t) => {
  const logged = []
  const asker = await started(t)
  const broken = await started(t, { logger: { error: (text) => logged.push(text) } }, asker)
  const working = await started(t, {}, asker)
  let asked = 0
  broken.answer((question) => {
    asked += 1
    if (String(question) === 'one') throw new Error('the handler is broken')
    return Promise.reject(new Error('it is still broken'))
  })
  working.answer(() => 'fine')
  await Promise.all(
    [broken, working].map((node) => node.connected || soon(require('node:events').once(node, 'connect')))
  )
  for (const question of ['one', 'two']) {
    const answers = []
    for await (const { from } of asker.ask(question, { timeout: 700 })) answers.push(from)
    assert.deepEqual(answers, [working.id])
  }
  assert.equal(asked, 2)
  assert.equal(logged.length, 2)
  assert.match(logged[0], new RegExp(`${asker.id}.*the handler is broken`))
  assert.match(logged[1], /it is still broken/)
})

test('an answer of the wrong kind is logged', async (t) => {
  const { a, b } = await pair(t)
  const logged = new Promise((resolve) => {
    b.logger.error = resolve
  })
  b.answer(() => 5)
  const asking = a.ask('what?', { timeout: 60_000 })
  const next = asking.next()
  assert.match(await soon(logged), /"answer"/)
  await asking.return()
  assert.deepEqual(await next, { value: undefined, done: true })
})

test('a node has one handler at a time, until that is closed', async (t) => {
  const { a, b } = await pair(t)
  const answering = b.answer(() => 'first')
  assert.throws(() => b.answer(() => 'second'), { code: 'ERR_SMOKESIGNAL_ANSWERING' })
  answering.close()
  answering.close()
  b.answer(() => 'second')
  assert.deepEqual(
    (await take(a.ask('who?'), 1)).map(({ data }) => String(data)),
    ['second']
  )
})

test('large questions and answers arrive whole', async (t) => {
  const { a, b } = await pair(t)
  b.answer((question) => question.subarray(0, 1024 * 1024))
  const question = Buffer.alloc(2 * 1024 * 1024, 'question')
  const [{ data }] = await take(a.ask(question, { timeout: 60_000 }), 1)
  assert.ok(data.equals(question.subarray(0, 1024 * 1024)))
})

test('the answers end when the node stops', async (t) => {
  const { a } = await pair(t)
  const next = a.ask('who?', { timeout: 60_000 }).next()
  await a.stop()
  assert.deepEqual(await soon(next), { value: undefined, done: true })
})

test('a wrong timeout, question or handler is refused', async (t) => {
  const node = await started(t)
  assert.throws(() => node.ask('who?', { timeout: '5' }), {
    name: 'TypeError',
    code: 'ERR_SMOKESIGNAL_BAD_OPTION',
    message: /"timeout"/
  })
  assert.throws(() => node.ask('who?', { timeout: -1 }), {
    name: 'RangeError',
    code: 'ERR_SMOKESIGNAL_BAD_OPTION',
    message: /"timeout"/
  })
  assert.throws(() => node.ask('who?', { timeout: NaN }), {
    name: 'RangeError',
    code: 'ERR_SMOKESIGNAL_BAD_OPTION'
  })
  assert.throws(() => node.ask(5), { name: 'TypeError', code: 'ERR_SMOKESIGNAL_BAD_OPTION' })
  assert.throws(() => node.answer('yes'), {
    name: 'TypeError',
    code: 'ERR_SMOKESIGNAL_BAD_OPTION',
    message: /"handler"/
  })
  await node.stop()
  await assert.rejects(node.ask('who?').next(), { code: 'ERR_SMOKESIGNAL_NOT_RUNNING' })
})
