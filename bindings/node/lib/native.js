'use strict'
/**
 * Loads the native half: the file beside this folder where it was built in a checkout, else the
 * package of this platform, which npm installs as an optional dependency.
 */
const fs = require('node:fs')
const path = require('node:path')

/** The platforms that there are packages for. */
const PLATFORMS = [
  'linux-x64-gnu',
  'linux-arm64-gnu',
  'linux-x64-musl',
  'darwin-x64',
  'darwin-arm64',
  'win32-x64-msvc'
]

module.exports = load(thisPlatform())

function load(platform) {
  const built = path.join(__dirname, '..', `smokesignal.${platform}.node`)
  if (fs.existsSync(built)) return require(built)
  let cause
  if (PLATFORMS.includes(platform)) {
    try {
      return require(`smokesignal-p2p-${platform}`)
    } catch (error) {
      cause = error
    }
  }
  throw notFound(platform, cause)
}

function notFound(platform, cause) {
  const parts = [`smokesignal-p2p has no native half for ${platform} here.`]
  if (cause !== undefined) {
    const likely = 'was it left out with the optional dependencies (npm --omit=optional)?'
    parts.push(`Its package smokesignal-p2p-${platform} is missing: ${likely}`)
  }
  parts.push(
    `There are packages for ${PLATFORMS.join(', ')}.`,
    'To build it, with Rust (https://rustup.rs) and a C compiler:',
    'git clone https://github.com/marcelklehr/smokesignal,',
    'then npm install && npm run build in its bindings/node.'
  )
  const error = new Error(parts.join(' '), { cause })
  error.code = 'ERR_SMOKESIGNAL_NO_NATIVE'
  return error
}

/** Returns the name of this platform in the form of `napi build --platform`. */
function thisPlatform() {
  const name = `${process.platform}-${process.arch}`
  if (process.platform === 'linux') return `${name}-${isMusl() ? 'musl' : 'gnu'}`
  if (process.platform === 'win32') return `${name}-msvc`
  return name
}

/** Returns whether the C library is musl: only glibc reports its version. */
function isMusl() {
  const { glibcVersionRuntime } = process.report.getReport().header
  return glibcVersionRuntime === undefined
}
