/** The ES module face: the same instance that `require` returns. */
import adapter from './socket.io.js'

export const { createAdapter } = adapter
