'use strict'
/**
 * How the package is loaded, and how long a process with nodes lives. Each test is a process of its
 * own.
 */
const assert = require('node:assert/strict')
const { test } = require('node:test')
const { program, soon } = require('../helpers')

/** Resolves to the output of a program, which has to exit with 0. */
async function output(name, options) {
  const { code, signal, stdout, stderr } = await soon(program(name, options).ended, name)
  assert.deepEqual({ code, signal, stderr }, { code: 0, signal: null, stderr: '' }, stdout)
  return stdout
}

test('import and require return one instance', async () => {
  assert.equal(await output('modern/modules.mjs'), 'one instance\n')
})

for (const [platform, arch] of [
  ['freebsd', 'x64'],
  ['linux', 's390x'],
  ['sunos', 'x64']
]) {
  test(`on ${platform} ${arch}, which has no package, the error names the platforms and how to build`, async () => {
    const { code, message } = JSON.parse(await output('modern/platform.js', { args: [platform, arch] }))
    assert.equal(code, 'ERR_SMOKESIGNAL_NO_NATIVE')
    assert.match(message, new RegExp(`${platform}-${arch}`))
    for (const known of [
      'linux-x64-gnu',
      'linux-arm64-gnu',
      'linux-x64-musl',
      'darwin-x64',
      'darwin-arm64',
      'win32-x64-msvc'
    ]) {
      assert.ok(message.includes(known), `${known}: ${message}`)
    }
    assert.match(message, /rustup\.rs.*npm install && npm run build/)
  })
}

test('if the package of the platform is missing, the error names it and a likely cause', async () => {
  const { code, message, cause } = JSON.parse(
    await output('modern/platform.js', { args: ['darwin', 'arm64'] })
  )
  assert.equal(code, 'ERR_SMOKESIGNAL_NO_NATIVE')
  assert.match(message, /smokesignal-p2p-darwin-arm64.*optional dependencies.*rustup\.rs/)
  assert.equal(cause, 'MODULE_NOT_FOUND')
})

test('a started node keeps the process alive until it is stopped', async () => {
  const life = program('modern/life.js')
  await life.printed(/started/)
  life.child.stdin.end('stop\n')
  const { code, stdout } = await soon(life.ended, 'the end of the process')
  assert.deepEqual([code, stdout], [0, 'started\nstopped\n'])
})

test('a node works in a worker', async () => {
  assert.equal(await output('modern/worker.js'), 'out of the worker, and back\nexit 0\n')
})
