'use strict'
/**
 * The types: right uses compile, wrong ones do not, and the error codes are complete.
 */
const assert = require('node:assert/strict')
const { test } = require('node:test')
const { execFile } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')

const here = path.join(__dirname, '..')

/** Compiles files of `test/types` as a user would. Resolves to the output of the compiler. */
function compiled(files, kind, resolution) {
  const options = [
    '--strict',
    '--noEmit',
    '--exactOptionalPropertyTypes',
    '--noUncheckedIndexedAccess',
    '--esModuleInterop',
    '--types',
    'node'
  ]
  const target = [
    '--target',
    'es2022',
    '--lib',
    'es2022,esnext.disposable',
    '--module',
    kind,
    '--moduleResolution',
    resolution
  ]
  const paths = files.map((file) => path.join(__dirname, 'types', file))
  return new Promise((resolve) => {
    const args = [require.resolve('typescript/bin/tsc'), ...options, ...target, ...paths]
    execFile(process.execPath, args, { cwd: here }, (_error, stdout, stderr) => resolve(stdout + stderr))
  })
}

test('right uses of everything compile, as ES module and as CommonJS, and wrong uses do not', async () => {
  assert.equal(await compiled(['right.mts', 'right.cts', 'wrong.mts'], 'nodenext', 'nodenext'), '')
})

test('right uses also compile with the module resolution of a bundler', async () => {
  assert.equal(await compiled(['right.mts', 'wrong.mts'], 'esnext', 'bundler'), '')
})

test('the type ErrorCode has exactly the codes of all errors', () => {
  const read = (folder, ending) =>
    fs
      .readdirSync(path.join(here, folder))
      .filter((name) => name.endsWith(ending) && !name.startsWith('socket.io'))
      .map((name) => fs.readFileSync(path.join(here, folder, name), 'utf8'))
      .join('\n')
  const javascript = read('lib', '.js')
  const found = new Set()
  const note = (text, pattern) => [...text.matchAll(pattern)].forEach(([, code]) => found.add(code))
  note(javascript, /'ERR_SMOKESIGNAL_([A-Z_]+)'/g)
  note(javascript, /coded\(.*?, '([A-Z_]+)'[,)]/g)
  note(read('src', '.rs'), /Self::(?:new|range)\("([A-Z_]+)"/g)
  const types = fs.readFileSync(path.join(here, 'index.d.ts'), 'utf8')
  const typed = [...types.matchAll(/\| 'ERR_SMOKESIGNAL_([A-Z_]+)'/g)].map(([, code]) => code)
  assert.deepEqual(typed.sort(), [...found].sort())
})

test('the module exports exactly what the types declare', async () => {
  const types = fs.readFileSync(path.join(here, 'index.d.ts'), 'utf8')
  const typed = [...types.matchAll(/^ {2}export (?:function|class) (\w+)/gm)].map(([, name]) => name)
  const module = require('smokesignal-p2p')
  assert.deepEqual(Object.keys(module).sort(), [...typed, 'default'].sort())
  assert.deepEqual(
    Object.keys(await import('smokesignal-p2p'))
      .filter((name) => name !== 'module.exports')
      .sort(),
    [...typed, 'default'].sort()
  )
})
