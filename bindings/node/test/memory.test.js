'use strict'
/**
 * Memory stays where it is, however much goes through. A tenth of the load by default; with SMOKESIGNAL_FULL=1 ten million
 * messages of 64 B and 20 GB in chunks of 64 KiB each way.
 */
const assert = require('node:assert/strict')
const { execFile } = require('node:child_process')
const path = require('node:path')
const { test } = require('node:test')
const { promisify } = require('node:util')

const [small, large] = process.env.SMOKESIGNAL_FULL === '1' ? [10_000_000, 327_680] : [1_000_000, 32_768]

test('heap and memory stay within a tenth whatever goes through', { timeout: 600_000 }, async () => {
  const program = path.join(__dirname, 'programs', 'memory.js')
  const { stdout } = await promisify(execFile)(process.execPath, ['--expose-gc', program, String(small), String(large)])
  const { before, after } = JSON.parse(stdout)
  assert.ok(after.rss <= before.rss * 1.1, `resident: ${before.rss} bytes before, ${after.rss} after`)
  assert.ok(after.heap <= before.heap * 1.1, `heap: ${before.heap} bytes before, ${after.heap} after`)
})
