'use strict'
/**
 * Each block of JavaScript in README.md runs as a process of its own in an empty folder. Addresses
 * and ports are replaced by those of this machine, and a node listens where the seed should be.
 */
const assert = require('node:assert/strict')
const { spawn } = require('node:child_process')
const fs = require('node:fs')
const net = require('node:net')
const os = require('node:os')
const path = require('node:path')
const { once } = require('node:events')
const { test } = require('node:test')
const { soon, started } = require('./helpers')

const root = path.join(__dirname, '..')

/** Returns the blocks in the order of the file, with the heading above each. */
function blocks() {
  const found = []
  let heading
  const pattern = /^#+ (?<title>.*)$|^```js\n(?<code>[^]*?)^```$/gm
  for (const { groups } of fs.readFileSync(path.join(root, 'README.md'), 'utf8').matchAll(pattern)) {
    if (groups.title !== undefined) heading = groups.title
    else found.push({ heading, code: groups.code })
  }
  return found
}

/** What the block below each heading prints, and whether its process ends by itself. */
const expected = {
  'smokesignal-p2p': { prints: /^[0-9a-f]{64} wrote hello, everyone\n$/, ends: true },
  'On several machines': { prints: /told/ },
  'The promise of `broadcast`': {
    prints:
      /(?=[^]*^told$)(?=[^]*^[0-9a-f]{64} told \d+$)(?=[^]*^message \d+ of [0-9a-f]{64}, written \d+ ms ago: told$)/m
  },
  'Streams to any node': { prints: /^a file of [0-9a-f]{64}, over the path 'neighbour'\n$/, ends: true },
  'Questions to everyone': { prints: /^[0-9a-f]{64}: I have\n$/, ends: true },
  Peers: { prints: /^[0-9a-f]{64} listens on 127\.0\.0\.1:\d+$/m },
  Errors: { prints: /^ERR_SMOKESIGNAL_REFUSED 127\.0\.0\.1:1 refused the connection/, ends: true },
  'socket.io on several servers': { prints: /^clients connect to port \d+\n$/ },
  'Test your own program': { prints: /^together again\n$/, ends: true }
}

async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  return port
}

/** Creates a folder in which this package is installed. */
function folder(t) {
  const made = fs.mkdtempSync(path.join(os.tmpdir(), 'smokesignal-readme-'))
  t.after(() => fs.rmSync(made, { recursive: true }))
  fs.mkdirSync(path.join(made, 'node_modules'))
  fs.symlinkSync(root, path.join(made, 'node_modules', 'smokesignal-p2p'), 'junction')
  fs.symlinkSync(
    path.join(root, 'node_modules', 'socket.io'),
    path.join(made, 'node_modules', 'socket.io'),
    'junction'
  )
  fs.writeFileSync(path.join(made, 'package.json'), '{ "private": true }\n')
  return made
}

/** Returns the code with the addresses of this machine. */
async function adapted(code, seed) {
  const own = await freePort()
  return code
    .replaceAll(
      "{ address: '192.168.2.100', port: 8495 }",
      `{ address: '127.0.0.1', port: ${seed.options.port} }`
    )
    .replaceAll('192.168.2.1/255.255.255.0', '127.0.0.1/255.0.0.0')
    .replaceAll('8495', String(own))
    .replaceAll('3001', String(await freePort()))
}

for (const { heading, code } of blocks()) {
  test(`the example below "${heading}" does what it says`, async (t) => {
    const { prints, ends = false } = expected[heading]
    const seed = await started(t)
    // Writes again and again, because a new reader only gets what is written after it has joined.
    const telling = setInterval(() => {
      if (seed.connected) seed.broadcast.write('told')
    }, 100)
    t.after(() => clearInterval(telling))
    const file = path.join(folder(t), /^import /m.test(code) ? 'example.mjs' : 'example.js')
    fs.writeFileSync(file, await adapted(code, seed))
    const child = spawn(process.execPath, [file], {
      cwd: path.dirname(file),
      stdio: ['pipe', 'pipe', 'pipe']
    })
    let [stdout, stderr] = ['', '']
    child.stdout.setEncoding('utf8').on('data', (text) => (stdout += text))
    child.stderr.setEncoding('utf8').on('data', (text) => (stderr += text))
    const closed = once(child, 'close')
    if (!ends) {
      const printed = new Promise((resolve) => {
        child.stdout.on('data', () => prints.test(stdout) && resolve())
      })
      await soon(Promise.race([printed, closed]), `${prints}`)
      child.kill()
    }
    const [status] = await soon(closed, `the end of "${heading}"`).finally(() => child.kill('SIGKILL'))
    assert.equal(stderr, '')
    assert.match(stdout, prints)
    if (ends) assert.equal(status, 0)
  })
}

test('every example is tested', () => {
  assert.deepEqual(
    blocks().map(({ heading }) => heading),
    Object.keys(expected)
  )
})

test('the table of options has every option', () => {
  const section = /^## Options\n([^]*?)^## /m.exec(fs.readFileSync(path.join(root, 'README.md'), 'utf8'))[1]
  const named = [...section.matchAll(/^\| `(\w+)` \|/gm)].map(([, name]) => name)
  const { createNode } = require('smokesignal-p2p')
  assert.deepEqual(
    named.sort(),
    Object.getOwnPropertyNames(createNode({ address: '127.0.0.1' }).options).sort()
  )
})
