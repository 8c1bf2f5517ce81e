'use strict'
/**
 * Memory does not grow with the amount of data. By default a tenth of the full load, which
 * SMOKESIGNAL_FULL=1 runs: ten million messages of 64 B and 20 GB in chunks of 64 KiB each way.
 */
const assert = require('node:assert/strict')
const { execFile } = require('node:child_process')
const path = require('node:path')
const { test } = require('node:test')
const { promisify } = require('node:util')

const [small, large] = process.env.SMOKESIGNAL_FULL === '1' ? [10_000_000, 327_680] : [1_000_000, 32_768]

test(
  'heap and memory grow by a tenth at most, however much data goes through',
  { timeout: 600_000 },
  async () => {
    const program = path.join(__dirname, 'programs', 'memory.js')
    const { stdout } = await promisify(execFile)(process.execPath, [
      '--expose-gc',
      program,
      String(small),
      String(large)
    ])
    const { before, after } = JSON.parse(stdout)
    assert.ok(after.rss <= before.rss * 1.1, `resident: ${before.rss} bytes before, ${after.rss} after`)
    assert.ok(after.heap <= before.heap * 1.1, `heap: ${before.heap} bytes before, ${after.heap} after`)
  }
)
