'use strict'
/**
 * Keeps the process running while a node runs. The library's threads do not keep the event loop of
 * Node.js alive, so one idle timer does it for all nodes of a thread.
 */

/** The longest interval that Node.js accepts, in ms. */
const LONGEST_INTERVAL = 2 ** 31 - 1

let users = 0
let timer

/** Keeps the process running until `unref` has been called as often as this. */
function ref() {
  users += 1
  if (users === 1) timer = setInterval(() => {}, LONGEST_INTERVAL)
}

/** Takes back one `ref`. */
function unref() {
  users -= 1
  if (users === 0) clearInterval(timer)
}

module.exports = { ref, unref }
