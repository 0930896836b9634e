/**
 * What a backlog costs a consumer's process: its resident memory while it works on a queue of a million jobs, and
 * beside an empty one; with handlers of 50 ms, and with no-op ones, where look-ahead holds the most. Everything that
 * working itself takes (compiled code, a younger heap that is larger, the bench's own list of runs) counts as the
 * backlog's.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { migrate, runsOf, startConsumer, stopAll } from '../measure/consumers.mjs'
import { addValue } from '../measure/figures.mjs'
import { fill } from '../measure/fill.mjs'
import { demandOnce, jobsLeft } from '../measure/once.mjs'
import { median } from '../statistics.mjs'

export const tries = 3
const handlersMs = new Map([
  ['a backlog of a million', 50],
  ['a backlog of a million, no-op', 0],
])
export const cases = [...handlersMs.keys()]

const allowedMb = 50

/**
 * @param {import('../scenarios.mjs').RunOptions} options
 * @returns {AsyncIterable<import('../scenarios.mjs').Result>}
 */
export async function* run({
  tries: wanted,
  cases: chosen,
  isSmoke,
  jobs = isSmoke ? 10_000 : 1_000_000,
  seconds = isSmoke ? 1 : 15,
  tell,
  server: serverOf,
}) {
  const server = await serverOf()
  for (const name of chosen) {
    const handlerMs = handlersMs.get(name) ?? 0
    /** @type {import('../measure/figures.mjs').Figures} */
    const figures = {}
    const database = await server.freshDatabase('memory')
    await migrate(database.url)
    const where = { url: database.url, queue: 'memory', seconds, handlerMs }
    const besideEmpty = () => residentMb({ ...where, queue: 'another' })

    async function withBacklog() {
      tell(`memory: ${jobs.toLocaleString('en')} jobs are written`)
      await fill(database, {
        schema: 'bugle',
        queue: where.queue,
        jobs: jobs - (await jobsLeft(database)),
        state: 'ready',
      })
      await database.tidy()
      const measured = await residentMb(where)
      const ran = measured.runs.ids.length
      await demandOnce(database, { expected: ran, runs: [measured.runs], left: jobs - ran })
      return measured
    }

    for (let number = 0; number < wanted; number += 1) {
      // By turns: the second one finds the machine warmer.
      const isEmptyFirst = number % 2 === 0
      const first = await (isEmptyFirst ? besideEmpty() : withBacklog())
      const second = await (isEmptyFirst ? withBacklog() : besideEmpty())
      const [empty, backlog] = isEmptyFirst ? [first, second] : [second, first]
      addValue(figures, 'beside an empty queue', 'MB', empty.typical)
      addValue(figures, 'with the backlog', 'MB', backlog.typical)
      addValue(figures, 'with the backlog, highest', 'MB', backlog.highest)
      addValue(figures, 'the backlog adds', 'MB', backlog.typical - empty.typical)
      addValue(figures, 'jobs run in it', 'jobs', backlog.runs.ids.length)
      tell(`memory ${number + 1}: ${empty.typical.toFixed(0)} MB, ${backlog.typical.toFixed(0)} MB with the backlog`)
    }
    await database.drop()
    figures.allowed = { unit: 'MB', values: [allowedMb] }
    yield {
      case: name,
      settings: {
        jobs,
        seconds,
        handlerMs,
        bugle: 'defaults (10 slots)',
        server: server.settings,
        figure: 'the median of the second half',
      },
      figures,
      ratios: [{ name: 'added to allowed', of: 'the backlog adds', to: 'allowed', wanted: '< 1' }],
    }
  }
}

/** @param {{ url: string, queue: string, seconds: number, handlerMs: number }} what */
async function residentMb({ url, queue, seconds, handlerMs }) {
  const consumer = await startConsumer({ url, queues: [queue], handlerMs })
  /** @type {number[]} */
  const samples = []
  for (let sample = 0; sample < seconds * 10; sample += 1) {
    await sleep(100)
    samples.push((await consumer.ask('count')).rssMb)
  }
  // What runs is settled first, so that the runs are all there are.
  await consumer.ask('pause')
  const runs = await runsOf(consumer)
  await stopAll([consumer])
  return { typical: median(samples.slice(samples.length / 2)), highest: Math.max(...samples), runs }
}
