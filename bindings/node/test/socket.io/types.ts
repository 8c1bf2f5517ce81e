// Compiled by types.test.js, not run.
import { createServer } from 'node:http'
import { Server } from 'socket.io'
import { createNode } from '../../index.js'
import { createAdapter, type AdapterOptions, type SmokesignalAdapter } from '../../socket.io.js'

const node = createNode({ address: '127.0.0.1' })
const options: AdapterOptions = { heartbeatInterval: 1000, heartbeatTimeout: 5000, requestTimeout: null }
const io = new Server(createServer(), { adapter: createAdapter(node, options), connectionStateRecovery: {} })
io.adapter(createAdapter(node))
const adapter = io.of('/').adapter as unknown as SmokesignalAdapter
const dropped: number = adapter.dropped
adapter.on('error', (error: Error) => console.log(error, dropped))

// @ts-expect-error a string is not a number of milliseconds
createAdapter(node, { requestTimeout: '5s' })
// @ts-expect-error it has to be a node
createAdapter({})
