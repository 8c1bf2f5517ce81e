'use strict'
/**
 * How nodes keep their process alive, and let it end.
 */
const assert = require('node:assert/strict')
const { test } = require('node:test')
const { program, soon } = require('../helpers')

async function life(t, name) {
  const running = program('life.js', { args: [name], input: '' })
  t.after(() => running.child.kill('SIGKILL'))
  return running
}

async function lived(t, name) {
  const { code, signal, stdout, stderr } = await soon((await life(t, name)).ended, `the end of ${name}`)
  assert.equal(signal, null, stderr)
  return { code, stdout, stderr }
}

test(
  'a started node keeps the process running, and after stop() it ends by itself',
  { skip: process.platform === 'win32' },
  async (t) => {
    const { child, ended, printed } = await life(t, 'runs')
    await printed(/^started$/m)
    child.kill('SIGUSR2')
    const { code, stdout, stderr } = await soon(ended, 'the end')
    assert.deepEqual([code, stdout, stderr], [0, 'started\nstopping\n', ''])
  }
)

test('a node that was not started does not keep the process running', async (t) => {
  assert.deepEqual(await lived(t, 'idle'), { code: 0, stdout: '', stderr: '' })
})

test('stop() lets the process end even with open readers, iterations and streams', async (t) => {
  assert.deepEqual(await lived(t, 'stops'), { code: 0, stdout: 'stopped\n', stderr: '' })
})

test('several nodes live in one process, and the stop of one does not affect the others', async (t) => {
  assert.deepEqual(await lived(t, 'several'), { code: 0, stdout: 'false false false true\n', stderr: '' })
})

test('process.exit() with busy nodes neither crashes nor hangs', async (t) => {
  for (let i = 0; i < 5; i += 1)
    assert.deepEqual(await lived(t, 'exits'), { code: 7, stdout: 'exiting\n', stderr: '' })
})

test('a listener that throws ends the process with its error', async (t) => {
  const { code, stderr } = await lived(t, 'throws')
  assert.equal(code, 1)
  assert.match(stderr, /Error: from connect/)
})

test('after such an exception is caught, the other listeners and events follow', async (t) => {
  const { code, stdout, stderr } = await lived(t, 'caught')
  assert.equal(stderr, '')
  assert.equal(code, 0)
  const log = stdout.trim().split('\n')
  assert.deepEqual(
    log.filter((line) => !line.startsWith('caught')),
    ['connect', 'new peer', 'add', 'peer 1', 'peer 2', 'disconnect', 'remove']
  )
  assert.deepEqual(log.filter((line) => line.startsWith('caught')).sort(), [
    'caught from connect',
    'caught from disconnect',
    'caught from new peer',
    'caught from peer 1',
    'caught from peer 2'
  ])
})

test('with captureRejections, the rejection of an async listener is the event error', async (t) => {
  assert.deepEqual(await lived(t, 'rejects'), {
    code: 0,
    stdout: 'error from an async listener\n',
    stderr: ''
  })
})

test('twenty nodes, one after the other, leave nothing behind that keeps the process running', async (t) => {
  assert.deepEqual(await lived(t, 'forgets'), { code: 0, stdout: 'all stopped\n', stderr: '' })
})

test('disposing of a node stops it', async (t) => {
  assert.deepEqual(await lived(t, 'disposes'), { code: 0, stdout: 'false\n', stderr: '' })
})

test('50 worker threads that start a node and end immediately do not abort the process', async (t) => {
  const running = program('workers.js', { input: '' })
  t.after(() => running.child.kill('SIGKILL'))
  const { code, signal, stdout, stderr } = await soon(running.ended, 'the end')
  assert.deepEqual([code, signal, stdout, stderr], [0, null, 'ended 50\nafter all\n', ''])
})
