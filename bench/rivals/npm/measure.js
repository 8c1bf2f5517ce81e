// The workload of the crate smokesignal-load in JavaScript: the same messages, paces and figures.
'use strict'

const { setTimeout: sleep } = require('node:timers/promises')
const { Board, message } = require('./board')

const HEARD_WITHIN = 60_000
// A network in which nothing was read for this long after the last write is at rest.
const AT_REST = 3_000
const LOOK = 20
const SETTLE = 500
// A reader that has read nothing of a full window for this long has lost it, and the writer goes
// on.
const LOST_AFTER = 2_000

// Starts the network, writes to it, and returns the outcome.
exports.measure = async (network, workload) => {
  const { nodes, writers, size, window, rate, warmUp, duration } = workload
  const board = new Board(nodes, writers, window)
  const begun = performance.now()
  await network.start(Array.from({ length: nodes }, (_, node) => chunk => board.arrived(node, chunk)))
  const join = performance.now() - begun
  for (let writer = 0; writer < writers; writer++) await probe(network, board, writer)
  await sleep(SETTLE)

  const measuredFrom = performance.now() + warmUp
  const until = measuredFrom + duration
  const write = rate === null ? writeWindow : writeRate
  const written = Array.from({ length: writers }, (_, writer) => write(network, board, workload, writer, until))
  await sleep(warmUp)
  board.measuredFrom = performance.now()
  const before = reading(board)
  await sleep(duration)
  const after = reading(board)
  const sent = (await Promise.all(written)).reduce((sum, count) => sum + count, 0)
  const expected = sent * (nodes - 1)
  await rest(board, expected)

  const seconds = (after.at - before.at) / 1000
  const read = after.delivered - before.delivered
  return {
    nodes, writers, size, window, rate, seconds, sent,
    delivered: board.delivered,
    expected,
    ratio: board.delivered / expected,
    gaps: 0,
    repeated: board.repeated,
    disordered: board.disordered,
    deliveries_per_s: read / seconds,
    mb_per_s: read / seconds * size / 1e6,
    latency: board.latency(),
    copies_per_delivery: null,
    cpu_s_per_million: (after.cpu - before.cpu) / read,
    rss_kib_per_node: process.memoryUsage.rss() / 1024 / nodes,
    join_s: join / 1000,
  }
}

function reading(board) {
  const { user, system } = process.cpuUsage()
  // Microseconds per delivery are the same number as seconds per million.
  return { at: performance.now(), delivered: board.delivered, cpu: user + system }
}

async function probe(network, board, writer) {
  const giveUp = performance.now() + HEARD_WITHIN
  for (let seq = 0; performance.now() < giveUp; seq++) {
    network.send(writer, message({ due: 0, seq, writer, probe: true, size: 0 }))
    for (let look = 0; look < 10; look++) {
      if (board.allHear(writer)) return
      await sleep(LOOK)
    }
  }
  throw new Error(`after ${HEARD_WITHIN / 1000} s not all nodes hear writer ${writer}`)
}

// Writes through a window: the next message is written once the slowest reader has read the oldest
// one in the window.
async function writeWindow(network, board, { window, size }, writer, until) {
  let sent = 0
  let freeTo = window
  while (performance.now() < until) {
    while (sent >= freeTo) {
      freeTo = board.slowest(writer) + window
      if (sent >= freeTo && !(await board.more(writer, LOST_AFTER))) freeTo = sent + window
    }
    const due = performance.now()
    for (let count = Math.min(freeTo - sent, 16); count > 0; count--) {
      network.send(writer, message({ due, seq: sent++, writer, size }))
    }
    // There is only one thread, and the readers need their turn.
    await new Promise(setImmediate)
  }
  return sent
}

// Writes at a rate, which is that of all writers together, whether or not the messages are read.
// The writers take turns.
async function writeRate(network, board, { rate, size, writers }, writer, until) {
  const interval = 1000 * writers / rate
  const begin = performance.now() + interval * writer / writers
  for (let sent = 0; ; sent++) {
    const at = begin + interval * sent
    if (at >= until) return sent
    // A message is late if the system has delayed its writer, but not if a timer has woken late.
    let due = at
    if (performance.now() <= at) {
      await sleep(at - performance.now())
      due = performance.now()
    } else {
      await new Promise(setImmediate)
    }
    network.send(writer, message({ due, seq: sent, writer, size }))
  }
}

async function rest(board, expected) {
  let [last, since] = [board.delivered, performance.now()]
  while (last < expected && performance.now() - since < AT_REST) {
    await sleep(LOOK)
    if (board.delivered !== last) [last, since] = [board.delivered, performance.now()]
  }
}
