/** A run of one contender: its database, its processes, and the proof that every job ran exactly once. */
import { setTimeout as sleep } from 'node:timers/promises'
import { nowMs, spawnChild } from '../processes.mjs'
import { contender } from './index.mjs'

/**
 * @typedef {object} Shape
 * @property {number} jobs numbered from 0
 * @property {number} slots a process
 * @property {number} [processes]
 * @property {number} [handlerMs]
 * @property {number} [tellEvery] after how many handlers a consumer tells at once, and not only now and then; by
 *   default when all have run in it
 * @property {number} [connections] of the producer
 * @property {number} [warmUpJobs] compile and plan what the clock will see; then the consumers stop, but stay connected
 */

/** How long a run may make no progress. */
const stuckMs = 30_000

/**
 * Consumers that are connected and stopped, and a producer, in processes of their own, on a database of their own.
 *
 * @param {import('../server.mjs').Server} server
 * @param {string} name of the contender
 * @param {Shape} shape
 */
export async function openRun(server, name, shape) {
  const { jobs, slots, processes = 1, handlerMs = 0, tellEvery = jobs, connections = 16, warmUpJobs = 2_000 } = shape
  const one = contender(name)
  const database = await server.freshDatabase(name)
  await one.prepare(database.url)
  const producer = spawnChild(new URL('./producer.mjs', import.meta.url), {
    contender: name,
    url: database.url,
    connections,
  })
  const consumers = Array.from({ length: processes }, () =>
    spawnChild(new URL('./consumer.mjs', import.meta.url), {
      contender: name,
      url: database.url,
      slots,
      handlerMs,
      tellEvery,
      jobs: Math.max(jobs, warmUpJobs),
    }),
  )
  const left = () => one.left(database.query)

  /**
   * Resolves with a moment by which the database had everything done: that before the look which found nothing left.
   */
  async function untilNothingLeft() {
    let fewest = Number.POSITIVE_INFINITY
    let movedAt = nowMs()
    for (;;) {
      const lookedAt = nowMs()
      const found = await left()
      if (found === 0) return lookedAt
      if (found < fewest) movedAt = lookedAt
      if (lookedAt - movedAt > stuckMs) throw new Error(`${name}: ${found} jobs are left, and nothing moves`)
      fewest = Math.min(found, fewest)
      await sleep(1)
    }
  }

  let round = 0
  let counts = consumers.map(() => 0)
  let ranSome = () => {}
  consumers.forEach((child, index) => {
    child.on('ran', (told) => {
      if (told.round === round) counts[index] = told.ran
      ranSome()
    })
  })
  const anyExited = Promise.race(consumers.map(({ exited }) => exited))

  function start() {
    round += 1
    counts = consumers.map(() => 0)
    for (const child of consumers) child.send('start', round)
  }

  /** @param {number} wanted handlers that have ended since the start, of all processes */
  async function untilRan(wanted) {
    const sum = () => counts.reduce((one, other) => one + other, 0)
    let known = sum()
    /** @type {NodeJS.Timeout | undefined} */
    let watch
    const enough = new Promise((resolve, reject) => {
      ranSome = () => {
        if (sum() >= wanted) resolve('enough')
      }
      ranSome()
      watch = setInterval(() => {
        if (sum() === known) reject(new Error(`${name}: ${known} of ${wanted} jobs have run, and nothing moves`))
        known = sum()
      }, stuckMs)
    })
    try {
      if ((await Promise.race([enough, anyExited])) !== 'enough')
        throw new Error(`${name}: a consumer has ended by itself`)
    } finally {
      clearInterval(watch)
    }
  }

  const stop = () => Promise.all(consumers.map((child) => child.ask('stop')))

  /**
   * @param {number} wanted jobs from 0
   * @returns {Promise<{ startedAt: Float64Array, cpuMs: number }>}
   */
  async function proveOnce(wanted) {
    const reports = await Promise.all(consumers.map((child) => child.ask('report')))
    const startedAt = new Float64Array(wanted)
    for (let n = 0; n < wanted; n += 1) {
      let starts = 0
      for (const report of reports) {
        starts += report.starts[n]
        if (report.starts[n] > 0) startedAt[n] = report.startedAt[n]
      }
      if (starts !== 1) throw new Error(`${name}: job ${n} was started ${starts} times`)
    }
    const total = reports.reduce((sum, { ran }) => sum + ran, 0)
    if (total !== wanted) throw new Error(`${name}: ${total} handlers have ended, of ${wanted} jobs`)
    const remaining = await left()
    if (remaining !== 0) throw new Error(`${name}: ${remaining} jobs are left in the database`)
    return { startedAt, cpuMs: reports.reduce((sum, { cpuMs }) => sum + cpuMs, 0) }
  }

  /** @type {Promise<unknown> | undefined} */
  let ended
  /** Also before the end: the database is there still, with nobody else in it. */
  function endProcesses() {
    ended ??= Promise.all([producer, ...consumers].map((child) => child.end('end')))
    return ended
  }

  async function end() {
    await endProcesses()
    await database.drop()
  }

  async function warmUp() {
    start()
    await producer.ask('load', { from: 0, to: warmUpJobs })
    await untilRan(warmUpJobs)
    await untilNothingLeft()
    await stop()
    await proveOnce(warmUpJobs)
  }

  try {
    await Promise.all([producer, ...consumers].map((child) => child.next('open')))
    if (warmUpJobs > 0) await warmUp()
  } catch (error) {
    // Nobody else would know of them.
    await Promise.all([producer, ...consumers].map((child) => child.kill()))
    throw error
  }

  return { name, database, producer, consumers, start, stop, untilRan, untilNothingLeft, proveOnce, endProcesses, end }
}

/**
 * The order of a repeat: every contender has a turn in each, and begins one of them.
 *
 * @template T
 * @param {readonly T[]} all
 * @param {number} repeat from 0
 */
export function rotated(all, repeat) {
  const first = repeat % Math.max(1, all.length)
  return [...all.slice(first), ...all.slice(0, first)]
}
