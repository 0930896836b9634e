/**
 * A steady load of one contender, in processes of their own, and the account of it: kept out of the database and out of
 * the processes, which are what is broken here. A process that ends is started again, as a supervisor does.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { spawnChild } from '../processes.mjs'

/**
 * @typedef {{ n: number, at: number, doneAt?: number, error?: string }} Put
 *
 * @typedef {object} Run
 * @property {number} n
 * @property {number} process
 * @property {number} startedAt
 * @property {number | null} doneAt null: its process has ended before
 *
 * @typedef {object} Shape
 * @property {string} contender
 * @property {string} url
 * @property {number} processes
 * @property {number} slots
 * @property {number} handlerMs
 * @property {number} perSecond
 */

const supervisorMs = 500
/** For the first connections, the compiled code, and a contender's own start. */
const openMs = 30_000

/** @param {Shape} shape */
export async function openLoad({ contender, url, processes, slots, handlerMs, perSecond }) {
  /** @type {Map<number, Put>} */
  const puts = new Map()
  /** @type {Run[]} */
  const runs = []
  /** @type {Map<string, Run>} of those that are not done, by process and number */
  const open = new Map()
  let isClosing = false
  let ends = 0
  let sentTo = -1
  let lives = 0

  const consumers = Array.from({ length: processes }, () => startConsumer())
  let producer = startProducer()

  function startConsumer() {
    lives += 1
    const number = lives
    const child = spawnChild(
      new URL('./consumer.mjs', import.meta.url),
      { contender, url, slots, handlerMs },
      { mayEnd: true },
    )
    child.on('start', ({ n, at }) => {
      const run = { n, process: number, startedAt: at, doneAt: null }
      runs.push(run)
      open.set(`${number} ${n}`, run)
    })
    child.on('done', ({ n, at }) => {
      const run = open.get(`${number} ${n}`)
      if (run !== undefined) run.doneAt = at
      open.delete(`${number} ${n}`)
    })
    const consumer = { child, number, isKilled: false, comesBack: true }
    void child.exited.then(async () => {
      if (!consumer.isKilled && !isClosing) ends += 1
      await sleep(supervisorMs)
      const index = consumers.indexOf(consumer)
      if (!isClosing && consumer.comesBack) consumers[index] = startConsumer()
    })
    return consumer
  }

  function startProducer() {
    const args = { contender, url, connections: 16, from: sentTo + 1, perSecond }
    const child = spawnChild(new URL('./producer.mjs', import.meta.url), args, { mayEnd: true })
    child.on('sent', (n) => {
      sentTo = n
    })
    child.on('put', (put) => puts.set(put.n, put))
    void child.exited.then(async () => {
      if (isClosing) return
      ends += 1
      await sleep(supervisorMs)
      if (isClosing) return
      producer = startProducer()
      // One that cannot start ends, and has a successor.
      await producer.next('open').catch(() => {})
      producer.send('pace')
    })
    return child
  }

  async function opened() {
    await Promise.all([producer, ...consumers.map(({ child }) => child)].map((child) => child.next('open', openMs)))
  }

  async function close() {
    isClosing = true
    await Promise.all([producer, ...consumers.map(({ child }) => child)].map((child) => child.kill()))
  }

  try {
    await opened()
  } catch (error) {
    await close()
    throw error
  }

  return {
    puts,
    runs,
    /** Processes that nobody had killed. */
    get ends() {
      return ends
    },
    begin: () => producer.send('pace'),
    /**
     * SIGKILL of a consumer.
     *
     * @param {number} index
     * @param {{ comesBack: boolean }} options
     */
    async kill(index, { comesBack }) {
      const consumer = consumers[index]
      if (consumer === undefined) return
      consumer.isKilled = true
      consumer.comesBack = comesBack
      await consumer.child.kill()
    },
    /** No more jobs. Resolves when all puts are answered, or after so long. @param {number} mostMs */
    async stopPutting(mostMs) {
      await Promise.race([producer.ask('stop').catch(() => {}), sleep(mostMs, undefined, { ref: false })])
    },
    close,
  }
}

/** @typedef {Awaited<ReturnType<typeof openLoad>>} Load */
