/** The same instance for `import` as for `require`. */
import smokesignal from './index.js'

export const { createNode, localIp, Identity, MemoryNetwork, Node, Peerlist, Peer, Broadcast, NodeStream } = smokesignal
export default smokesignal
