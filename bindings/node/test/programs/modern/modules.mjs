/** An ES module has the names that `require` returns, and both create nodes of one class. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import byDefault, { createNode, Identity, localIp, MemoryNetwork, Node } from 'smokesignal-p2p'
import * as everything from 'smokesignal-p2p'

const required = createRequire(import.meta.url)('smokesignal-p2p')

assert.equal(byDefault, required)
assert.equal(everything.default, required)
assert.deepEqual(
  [createNode, Identity, localIp, MemoryNetwork, Node],
  [required.createNode, required.Identity, required.localIp, required.MemoryNetwork, required.Node]
)
for (const name of Object.keys(required)) assert.equal(everything[name], required[name], name)

const imported = createNode({ address: '127.0.0.1', identity: required.Identity.generate() })
assert.ok(imported instanceof required.Node)
await imported.start()
const other = required.createNode({
  address: '127.0.0.1',
  seeds: [{ address: '127.0.0.1', port: imported.options.port }]
})
assert.ok(other instanceof Node)
const connected = once(imported, 'connect')
await other.start()
await connected
await Promise.all([imported.stop(), other.stop()])
console.log('one instance')
