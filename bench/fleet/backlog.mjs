/**
 * A backlog that 1, 4, 8 and 16 processes share, with express lanes and without: jobs per second, and processor time
 * per job. The lane of each process takes up to 500 jobs at a time, and the claims of others pass over them. With many
 * processes that must not cost more than it saves.
 *
 * The run waits until the server has run for a minute: before that no consumer opens a lane.
 */
import { drain } from '../contenders/drain.mjs'
import { contender } from '../contenders/index.mjs'
import { rotated } from '../contenders/run.mjs'
import { addValue, processesName } from '../measure/figures.mjs'
import { untilTrusted } from '../measure/trust.mjs'

export const cases = ['a backlog']

const slots = 24
const names = ['bugle', 'bugle-no-express']

/**
 * @param {import('../scenarios.mjs').RunOptions} options
 * @returns {AsyncIterable<import('../scenarios.mjs').Result>}
 */
export async function* run({ tries, isSmoke, jobs: asked, tell, server: serverOf }) {
  const jobs = asked ?? (isSmoke ? 1_000 : 100_000)
  const fleets = isSmoke ? [1, 3] : [1, 4, 8, 16]
  const server = await serverOf()
  if (!isSmoke) await untilTrusted(server, tell)
  const runs = fleets.flatMap((processes) => names.map((name) => ({ processes, name })))
  /** @type {import('../measure/figures.mjs').Figures} */
  const figures = {}
  /** @type {Record<string, import('../measure/figures.mjs').Figures>} */
  const beside = {}
  for (let repeat = 0; repeat < tries; repeat += 1) {
    for (const { processes, name } of rotated(runs, repeat)) {
      const { ms, costs } = await drain(server, name, {
        jobs,
        slots,
        processes,
        warmUpJobs: isSmoke ? 100 : 2_000 * processes,
      })
      const figure = figureOf(name, processes)
      addValue(figures, figure, 'jobs/s', (jobs * 1_000) / ms)
      const columns = beside[figure] ?? {}
      beside[figure] = columns
      for (const [label, { unit, value }] of Object.entries(costs)) addValue(columns, label, unit, value)
      addValue(columns, 'both', 'us/job', costs.server.value + costs.client.value)
      tell(`fleet ${repeat + 1}: ${figure}: ${Math.round((jobs * 1_000) / ms)} jobs/s`)
    }
  }
  yield {
    case: cases[0] ?? '',
    settings: {
      jobs,
      processes: fleets,
      handler: 'no-op',
      server: server.settings,
      contenders: Object.fromEntries(names.map((name) => [name, contender(name).settings(slots)])),
    },
    figures,
    beside,
    ratios: fleets.flatMap((processes) => {
      const [on, off] = names.map((name) => figureOf(name, processes))
      const name = `express to none, ${processesName(processes)}`
      return [
        { name, of: `${on}`, to: `${off}` },
        { name: `${name}: processor time`, of: `${on}: both`, to: `${off}: both` },
      ]
    }),
  }
}

/** @param {string} name @param {number} processes */
function figureOf(name, processes) {
  return `${name}, ${processesName(processes)}`
}
