import { drain } from './contenders/drain.mjs'
import { contender } from './contenders/index.mjs'
import { peers, unlessAsked } from './contenders/names.mjs'
import { rotated } from './contenders/run.mjs'
import { addValue, counted, processesName } from './measure/figures.mjs'
import { untilTrusted } from './measure/trust.mjs'
import { versionsOf } from './peers.mjs'

/**
 * The drain of a backlog.
 *
 * Everything that is the same for all of them happens before the clock starts: tables, a warm-up of 2,000 jobs (a fifth
 * of all, if that is less) in the very processes of the run, after which the consumer is stopped and stays connected,
 * as far as its API lets it (BullMQ's worker is closed for good, so the clock sees another one, connected already);
 * then all jobs are loaded, vacuumed and checkpointed. The clock starts with the word to consume, so it includes what a
 * contender does to begin. It stops when the last completion is in the database.
 *
 * Beside the pace stands what a job costs, over the same time: bytes of WAL, dead rows when the consumers have ended
 * (what autovacuum has cleared away is not among them; those of the warm-up are, where a session reports them late),
 * processor time of the whole server and of the consumers. The server's is counted in steps of 10 ms: for a few jobs it
 * says nothing.
 *
 * The run begins when the server has run for a minute: before that no consumer of Bugle's opens an express lane
 * (measure/trust.mjs). A smoke run does not wait, and has none.
 */
export const tries = 5
export const contenders = [
  'bugle',
  'bugle-no-express',
  'bugle-prefetch-0',
  'bugle-prefetch-16',
  'engine',
  'engine-128',
  'engine-500',
  'engine-2x500',
  'engine-express',
  ...peers,
]
export const defaultContenders = unlessAsked(contenders)

/** @type {Map<string, { slots: number, handlerMs: number, processes: number }>} */
const shapes = new Map()
for (const processes of [1, 2]) {
  for (const handlerMs of [0, 1]) {
    for (const slots of [24, 1, 4, 10, 100]) {
      const work = handlerMs === 0 ? 'no-op' : `${handlerMs} ms`
      const name = `${counted(slots, 'slot', 'slots')}, ${work}, ${processesName(processes)}`
      shapes.set(name, { slots, handlerMs, processes })
    }
  }
}
export const cases = [...shapes.keys()]
export const defaultCases = cases.slice(0, 1)
const [mainCase = ''] = cases

/**
 * Whoever settles each job by itself would take minutes for 50,000 of them in one slot.
 *
 * @param {string} name
 * @param {number} jobs
 * @param {string} caseName
 */
function jobsOf(name, jobs, caseName) {
  if (caseName === mainCase) return jobs
  const isSlow = ['graphile-default', 'graphile-0.17-default', 'pg-boss', 'bullmq-pg'].includes(name)
  const isSlower = shapes.get(caseName)?.slots === 1
  return Math.min(jobs, isSlow ? (isSlower ? 2_500 : 10_000) : isSlower ? 10_000 : jobs)
}

/**
 * @param {import('./scenarios.mjs').RunOptions} options
 * @returns {AsyncIterable<import('./scenarios.mjs').Result>}
 */
export async function* run({ tries: wanted, cases: chosen, contenders: names, isSmoke, jobs: asked, tell, server }) {
  const jobs = asked ?? (isSmoke ? 1_000 : 50_000)
  if (!isSmoke) await untilTrusted(await server(), tell)
  for (const name of chosen) {
    const shape = shapes.get(name)
    if (shape === undefined) continue
    /** @type {Record<string, { unit: string, values: number[] }>} */
    const figures = Object.fromEntries(names.map((one) => [one, { unit: 'jobs/s', values: [] }]))
    /** @type {Record<string, import('./measure/figures.mjs').Figures>} */
    const beside = Object.fromEntries(names.map((one) => [one, {}]))
    for (let repeat = 0; repeat < wanted; repeat += 1) {
      for (const one of rotated(names, repeat)) {
        const count = jobsOf(one, jobs, name)
        const { ms, costs } = await drain(await server(), one, {
          ...shape,
          jobs: count,
          warmUpJobs: isSmoke ? 100 : Math.min(2_000, Math.floor(count / 5)),
        })
        const perSecond = (count * 1_000) / ms
        figures[one]?.values.push(perSecond)
        for (const [label, { unit, value }] of Object.entries(costs)) addValue(beside[one] ?? {}, label, unit, value)
        tell(`${one}: ${Math.round(perSecond)} jobs/s (${Math.round(ms)} ms)`)
      }
    }
    yield {
      case: name,
      settings: {
        ...shape,
        server: (await server()).settings,
        jobs: Object.fromEntries(names.map((one) => [one, jobsOf(one, jobs, name)])),
        contenders: Object.fromEntries(names.map((one) => [one, contender(one).settings(shape.slots)])),
      },
      figures,
      beside,
      ratios: ratios(names, name === mainCase),
      versions: versionsOf(names),
    }
  }
}

/**
 * @param {readonly string[]} names of the contenders
 * @param {boolean} isMain the targets are those of the main case
 */
function ratios(names, isMain) {
  /** @type {[of: string, to: string, wanted: string][]} */
  const pairs = [
    ['bugle', 'graphile-record', '>= 3.5'],
    ['bugle', 'graphile-0.17-record', '>= 3.5'],
    ['bugle', 'graphile-recommended', ''],
    ['bugle', 'graphile-default', '>= 15'],
    ['bugle', 'graphile-0.17-default', '>= 15'],
    ['bugle', 'bullmq-pg', '>= 20'],
    ['bugle', 'pg-boss', '>= 6'],
    // Durable statements of the same size of a batch: that of the largest claims that look-ahead earns.
    ['bugle', 'engine-500', '>= 1.4'],
    ['bugle', 'engine', ''],
    ['bugle', 'engine-128', ''],
    ['bugle', 'engine-2x500', ''],
    ['bugle', 'engine-express', ''],
    ['bugle', 'bugle-no-express', ''],
    ['bugle', 'bugle-prefetch-16', ''],
    // Whose local queue has as many jobs as there are slots, and one.
    ['bugle-prefetch-0', 'graphile-recommended', '>= 0.9'],
    ['bugle-prefetch-0', 'graphile-0.17-recommended', '>= 0.9'],
    ['bugle-prefetch-0', 'graphile-record', ''],
    ['bugle-prefetch-0', 'graphile-0.17-record', ''],
  ]
  const asked = pairs.filter(([, to]) => names.includes(to) || unlessAsked([to]).length > 0)
  const paces = asked.map(([of, to, wanted]) => ({
    name: `${of} / ${to}`,
    of,
    to,
    ...(isMain && wanted !== '' && { wanted }),
  }))
  return [...paces, { name: "bugle's WAL, bytes per job", of: 'bugle: WAL', ...(isMain && { wanted: '<= 300' }) }]
}
