'use strict'
/**
 * Many nodes that write at the same time.
 */
const assert = require('node:assert/strict')
const { once } = require('node:events')
const { test } = require('node:test')
const split = require('split2')
const { eventually, network } = require('../helpers')

test("ten nodes write lines of JSON at the same time: each line arrives once, in its writer's order, whole and without an echo", async (t) => {
  const LINES = 200
  const nodes = await network(t, 10)
  await eventually(() => nodes.every((node) => node.size === 10))
  const texts = ['ascii', 'Grüße', '世界', '🌍🎉', '\u2028', '"quotes" \\ and \t']
  const found = nodes.map(() => nodes.map(() => []))
  let count = 0
  nodes.forEach((node, reader) => {
    // Reads strings without regard to the ends of chunks.
    node.broadcast
      .setEncoding('utf8')
      .pipe(split(JSON.parse))
      .on('data', ({ writer, n, text }) => {
        assert.equal(text, texts[n % texts.length].repeat(1 + (n % 30)))
        found[reader][writer].push(n)
        count += 1
      })
  })
  await Promise.all(
    nodes.map(async (node, writer) => {
      for (let n = 0; n < LINES; n += 1) {
        const line = JSON.stringify({ writer, n, text: texts[n % texts.length].repeat(1 + (n % 30)) })
        if (!node.broadcast.write(`${line}\n`)) await once(node.broadcast, 'drain')
        if (n % 20 === 0) await new Promise(setImmediate)
      }
    })
  )
  const expected = nodes.length * (nodes.length - 1) * LINES
  await eventually(() => count >= expected)
  const order = Array.from({ length: LINES }, (_, n) => n)
  found.forEach((writers, reader) => {
    writers.forEach((lines, writer) =>
      assert.deepEqual(lines, reader === writer ? [] : order, `${writer} at ${reader}`)
    )
  })
})

test('identical messages all arrive: none is taken for a copy of another', async (t) => {
  const nodes = await network(t, 5)
  await eventually(() => nodes.every((node) => node.size === 5))
  const counts = nodes.map(() => 0)
  nodes.forEach((node, i) =>
    node.broadcast.on('data', (chunk) => {
      assert.equal(String(chunk), 'same')
      counts[i] += 1
    })
  )
  for (let i = 0; i < 100; i += 1) nodes.forEach((node) => node.broadcast.write('same'))
  await eventually(() => counts.every((count) => count >= 400))
  assert.deepEqual(counts, [400, 400, 400, 400, 400])
})
