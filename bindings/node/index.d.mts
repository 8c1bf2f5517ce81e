/** The types for `import`: the same as for `require`. */
export {
  createNode,
  localIp,
  Identity,
  MemoryNetwork,
  Node,
  Peerlist,
  Peer,
  Broadcast,
  NodeStream,
  default
} from './index.js'
export type {
  Abortable,
  Answer,
  Answering,
  AnswerHandler,
  Arriving,
  AskOptions,
  BroadcastEvents,
  Data,
  ErrorCode,
  Gap,
  Logger,
  MemoryNetworkOptions,
  Message,
  Netsplit,
  NetsplitResolved,
  NodeEvents,
  Options,
  PeerlistEvents,
  ReadFrom,
  ReadOptions,
  Seed,
  SeedUnreachable,
  SmokesignalError,
  StreamEvents
} from './index.js'
