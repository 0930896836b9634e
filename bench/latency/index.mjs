import { contender } from '../contenders/index.mjs'
import { peers, unlessAsked } from '../contenders/names.mjs'
import { addValue } from '../measure/figures.mjs'
import { untilTrusted } from '../measure/trust.mjs'
import { versionsOf } from '../peers.mjs'
import { measureIdle } from './idle.mjs'
import { measureLoaded, shares } from './loaded.mjs'
import { ratiosOf } from './ratios.mjs'

/**
 * From the start of a put to the start of its handler, in another process, with no-op handlers.
 *
 * - idle: one job at a time, the next one after the former has run and a pause; beside it a bare insert
 * - loaded: single puts at random moments at 25, 50 and 75 % of what the contender can keep up with, which is measured
 *   first
 */
export const tries = 3
export const cases = ['idle', 'loaded']
export const contenders = ['bugle', ...peers, 'bare-insert']
export const defaultContenders = unlessAsked(contenders)

const slots = 24

/**
 * @param {import('../scenarios.mjs').RunOptions} options
 * @returns {AsyncIterable<import('../scenarios.mjs').Result>}
 */
export async function* run({ tries: wanted, cases: chosen, contenders: all, isSmoke, jobs, seconds, tell, server }) {
  if (!isSmoke) await untilTrusted(await server(), tell)
  for (const name of chosen) {
    const names = name === 'idle' ? all : all.filter((one) => one !== 'bare-insert')
    const sizes =
      name === 'idle'
        ? { samples: jobs ?? (isSmoke ? 50 : 2_000) }
        : { seconds: seconds ?? (isSmoke ? 1 : 5), shares, idleSamples: isSmoke ? 20 : 300 }
    const options = { slots, warmUpJobs: isSmoke ? 100 : 2_000, ...sizes }
    const measure = name === 'idle' ? measureIdle : measureLoaded
    /** @type {import('../measure/figures.mjs').Figures} */
    const figures = {}
    for (let repeat = 0; repeat < wanted; repeat += 1) {
      const measured = await measure(await server(), names, repeat, /** @type {any} */ (options), tell)
      for (const [figure, unit, value] of measured) addValue(figures, figure, unit, value)
    }
    yield {
      case: name,
      settings: {
        ...options,
        server: (await server()).settings,
        contenders: Object.fromEntries(
          names.filter((one) => one !== 'bare-insert').map((one) => [one, contender(one).settings(slots)]),
        ),
      },
      figures,
      ratios: ratiosOf(name, figures),
      versions: versionsOf(names),
    }
  }
}
