'use strict'
/**
 * Calls user code from the inside of this package. An exception in a listener must neither stop the
 * delivery to other listeners nor vanish, so it is thrown again outside of the current call stack.
 */

/** Calls `call`. What it throws becomes an uncaught exception of the process. */
function guarded(call) {
  try {
    call()
  } catch (error) {
    queueMicrotask(() => {
      throw error
    })
  }
}

module.exports = { guarded }
