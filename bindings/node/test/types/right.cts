/**
 * Uses from CommonJS: `import = require`, a namespace, names, and the default. This file is
 * compiled, not run.
 */
import smokesignal = require('smokesignal-p2p')
import * as everything from 'smokesignal-p2p'
import byDefault from 'smokesignal-p2p'
import { createNode, type Message, type Options } from 'smokesignal-p2p'

const options: smokesignal.Options = { address: smokesignal.localIp('127.0.0.0/8') }
const sameOptions: Options = options
const nodes: smokesignal.Node[] = [
  smokesignal.createNode(options),
  everything.createNode(sameOptions),
  byDefault.createNode(options),
  createNode(options),
  smokesignal.default.createNode(options),
  new everything.Node(options)
]
const peers: smokesignal.Peer[] = nodes[0]!.peers.list
const print = ({ from, data }: Message): string => `${from}: ${data}`
const code: smokesignal.ErrorCode = 'ERR_SMOKESIGNAL_FULL'

export { code, nodes, peers, print }
