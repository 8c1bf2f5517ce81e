import type { Adapter } from 'socket.io-adapter'
import type { Node } from './index.js'

/** Times in milliseconds; what is left out, or `undefined` or `null`, has its usual value. */
export interface AdapterOptions {
  /**
   * A server that published nothing for so long tells the others that it is there. 5000, or half of `heartbeatTimeout` where
   * that is less.
   */
  heartbeatInterval?: number | null | undefined
  /**
   * A server that was not heard for so long counts as gone, and is no longer waited for. It is for servers that are killed, or
   * out of reach: one that is closed is gone at once. 10 000, or twice `heartbeatInterval` where that is more.
   */
  heartbeatTimeout?: number | null | undefined
  /**
   * How long `fetchSockets` (unless `timeout()` says something else) and `serverSideEmit` wait for the other servers. A client
   * that comes back waits so long for its session, but at most 2000. 5000.
   */
  requestTimeout?: number | null | undefined
}

/**
 * The adapter of a namespace, `io.of('/').adapter`. It emits `error` for each publish that the other servers do not get (where
 * somebody listens), with the `code` `ERR_SMOKESIGNAL_SOCKET_IO_DROPPED` and its cause.
 */
export interface SmokesignalAdapter extends Adapter {
  /** How many publishes the other servers did not get. Own clients got them. */
  readonly dropped: number
}

/**
 * Returns what the option `adapter` of a socket.io server takes.
 *
 * Rooms, acknowledgements, `fetchSockets`, `serverSideEmit` and the recovery of connections then work across all servers whose
 * nodes are in one network. Several namespaces and several servers may share one node, which may be started before or after.
 *
 * ```js
 * const node = createNode({ address: '10.0.0.2', port: 8495, seeds: [{ address: '10.0.0.1', port: 8495 }] })
 * const io = new Server(httpServer, { adapter: createAdapter(node) })
 * await node.start()
 * ```
 *
 * @param node from `createNode`
 * @throws TypeError or RangeError that names the option
 */
export function createAdapter(node: Node, options?: AdapterOptions | null): (nsp: any) => SmokesignalAdapter
