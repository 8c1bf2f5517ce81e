'use strict'
/**
 * Loads the package in a process that pretends to run on another platform: `platform.js PLATFORM
 * ARCHITECTURE`.
 */
const [, , platform, arch] = process.argv
Object.defineProperty(process, 'platform', { value: platform })
Object.defineProperty(process, 'arch', { value: arch })
try {
  require('smokesignal-p2p')
  console.log('loaded')
} catch (error) {
  console.log(JSON.stringify({ code: error.code, message: error.message, cause: error.cause?.code }))
}
