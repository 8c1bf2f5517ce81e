'use strict'
/**
 * What the native half has woken: numbers, each with a function that looks after it. One call from native code for a burst.
 */
const native = require('./native')

/** Rounds of work before timers and sockets get their turn. */
const ROUNDS = 2

const handlers = new Map()
const bell = new native.Bell(ring)
let next = 1
let due = []
let at = 0
/** Numbers that have more to do, once others have had their turn. */
let later = []
let scheduled = false
let running
let awake = 0
let timer

module.exports = { bell, reserve, register, replace, unregister, again, guarded, stayAwake, maySleep }

/** A number for something that may become due; nobody looks after it yet. */
function reserve() {
  while (handlers.has(next)) next = (next + 1) >>> 0
  const number = next
  next = (next + 1) >>> 0
  return number
}

/** A number for something that may become due, and what is called then. What is registered is kept. */
function register(handler) {
  const number = reserve()
  handlers.set(number, handler)
  return number
}

/** Has the number looked after by this from now on. */
function replace(number, handler) {
  handlers.set(number, handler)
}

function unregister(number) {
  handlers.delete(number)
}

/** Calls the number's function again, after timers and sockets had their turn. */
function again(number) {
  later.push(number)
  schedule()
}

function schedule() {
  if (scheduled) return
  scheduled = true
  setImmediate(() => {
    scheduled = false
    due = at === 0 ? due.concat(later) : due.slice(at).concat(later)
    at = 0
    later = []
    ring()
  })
}

function ring() {
  let calm = false
  try {
    for (let round = 0; round < ROUNDS; round += 1) {
      if (at === due.length) {
        at = 0
        due = bell.take()
        if (due.length === 0) {
          calm = true
          return
        }
      }
      while (at < due.length) {
        running = due[at]
        at += 1
        handlers.get(running)?.()
        running = undefined
      }
    }
  } finally {
    // What has thrown may not be through with its work, and keeps nobody else waiting.
    if (running !== undefined) later.push(running)
    running = undefined
    // Native code does not ring again before it was asked in vain.
    if (!calm) schedule()
  }
}

/** Calls code of the user's: what it throws is an uncaught exception, and interrupts nothing else. */
function guarded(call) {
  try {
    call()
  } catch (error) {
    queueMicrotask(() => {
      throw error
    })
  }
}

/** Keeps the process running until `maySleep` was called as often: native threads do not. */
function stayAwake() {
  awake += 1
  if (awake === 1) timer = setInterval(() => {}, 2 ** 31 - 1)
}

function maySleep() {
  awake -= 1
  if (awake === 0) clearInterval(timer)
}
