/**
 * The time of `bugle.stats()`, and how many jobs there are: none, five million in ten queues, or just as many as are
 * counted there: what lies beyond that should cost nothing.
 *
 * By the public API, on a connection that is open, with the statements prepared.
 */
import { createBugle } from '../dist/index.js'
import { rotated } from './contenders/run.mjs'
import { migrate } from './measure/consumers.mjs'
import { addValue } from './measure/figures.mjs'
import { fill } from './measure/fill.mjs'
import { median, quantile } from './statistics.mjs'

export const tries = 5
const allJobs = 5_000_000
const deepName = 'five million'
export const cases = [deepName]

const queues = Array.from({ length: 10 }, (_, number) => `queue ${number}`)
const states = /** @type {const} */ (['ready', 'scheduled', 'failed'])
/** One more than is counted of a queue and state. */
const counted = 10_001

/**
 * @param {import('./scenarios.mjs').RunOptions} options
 * @returns {AsyncIterable<import('./scenarios.mjs').Result>}
 */
export async function* run({ tries: wanted, isSmoke, jobs: asked, tell, server: serverOf }) {
  const calls = isSmoke ? 5 : 50
  const jobs = asked ?? (isSmoke ? 3_000 : allJobs)
  const server = await serverOf()
  yield {
    case: deepName,
    settings: { jobs, queues: queues.length, states, callsATry: calls, server: server.settings },
    figures: await measure(server, { jobs, calls, tries: wanted, tell }),
    ratios: [
      { name: 'all queues, deep to none', of: 'deep: all queues, p50', to: 'none: all queues, p50' },
      { name: 'all queues, deep to as many as are counted', ...deepToCounted('all queues'), wanted: '<= 2' },
      { name: 'one queue, deep to as many as are counted', ...deepToCounted('one queue'), wanted: '<= 2' },
    ],
  }
}

/** @param {string} what */
function deepToCounted(what) {
  return { of: `deep: ${what}, p50`, to: `counted: ${what}, p50` }
}

/**
 * @param {import('./server.mjs').Server} server
 * @param {{ jobs: number, calls: number, tries: number, tell: (text: string) => void }} what
 */
async function measure(server, { jobs, calls, tries: wanted, tell }) {
  const database = await server.freshDatabase('stats')
  const perPart = Math.max(1, Math.floor(jobs / queues.length / states.length))
  const tables = [
    await openTable(database, 'none', 0, tell),
    await openTable(database, 'counted', Math.min(counted, perPart), tell),
    await openTable(database, 'deep', perPart, tell),
  ]
  await database.tidy()
  /** @type {import('./measure/figures.mjs').Figures} */
  const figures = {}
  for (let number = 0; number < wanted; number += 1) {
    for (const table of rotated(tables, number)) {
      for (const [what, times] of Object.entries(await table.timeCalls(calls))) {
        addValue(figures, `${table.name}: ${what}, p50`, 'ms', median(times))
        addValue(figures, `${table.name}: ${what}, p99`, 'ms', quantile(times, 0.99))
      }
    }
    tell(`stats ${number + 1} of ${wanted}`)
  }
  for (const table of tables) await table.end()
  await database.drop()
  return figures
}

/**
 * @param {import('./server.mjs').Database} database
 * @param {'none' | 'counted' | 'deep'} name
 * @param {number} perPart jobs of each queue and state
 * @param {(text: string) => void} tell
 */
async function openTable(database, name, perPart, tell) {
  const schema = `stats_${name}`
  await migrate(database.url, schema)
  if (perPart > 0) {
    tell(`stats: ${(perPart * queues.length * states.length).toLocaleString('en')} jobs are written`)
    for (const state of states) {
      for (const queue of queues) await fill(database, { schema, queue, jobs: perPart, state })
    }
  }
  const bugle = createBugle({ connectionString: database.url, schema, listen: false })

  /** @param {string | undefined} queue @param {number} listed */
  async function timeCall(queue, listed) {
    const startedAt = performance.now()
    const { queues: found } = await bugle.stats(queue)
    const ms = performance.now() - startedAt
    if (found.length !== listed) throw new Error(`${name}: ${listed} queues were to be listed, not ${found.length}`)
    const expected = Math.min(perPart, counted - 1)
    for (const { ready, scheduled } of found) {
      if (ready.count !== expected || scheduled.count !== expected) throw new Error(`${name}: the counts are wrong`)
    }
    return ms
  }

  return {
    name,
    /** @param {number} calls */
    async timeCalls(calls) {
      /** @type {number[]} */
      const all = []
      /** @type {number[]} */
      const one = []
      for (let number = 0; number < calls; number += 1) {
        all.push(await timeCall(undefined, perPart === 0 ? 0 : queues.length))
        one.push(await timeCall(queues[number % queues.length], 1))
      }
      return { 'all queues': all, 'one queue': one }
    },
    end: () => bugle.close(),
  }
}
