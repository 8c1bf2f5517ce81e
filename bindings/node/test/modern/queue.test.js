'use strict'
/**
 * The queues of lib/queue.js: first in, first out, whatever is put back or taken out in between.
 */
const assert = require('node:assert/strict')
const { test } = require('node:test')
const { NumberedQueue, Queue } = require('../../lib/queue')

test('items leave a queue in the order in which they came, across many refills', () => {
  const queue = new Queue()
  let [pushed, shifted] = [0, 0]
  for (let round = 0; round < 50; round += 1) {
    for (let count = 0; count < 100; count += 1) queue.push(pushed++)
    for (let count = 0; count < 97; count += 1) assert.equal(queue.shift(), shifted++)
    assert.equal(queue.length, pushed - shifted)
    assert.equal(queue.at(0), shifted)
    assert.equal(queue.at(queue.length - 1), pushed - 1)
  }
  assert.deepEqual(
    queue.clear(),
    Array.from({ length: 150 }, (_, index) => shifted + index)
  )
  assert.equal(queue.length, 0)
})

test('an item that is put back is the first one, and any item can be removed', () => {
  const queue = new Queue()
  for (const item of ['a', 'b', 'c']) queue.push(item)
  queue.unshift(queue.shift())
  queue.unshift('first')
  assert.equal(
    queue.remove((item) => item === 'b'),
    'b'
  )
  assert.equal(
    queue.remove((item) => item === 'b'),
    undefined
  )
  assert.deepEqual(queue.clear(), ['first', 'a', 'c'])
})

test('items of a numbered queue are found by their number, also after the first ones have left', () => {
  const queue = new NumberedQueue()
  for (let number = 2; number <= 400; number += 2) queue.push({ number })
  for (let count = 0; count < 100; count += 1) queue.shift()
  assert.equal(queue.find(200), undefined)
  assert.equal(queue.find(201), undefined)
  assert.deepEqual(queue.find(202), { number: 202 })
  assert.equal(queue.after(201).length, 100)
  assert.deepEqual(queue.after(397), [{ number: 398 }, { number: 400 }])
  assert.deepEqual(queue.after(400), [])
})
