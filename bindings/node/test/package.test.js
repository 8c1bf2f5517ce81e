'use strict'
/**
 * The installed package: JavaScript in one package, the native half in that of the platform, under
 * the old name as well.
 */
const assert = require('node:assert/strict')
const { execFileSync } = require('node:child_process')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { test } = require('node:test')

const here = path.join(__dirname, '..')
const built = fs.readdirSync(here).find((name) => name.endsWith('.node'))
const platform = built.replace(/^smokesignal\.|\.node$/g, '')

const npm = (args, cwd) =>
  execFileSync('npm', args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })

test('an installed package runs an old program under the old name; without its native half, the error names the platforms', (t) => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'smokesignal-package-'))
  t.after(() => fs.rmSync(folder, { recursive: true }))
  const platformPackage = path.join(folder, 'platform')
  fs.cpSync(path.join(here, 'npm', platform), platformPackage, { recursive: true })
  fs.copyFileSync(path.join(here, built), path.join(platformPackage, built))
  const pack = (from) =>
    path.join(folder, npm(['pack', '--silent', '--pack-destination', folder], from).trim().split('\n').at(-1))
  const [main, native] = [pack(here), pack(platformPackage)]
  fs.writeFileSync(path.join(folder, 'package.json'), '{ "private": true }')
  npm(['install', '--offline', '--no-audit', '--no-fund', `smokesignal@file:${main}`], folder)

  const program =
    "const smoke = require('smokesignal'); console.log(smoke.localIp('127.0.0.1/8'), typeof smoke.createNode)"
  const run = () =>
    execFileSync(process.execPath, ['-e', program], {
      cwd: folder,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe']
    })
  assert.throws(run, (error) => {
    for (const words of [
      'linux-x64-gnu',
      'darwin-arm64',
      'win32-x64-msvc',
      `smokesignal-p2p-${platform}`,
      'npm run build'
    ]) {
      assert.ok(error.stderr.includes(words), `${words} in ${error.stderr}`)
    }
    return true
  })
  npm(['install', '--offline', '--no-audit', '--no-fund', native], folder)
  assert.equal(run(), '127.0.0.1 function\n')
})
