'use strict'
/**
 * Answers the questions that other nodes ask (`node.answer`). The native half queues questions; a
 * wakeup hands each of them to the user's handler, whose result goes back with the question's
 * number.
 */
const { inspect } = require('node:util')
const { calling, optionType } = require('./errors')
const { guarded } = require('./guarded')
const { register, unregister, wakeQueue } = require('./wakeups')
const { toBytes } = require('./arguments')

/**
 * Starts to answer.
 *
 * @param native the native node
 * @param handler called as `handler(question, from)`; returns the answer, a promise of it, or
 *   nothing
 * @param logger gets a line for each question that the handler fails at
 * @returns an object whose `close` stops answering
 */
function respond(native, handler, logger) {
  if (typeof handler !== 'function') {
    throw optionType('handler', 'a function (question, from) that returns the answer', handler)
  }
  let questions
  const number = register(() => {
    for (let question = questions.poll(); question; question = questions.poll()) {
      answer(questions, handler, logger, question)
    }
  })
  try {
    questions = calling(() => native.answer(wakeQueue, number))
  } catch (error) {
    unregister(number)
    throw error
  }
  const close = () => {
    unregister(number)
    questions.close()
  }
  return { close, [Symbol.dispose ?? Symbol.for('Symbol.dispose')]: close }
}

/** Asks the handler, and sends its answer or, if it fails, nothing. */
async function answer(questions, handler, logger, { number, from, data }) {
  let reply
  try {
    const given = await handler(data, from)
    reply = given === undefined || given === null ? undefined : toBytes('answer', given)
  } catch (error) {
    const text = error instanceof Error ? error.message : inspect(error)
    guarded(() => logger.error(`A question of ${from} could not be answered: ${text}`))
  } finally {
    questions.answer(number, reply)
  }
}

module.exports = { respond }
