/** The types for `import`: the same as for `require`. */
export { createAdapter } from './socket.io.js'
export type { AdapterOptions, SmokesignalAdapter } from './socket.io.js'
