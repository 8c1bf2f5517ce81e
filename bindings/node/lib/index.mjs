/** The ES module face: the same instance that `require` returns. */
import smokesignal from './index.js'

export const { createNode, localIp, Identity, MemoryNetwork, Node, Peerlist, Peer, Broadcast, NodeStream } =
  smokesignal
export default smokesignal
