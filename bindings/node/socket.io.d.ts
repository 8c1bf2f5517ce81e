import type { Adapter } from 'socket.io-adapter'
import type { Node } from './index.js'

/** Options of `createAdapter`, in milliseconds. `undefined` and `null` mean the default. */
export interface AdapterOptions {
  /**
   * How long a server publishes nothing before it sends a heartbeat. Default 5000, or half of
   * `heartbeatTimeout` if that is less.
   */
  heartbeatInterval?: number | null | undefined
  /**
   * How long a server may be silent before it counts as gone and requests stop waiting for it. This
   * is for servers that were killed or are unreachable: a server that is closed counts as gone
   * immediately. Default 10000, or twice `heartbeatInterval` if that is more.
   */
  heartbeatTimeout?: number | null | undefined
  /**
   * How long `fetchSockets` (without a `timeout()` of its own) and `serverSideEmit` wait for the
   * other servers. A client that comes back waits equally long for its session, but at most 2000.
   * Default 5000.
   */
  requestTimeout?: number | null | undefined
}

/**
 * The adapter of a namespace, `io.of('/').adapter`. If somebody listens, it emits `error` for each
 * publish that is dropped for the other servers, with the code `ERR_SMOKESIGNAL_SOCKET_IO_DROPPED`
 * and the cause.
 *
 * @example
 * ```js
 * io.of('/').adapter.on('error', (error) => console.error(error.message, error.cause))
 * ```
 */
export interface SmokesignalAdapter extends Adapter {
  /** How many publishes were dropped for the other servers. Clients of this server got them. */
  readonly dropped: number
}

/**
 * Returns a value for the option `adapter` of a socket.io server.
 *
 * With it, rooms, acknowledgements, `fetchSockets`, `serverSideEmit` and connection state recovery
 * work across all servers whose nodes are in one network. Several namespaces and several servers
 * may share one node, which may be started before or after.
 *
 * @param node A node from `createNode`.
 * @throws {TypeError | RangeError} `ERR_SMOKESIGNAL_BAD_OPTION` if `node` or an option makes no
 *   sense.
 * @throws `ERR_SMOKESIGNAL_SOCKET_IO_MISSING` if socket.io-adapter 2.5.5 or later is not installed.
 *
 * @example
 * ```js
 * const node = createNode({ address: '10.0.0.2', port: 8495, seeds: [{ address: '10.0.0.1', port: 8495 }] })
 * const io = new Server(httpServer, { adapter: createAdapter(node) })
 * await node.start()
 * ```
 */
export function createAdapter(node: Node, options?: AdapterOptions | null): (nsp: any) => SmokesignalAdapter
