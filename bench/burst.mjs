import { setTimeout as sleep } from 'node:timers/promises'
import { contender } from './contenders/index.mjs'
import { peers, unlessAsked } from './contenders/names.mjs'
import { openRun, rotated } from './contenders/run.mjs'
import { addValue } from './measure/figures.mjs'
import { versionsOf } from './peers.mjs'

/**
 * Many jobs in one call (`putMany`, or the peer's own for many) into a queue that sleeps: from the start of the call
 * until it returns, until the first handler starts, and until the last job is done in the database.
 */
export const tries = 5
export const cases = ['1,000 jobs']
export const contenders = ['bugle', ...peers]
export const defaultContenders = unlessAsked(contenders)

const slots = 24
const size = 1_000
/** For everybody to be asleep again, and at any moment of whoever looks now and then. */
const pauseMs = { least: 300, most: 600 }

/**
 * @param {import('./scenarios.mjs').RunOptions} options
 * @returns {AsyncIterable<import('./scenarios.mjs').Result>}
 */
export async function* run({ tries: wanted, cases: chosen, contenders: names, isSmoke, tell, server }) {
  const bursts = isSmoke ? 2 : 10
  for (const name of chosen) {
    /** @type {import('./measure/figures.mjs').Figures} */
    const figures = {}
    for (let repeat = 0; repeat < wanted; repeat += 1) {
      for (const one of rotated(names, repeat)) {
        for (const times of await measure(await server(), one, bursts, isSmoke ? 100 : 2_000)) {
          for (const part of parts) addValue(figures, `${one} ${part}`, 'ms', times[part])
        }
        const last = (/** @type {string} */ part) => figures[`${one} ${part}`]?.values.at(-1)?.toFixed(1)
        tell(`${one}: ${parts.map((part) => `${part} ${last(part)} ms`).join(', ')}`)
      }
    }
    yield {
      case: name,
      settings: {
        size,
        slots,
        burstsATry: bursts,
        server: (await server()).settings,
        contenders: Object.fromEntries(names.map((one) => [one, contender(one).settings(slots)])),
      },
      figures,
      ratios: names
        .filter((one) => one !== 'bugle')
        .map((one) => ({ name: `bugle / ${one}, all done`, of: 'bugle all done', to: `${one} all done` })),
      versions: versionsOf(names),
    }
  }
}

const parts = /** @type {const} */ (['put', 'first start', 'all done'])

/**
 * @param {import('./server.mjs').Server} server
 * @param {string} name
 * @param {number} bursts
 * @param {number} warmUpJobs
 */
async function measure(server, name, bursts, warmUpJobs) {
  const run = await openRun(server, name, { jobs: bursts * size, slots, warmUpJobs, tellEvery: size })
  try {
    await run.database.tidy()
    run.start()
    const bounds = []
    for (let from = 0; from < bursts * size; from += size) {
      await sleep(pauseMs.least + Math.random() * (pauseMs.most - pauseMs.least))
      const { at, doneAt } = await run.producer.ask('burst', { from, to: from + size })
      await run.untilRan(from + size)
      bounds.push({ from, at, putAt: doneAt, allDoneAt: await run.untilNothingLeft() })
    }
    await run.stop()
    const { startedAt } = await run.proveOnce(bursts * size)
    return bounds.map(({ from, at, putAt, allDoneAt }) => ({
      put: putAt - at,
      'first start': Math.min(...startedAt.subarray(from, from + size)) - at,
      'all done': allDoneAt - at,
    }))
  } finally {
    await run.end()
  }
}
