'use strict'

// The example in a real browser.

const test = require('node:test')
const assert = require('node:assert/strict')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { spawn } = require('node:child_process')
const { createInterface } = require('node:readline')
const { until, once } = require('./helpers')

const ROOT = path.join(__dirname, '..', '..')
const EXAMPLE = path.join(ROOT, 'examples', 'scaled-chat')
const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium'
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync'
]

/** Starts a server as `npm start` does. Resolves to its address. */
async function start(t, modules, ...args) {
  const child = spawn(process.execPath, ['server.js', ...args], {
    cwd: EXAMPLE,
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, NODE_PATH: modules }
  })
  t.after(() => child.kill('SIGKILL'))
  const [line] = await once(createInterface({ input: child.stdout }), 'line')
  const [, url, seed] = line.match(/^Chat: (\S+) +other servers: --seed (\S+)$/)
  return { child, url, seed }
}

async function say(page, name, text) {
  await page.fill('#name', name)
  await page.fill('#text', text)
  await page.click('button')
}

const said = (page) => page.locator('#said li').allTextContents()

test(
  'a text that is typed at one server appears at the others',
  {
    timeout: 120_000,
    skip: !fs.existsSync(CHROMIUM) && `there is no ${CHROMIUM} (Debian: apt-get install -y chromium)`
  },
  async (t) => {
    // Does what `npm install` would do, which needs a network.
    const modules = fs.mkdtempSync(path.join(os.tmpdir(), 'scaled-chat-'))
    t.after(() => fs.rmSync(modules, { recursive: true }))
    fs.symlinkSync(ROOT, path.join(modules, 'smokesignal-p2p'))

    const first = await start(t, modules, '--port', '0', '--node-port', '0')
    const second = await start(t, modules, '--port', '0', '--node-port', '0', '--seed', first.seed)
    const third = await start(t, modules, '--port', '0', '--node-port', '0', '--seed', first.seed)

    const { chromium } = require('playwright-core')
    const browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS })
    t.after(() => browser.close())
    const pages = []
    for (const { url } of [first, second, third]) {
      const page = await browser.newPage()
      await page.goto(url)
      await page.waitForFunction(() => document.getElementById('state').textContent.startsWith('connected'))
      pages.push(page)
    }

    // The servers may not be connected to each other yet.
    let expected = []
    await until(async () => {
      expected.push(`Anna: hello ${expected.length}`)
      await say(pages[0], 'Anna', `hello ${expected.length - 1}`)
      await until(async () => (await said(pages[0])).length === expected.length)
      const last = await Promise.all(pages.map(async (page) => (await said(page)).at(-1)))
      return last.every((text) => text === expected.at(-1))
    }, 'all pages show what is said at the first')

    await say(pages[1], 'Ben', '<b>hi</b> all')
    await until(async () => {
      const last = await Promise.all(pages.map(async (page) => (await said(page)).at(-1)))
      return last.every((text) => text === 'Ben: <b>hi</b> all')
    }, 'all pages show what is said at the second')

    // Kills the server that the others have as their seed.
    first.child.kill('SIGKILL')
    await pages[0].waitForFunction(() =>
      document.getElementById('state').textContent.startsWith('connection lost')
    )
    await say(pages[2], 'Cleo', 'still here?')
    await until(async () => (await said(pages[1])).at(-1) === 'Cleo: still here?')
    await say(pages[1], 'Ben', 'yes')
    await until(async () => (await said(pages[2])).at(-1) === 'Ben: yes')
    expected = await said(pages[1])
    assert.equal(new Set(expected).size, expected.length)
  }
)

test('a server of the example ends after a SIGTERM', { timeout: 60_000 }, async (t) => {
  const modules = fs.mkdtempSync(path.join(os.tmpdir(), 'scaled-chat-'))
  t.after(() => fs.rmSync(modules, { recursive: true }))
  fs.symlinkSync(ROOT, path.join(modules, 'smokesignal-p2p'))
  const { child } = await start(t, modules, '--port', '0', '--node-port', '0')
  child.kill('SIGTERM')
  assert.deepEqual(await once(child, 'exit'), [0, null])
})
