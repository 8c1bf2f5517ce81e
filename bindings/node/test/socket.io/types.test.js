'use strict'

const test = require('node:test')
const assert = require('node:assert/strict')
const path = require('node:path')
const { spawnSync } = require('node:child_process')

test('the types fit those of socket.io', { timeout: 120_000 }, () => {
  const result = spawnSync(
    process.execPath,
    [
      require.resolve('typescript/bin/tsc'),
      '--noEmit',
      '--strict',
      '--target',
      'es2022',
      '--module',
      'node16',
      '--skipLibCheck',
      path.join(__dirname, 'types.ts')
    ],
    { encoding: 'utf8' }
  )
  assert.equal(result.status, 0, result.stdout + result.stderr)
})

test('import returns the same function as require', async () => {
  const { createAdapter } = await import('../../lib/socket.io.mjs')
  assert.equal(createAdapter, require('../../lib/socket.io.js').createAdapter)
})
