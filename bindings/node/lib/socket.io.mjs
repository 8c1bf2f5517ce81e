/** The same instance for `import` as for `require`. */
import adapter from './socket.io.js'

export const { createAdapter } = adapter
