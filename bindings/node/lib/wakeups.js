'use strict'
/**
 * Dispatches wakeups of the native half to JavaScript handlers.
 *
 * Everything that can become ready later (an operation, a stream, a reader) has a number, and a
 * handler for that number, which is registered here. When the library wakes one of its futures, the
 * number goes into the native wake queue. Only the first number in an empty queue causes a call
 * into JavaScript; that call drains the queue and runs the handlers. A burst therefore costs one
 * call, however many streams and nodes it concerns. After `ROUNDS` rounds the dispatcher yields to
 * timers and sockets and goes on in the next turn of the event loop.
 */
const native = require('./native')

/** Rounds of draining and dispatching before timers and sockets get their turn. */
const ROUNDS = 2

const handlers = new Map()
const wakeQueue = new native.WakeQueue(dispatch)
let nextNumber = 1
/** The numbers of the present round, and how many of them have been dispatched. */
let due = []
let dispatched = 0
/** Numbers that have more to do, but only after the others had their turn. */
let deferred = []
let scheduled = false
/** The number whose handler runs now. */
let running

module.exports = { wakeQueue, reserve, register, replace, unregister, defer }

/** Returns an unused number that has no handler yet. */
function reserve() {
  while (handlers.has(nextNumber)) nextNumber = (nextNumber + 1) >>> 0
  const number = nextNumber
  nextNumber = (nextNumber + 1) >>> 0
  return number
}

/** Returns a new number and registers its handler, which stays alive until `unregister`. */
function register(handler) {
  const number = reserve()
  handlers.set(number, handler)
  return number
}

/** Sets the handler of a number that `reserve` or `register` returned. */
function replace(number, handler) {
  handlers.set(number, handler)
}

/** Removes the handler of a number. Later wakeups of that number are ignored. */
function unregister(number) {
  handlers.delete(number)
}

/** Calls the number's handler again, in the next turn of the event loop. */
function defer(number) {
  deferred.push(number)
  schedule()
}

function schedule() {
  if (scheduled) return
  scheduled = true
  setImmediate(() => {
    scheduled = false
    due = dispatched === 0 ? due.concat(deferred) : due.slice(dispatched).concat(deferred)
    dispatched = 0
    deferred = []
    dispatch()
  })
}

/** Runs the handlers of all due numbers. The native half calls this, and so does `schedule`. */
function dispatch() {
  let drained = false
  try {
    for (let round = 0; round < ROUNDS; round += 1) {
      if (dispatched === due.length) {
        dispatched = 0
        due = wakeQueue.drain()
        if (due.length === 0) {
          drained = true
          return
        }
      }
      while (dispatched < due.length) {
        running = due[dispatched]
        dispatched += 1
        handlers.get(running)?.()
        running = undefined
      }
    }
  } finally {
    // A handler that threw may not be done with its work: it runs again after the others.
    if (running !== undefined) deferred.push(running)
    running = undefined
    // The native half stays silent until a drain has returned nothing.
    if (!drained) schedule()
  }
}
