'use strict'
/**
 * Texts of the library name options and methods as Rust spells them, and src/failure.rs translates
 * them. A phrase that the library no longer uses would be left untranslated without anybody noticing.
 */
const assert = require('node:assert/strict')
const fs = require('node:fs')
const path = require('node:path')
const { test } = require('node:test')

const here = path.join(__dirname, '..')

/** Returns the sources of the library and its core. */
function sources() {
  const folders = ['smokesignal', 'smokesignal-proto'].map((name) =>
    path.join(here, '..', '..', 'crates', name, 'src')
  )
  return folders
    .flatMap((folder) => fs.readdirSync(folder, { recursive: true }).map((name) => path.join(folder, name)))
    .filter((file) => file.endsWith('.rs'))
    .map((file) => fs.readFileSync(file, 'utf8'))
    .join('\n')
}

test('every phrase that is translated for JavaScript occurs in a text of the library', () => {
  const failure = fs.readFileSync(path.join(here, 'src', 'failure.rs'), 'utf8')
  const table = /const NAMES: [^=]*= \[([^]*?)\n {4}\];/.exec(failure)[1]
  const phrases = [...table.matchAll(/\("([^"]+)", "[^"]*"\)/g)].map(([, phrase]) => phrase)
  assert.ok(phrases.length >= 10)
  const text = sources()
  assert.deepEqual(
    phrases.filter((phrase) => !text.includes(phrase)),
    []
  )
})
