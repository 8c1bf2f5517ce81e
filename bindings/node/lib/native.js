'use strict'
/**
 * Finds and loads the native half: beside this folder where it was built here, else the package of this platform.
 */
const fs = require('node:fs')
const path = require('node:path')

/** Platforms that packages are made for. */
const PLATFORMS = ['linux-x64-gnu', 'linux-arm64-gnu', 'linux-x64-musl', 'darwin-x64', 'darwin-arm64', 'win32-x64-msvc']

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
  const error = new Error(
    `smokesignal-p2p has no native half for ${platform} here. ` +
      (cause === undefined ? '' : `Its package smokesignal-p2p-${platform} is missing: was npm told to leave out optional dependencies? `) +
      `There are packages for ${PLATFORMS.join(', ')}. ` +
      'To build it, with Rust (https://rustup.rs) and a C compiler: git clone https://github.com/marcelklehr/smokesignal, ' +
      'then npm install && npm run build in its bindings/node.',
    { cause }
  )
  error.code = 'ERR_SMOKESIGNAL_NO_NATIVE'
  throw error
}

/** As `napi build --platform` names it. */
function thisPlatform() {
  const name = `${process.platform}-${process.arch}`
  if (process.platform === 'linux') return `${name}-${isMusl() ? 'musl' : 'gnu'}`
  if (process.platform === 'win32') return `${name}-msvc`
  return name
}

function isMusl() {
  const { glibcVersionRuntime } = process.report.getReport().header
  return glibcVersionRuntime === undefined
}
