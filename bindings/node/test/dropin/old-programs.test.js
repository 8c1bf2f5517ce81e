'use strict'
/**
 * Programs written for smokesignal 0.2.x, each a process. In their folder, `smokesignal` is this
 * package.
 */
const assert = require('node:assert/strict')
const { execFileSync } = require('node:child_process')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { test, before, after } = require('node:test')
const { chunks, eventually, program, soon, started, until } = require('../helpers')

const PACKAGE = path.join(__dirname, '..', '..')
const PROGRAMS = path.join(__dirname, '..', 'programs')

let folder

before(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'smokesignal-old-'))
  const modules = path.join(folder, 'node_modules')
  fs.mkdirSync(modules)
  fs.symlinkSync(PACKAGE, path.join(modules, 'smokesignal'), 'junction')
  fs.symlinkSync(path.join(PACKAGE, 'node_modules', 'split2'), path.join(modules, 'split2'), 'junction')
})

after(() => fs.rmSync(folder, { recursive: true, force: true }))

/**
 * Starts a program of `test/programs`, or the given source, where `require('smokesignal')` returns
 * this package.
 */
function run(t, name, { text, ...options } = {}) {
  const file = path.join(folder, name)
  fs.mkdirSync(path.dirname(file), { recursive: true })
  fs.writeFileSync(file, text ?? fs.readFileSync(path.join(PROGRAMS, name)))
  const running = program(file, options)
  t.after(() => running.child.kill('SIGKILL'))
  return running
}

let fetched

/** The files of smokesignal 0.2.2 from npm, whose `index.js` is replaced by this package. */
function original() {
  if (fetched !== undefined) return fetched
  const name = execFileSync('npm', ['pack', '--silent', 'smokesignal@0.2.2'], {
    cwd: folder,
    encoding: 'utf8',
    shell: process.platform === 'win32'
  })
  execFileSync('tar', ['-xzf', name.trim()], { cwd: folder })
  fetched = path.join(folder, 'package')
  fs.writeFileSync(path.join(fetched, 'index.js'), "module.exports = require('smokesignal')\n")
  return fetched
}

/** Replaces `what`, which has to occur exactly once. */
function replaced(text, what, by) {
  assert.equal(text.split(what).length, 2, `${what} is there once`)
  return text.replace(what, () => by)
}

function synopsis(port) {
  const readme = fs.readFileSync(path.join(original(), 'README.md'), 'utf8')
  const [, code] = /## Synopsis\s+```js\n([^]*?)```/.exec(readme)
  return [
    ['port: 8495', 'port: 0'],
    ["'192.168.2.1/255.255.255.0'", "'127.0.0.1/255.0.0.0'"],
    ["{port: 13, address:'192.168.2.100'}", `{port: ${port}, address:'127.0.0.1'}`]
  ].reduce((text, [what, by]) => replaced(text, what, by), code)
}

/** The folder in which the program finds `../../index`. */
const CHAT = path.join('package', 'example', 'ChatApp', 'chat.js')

function chat(port, own = 0) {
  const code = fs.readFileSync(path.join(original(), 'example', 'ChatApp', 'peer.js'), 'utf8')
  return [
    ['|| 14', `|| ${own}`],
    ["'192.168.2.1/255.255.255.0'", "'127.0.0.1/255.0.0.0'"],
    ["{port: 14, address:'192.168.2.100'}", `{port: ${port}, address:'127.0.0.1'}`]
  ].reduce((text, [what, by]) => replaced(text, what, by), code)
}

test('the unchanged synopsis of the old README starts, stops and ends by itself', async (t) => {
  const seed = await started(t)
  const { ended } = run(t, 'synopsis.js', {
    text: synopsis(seed.options.port),
    input: 'typed before the end\n'
  })
  const { code, stderr } = await soon(ended, 'the end of the program')
  assert.equal(code, 0, stderr)
  assert.equal(stderr, '')
})

test('the synopsis of the old README without its last line is a node that writes and reads', async (t) => {
  const seed = await started(t)
  const heard = chunks(seed.broadcast, 2)
  const text = replaced(synopsis(seed.options.port), "// mah, i'd rather stop it\nnode.stop()", '')
  const { child, ended, printed } = run(t, 'talking.js', { text })
  child.stdin.write('typed early\n')
  const lines = (await heard).sort()
  assert.deepEqual(lines, ["HEYO! I'm here", 'typed early\n'])
  const late = chunks(seed.broadcast, 1)
  child.stdin.write('grüße\n')
  assert.deepEqual(await late, ['grüße\n'])
  // The node goes on after the end of stdin.
  child.stdin.end()
  seed.broadcast.write('an answer 🌍\n')
  await printed(/^an answer 🌍$/m)
  child.kill('SIGTERM')
  assert.equal((await soon(ended)).stderr, '')
})

test('the old chat example runs with no other change than its addresses', async (t) => {
  // The first node names itself as a seed, as the old README advised.
  const free = await started(t)
  const { port } = free.options
  await free.stop()
  const text = chat(port)
  const first = run(t, CHAT, { text, args: [String(port)] })
  await first.printed(/^Connecting\.\.\.$/m)
  const others = [run(t, CHAT, { text }), run(t, CHAT, { text })]
  const all = [first, ...others]
  for (const one of all) {
    await one.printed(/^ID [0-9a-f]{64}$/m)
    await one.printed(/^IP 127\.0\.0\.1$/m)
    await one.printed(/^Connected\. Happy chatting!$/m)
  }
  await first.printed(new RegExp(`^Port ${port}$`, 'm'))
  const line = (i) => `Zeile von ${i} – grüße 🌍`
  // A new node reads what is written from now on, so all write until every node has read every
  // other.
  const talking = setInterval(() => all.forEach(({ child }, i) => child.stdin.write(`${line(i)}\n`)), 50)
  t.after(() => clearInterval(talking))
  for (const [reader, one] of all.entries()) {
    for (const writer of all.keys())
      if (writer !== reader) await one.printed(new RegExp(`^${line(writer)}$`, 'm'))
  }
  clearInterval(talking)
  for (const [reader, one] of all.entries()) assert.ok(!one.output().includes(line(reader)), 'an echo')
  others.forEach(({ child }) => child.kill('SIGKILL'))
  await first.printed(/^Disconnected\. Sorry\.$/m)
  first.child.kill('SIGTERM')
  assert.equal((await soon(first.ended)).stderr, '')
})

test('the old chat example ends with the cause when its port is in use', async (t) => {
  const taken = await started(t)
  const { port } = taken.options
  const { ended } = run(t, CHAT, { text: chat(port, port), input: '' })
  const { code, stderr } = await soon(ended)
  assert.notEqual(code, 0)
  assert.match(stderr, new RegExp(`127.0.0.1:${port}`))
  assert.match(stderr, /EADDRINUSE/)
})

test('an old key-value store runs, with PORT as a string, a logger of its own, peer.write within add, readline and an assigned id', async (t) => {
  const one = run(t, 'key-value-store.js', { env: { NAME: 'one', PORT: '0' } })
  one.child.stdin.write('set first 1\n')
  const [, port] = await one.printed(/^port (\d+)$/m)
  const two = run(t, 'key-value-store.js', { env: { NAME: 'two', PORT: '', SEED_PORT: port } })
  // An empty PORT is not a number.
  assert.notEqual((await soon(two.ended)).code, 0)
  const three = run(t, 'key-value-store.js', { env: { NAME: 'three', SEED_PORT: port } })
  await one.printed(/^connected$/m)
  await three.printed(/^synced first$/m)
  for (const each of [one, three]) await each.printed(/^peer true true true$/m)
  three.child.stdin.write('set grüße 🌍\n')
  await one.printed(/^heard grüße of three$/m)
  one.child.stdin.write('get grüße\npeers\nset third 3\n')
  await one.printed(/^value 🌍$/m)
  await one.printed(/^peers 1$/m)
  await three.printed(/^heard third of one$/m)
  three.child.stdin.write('get first\nquit\n')
  const { code, stdout, stderr } = await soon(three.ended, 'the end after stop()')
  assert.equal(stderr, '')
  assert.equal(code, 0)
  assert.match(stdout, /^value 1$/m)
  assert.match(stdout, /^logged true$/m)
  assert.match(stdout, /^disconnected$/m)
  await one.printed(/^disconnected$/m)
  one.child.stdin.write('quit\n')
  assert.equal((await soon(one.ended)).code, 0)
})

test("an address that is the router's works for an old program", async (t) => {
  const one = run(t, 'key-value-store.js', { env: { NAME: 'one', ADDRESS: '203.0.113.7' } })
  const [, port] = await one.printed(/^port (\d+)$/m)
  const node = await started(t)
  const peer = await node.addPeer('127.0.0.1', port)
  assert.equal(peer.remoteAddress, '203.0.113.7')
  await one.printed(/^connected$/m)
})

test('an old editor runs, with the default export, pipe and unpipe on both sides of broadcast', async (t) => {
  const seed = await started(t)
  const { child, ended, printed, output } = run(t, 'editor.js', {
    env: { PORT: '', SEED_PORT: String(seed.options.port) }
  })
  await printed(/^connected$/m)
  await until(() => seed.connected, [seed, 'connect'])
  const first = chunks(seed.broadcast, 1)
  child.stdin.write('typed\n')
  assert.deepEqual(await first, ['typed\n'])
  const muted = chunks(seed.broadcast, 1)
  seed.broadcast.write('/mute\n')
  assert.deepEqual(await muted, ['muted\n'])
  child.stdin.write('for nobody\n')
  await printed(/^kept: for nobody$/m)
  const deaf = chunks(seed.broadcast, 1)
  seed.broadcast.write('/deaf\n')
  assert.deepEqual(await deaf, ['deaf\n'])
  await printed(/^deaf$/m)
  const before = output()
  seed.broadcast.write('not to be printed\n')
  seed.broadcast.write('/exit\n')
  const { code, stdout, stderr } = await soon(ended)
  assert.deepEqual([code, stderr], [0, ''])
  assert.equal(stdout, before)
})

test('an old toy blockchain runs, which awaits nothing and adds peers that do not exist', async (t) => {
  const one = run(t, 'blockchain.js')
  const [, port] = await one.printed(/^port (\d+)$/m)
  one.child.stdin.write('a\n')
  const others = [1, 2].map(() => run(t, 'blockchain.js', { env: { SEED_PORT: port } }))
  for (const other of others) await other.printed(/^chain genesis-a$/m)
  await one.printed(/^peer 64 number$/m)
  others[0].child.stdin.write('b\n')
  await one.printed(/^chain genesis-a-b$/m)
  await others[1].printed(/^chain genesis-a-b$/m)
  others[1].child.stdin.write('c\n')
  await others[0].printed(/^chain genesis-a-b-c$/m)
  for (const each of [one, ...others]) {
    await eventually(() => each.output().includes('genesis-a-b-c') || each === others[1])
    each.child.stdin.end()
    const { code, stderr } = await soon(each.ended, 'the end at the end of stdin')
    assert.deepEqual([code, stderr], [0, ''])
  }
})

test('a default import, a namespace import and named imports of an ES module work and are one instance', async (t) => {
  const text = `
    import smoke from 'smokesignal'
    import * as all from 'smokesignal'
    import { createNode, localIp } from 'smokesignal'
    import { createRequire } from 'node:module'
    const required = createRequire(import.meta.url)('smokesignal')
    console.log(smoke === required, all.createNode === createNode, smoke.createNode === createNode, localIp('127.0.0.0/8'))
    const node = smoke.createNode({ address: '127.0.0.1', port: process.env.PORT })
    await node.start()
    console.log(node.options.port > 0)
    await node.stop()
  `
  const { code, stdout, stderr } = await soon(run(t, 'default-import.mjs', { text }).ended)
  assert.deepEqual([code, stdout, stderr], [0, 'true true true 127.0.0.1\ntrue\n', ''])
})

test('the code that TypeScript and Babel generate for a default import works', async (t) => {
  const text = `
    "use strict"
    var __importDefault = function (mod) { return mod && mod.__esModule ? mod : { default: mod } }
    const smokesignal_1 = __importDefault(require('smokesignal'))
    const plain = require('smokesignal')
    console.log(typeof smokesignal_1.default.createNode, typeof plain.default.createNode, typeof plain.createNode)
  `
  const { code, stdout, stderr } = await soon(run(t, 'compiled.js', { text }).ended)
  assert.deepEqual([code, stdout, stderr], [0, 'function function function\n', ''])
})

/** Returns a program that creates a node and continues with `rest`. */
function short(rest, port = 0) {
  return `
    'use strict'
    var smoke = require('smokesignal')
    var node = smoke.createNode({ address: '127.0.0.1', port: ${port} })
    process.on('exit', function (code) { console.log('exit ' + code) })
    ${rest}
  `
}

test('a start() that fails without a listener for error ends the process with the cause', async (t) => {
  const taken = await started(t)
  const { code, stdout, stderr } = await soon(
    run(t, 'taken.js', { text: short('node.start()', taken.options.port) }).ended
  )
  assert.equal(code, 1)
  assert.equal(stdout, 'exit 1\n')
  assert.match(stderr, /EADDRINUSE/)
  assert.match(stderr, new RegExp(`127.0.0.1:${taken.options.port}`))
})

test('a start() that fails is the event error once if somebody listens, and the process goes on', async (t) => {
  const taken = await started(t)
  const rest = `
    node.on('error', function (error) {
      console.log('error ' + error.code)
      setTimeout(function () { console.log('still here') }, 10)
    })
    node.start()
  `
  const { code, stdout, stderr } = await soon(
    run(t, 'heard.js', { text: short(rest, taken.options.port) }).ended
  )
  assert.deepEqual([code, stdout, stderr], [0, 'error ERR_SMOKESIGNAL_PORT_IN_USE\nstill here\nexit 0\n', ''])
})

test('addPeer never ends an old program, whatever its arguments and whenever it is called', async (t) => {
  const gone = await started(t)
  const { port } = gone.options
  await gone.stop()
  const rest = `
    node.addPeer('127.0.0.1', ${port})
    node.start()
    node.addPeer('127.0.0.1', ${port})
    node.addPeer('127.0.0.1', ${port}, function (error) { console.log('callback ' + (error instanceof Error)) })
    node.addPeer()
    node.addPeer('nowhere.invalid', ${port})
    node.addPeer({}, [])
    var done = setInterval(function () {
      if (!node.listening) return
      clearInterval(done)
      node.addPeer('127.0.0.1', node.options.port)
      setTimeout(function () {
        node.stop()
        node.addPeer('127.0.0.1', ${port})
        setTimeout(function () { node.addPeer('127.0.0.1', ${port}) }, 50)
      }, 100)
    }, 5)
  `
  const { code, stdout, stderr } = await soon(run(t, 'adding.js', { text: short(rest) }).ended)
  assert.equal(stderr, '')
  assert.equal(code, 0)
  assert.match(stdout, /callback true/)
})

test('stop() without start(), twice, or right after start() ends nothing but the node', async (t) => {
  const rest = `
    node.stop()
    node.start()
    node.stop()
    node.stop()
    node.start()
    setTimeout(function () { node.broadcast.write('x'); node.stop(); node.broadcast.write('y') }, 50)
  `
  const { code, stdout, stderr } = await soon(run(t, 'stopping.js', { text: short(rest) }).ended)
  assert.deepEqual([code, stdout, stderr], [0, 'exit 0\n', ''])
})
