/** Which scenarios there are, in the order of `all`, and what one is. */
import { existsSync } from 'node:fs'

/**
 * @typedef {object} Result
 * @property {string} case
 * @property {object} settings everything that was set, sizes too
 * @property {Readonly<Record<string, { unit: string, values: readonly number[] }>>} figures every repeat of each
 * @property {Readonly<Record<string, Result['figures']>>} [beside] by figure: others of the same repeats, which stand
 *   in columns beside it
 * @property {readonly Ratio[]} [ratios]
 * @property {Readonly<Record<string, { x: readonly number[], y: readonly number[], xUnit: string, yUnit: string }>>}
 *   [series]
 * @property {Readonly<Record<string, string>>} [versions]
 * @property {readonly string[]} [notes]
 * @property {number} [tries] its own, where a case has others than its scenario
 *
 * @typedef {object} Ratio of one figure's median to another's; missed when something is wanted and either was not
 *   measured. A column beside a figure is called `FIGURE: COLUMN`
 * @property {string} name
 * @property {string} of
 * @property {string} [to] if it is missing, what is wanted is wanted of the figure itself
 * @property {string} [wanted] as `>= 2.5` or `< 10`
 *
 * @typedef {object} RunOptions
 * @property {number} tries repeats, in each of which every contender has a turn
 * @property {boolean} areTriesAsked whether somebody has asked for so many
 * @property {readonly string[]} cases
 * @property {boolean} isSmoke tiny sizes: does everything work?
 * @property {readonly string[]} contenders those to measure, of the scenario's own
 * @property {number | undefined} jobs
 * @property {number | undefined} seconds
 * @property {(text: string) => void} tell for people
 * @property {() => Promise<import('./server.mjs').Server>} server that of the run, started at the first call; the
 *   driver stops it
 *
 * @typedef {object} Scenario
 * @property {number} tries
 * @property {readonly string[]} cases
 * @property {readonly string[]} [defaultCases] those that are run when none is asked for; all, if it is missing
 * @property {readonly string[]} [smokeCases] those of --smoke; otherwise as without it
 * @property {readonly string[]} [contenders]
 * @property {readonly string[]} [defaultContenders] as with the cases
 * @property {(options: RunOptions) => AsyncIterable<Result>} run
 */

export const scenarioNames = /** @type {const} */ ([
  'throughput',
  'latency',
  'burst',
  'insert',
  'depth',
  'stats',
  'idle',
  'held-xmin',
  'memory',
  'fleet',
  'recovery',
])

/**
 * @param {string} name
 * @returns {Promise<Scenario>} `NAME.mjs`, or `NAME/index.mjs`
 */
export function loadScenario(name) {
  const file = new URL(`./${name}.mjs`, import.meta.url)
  return import((existsSync(file) ? file : new URL(`./${name}/index.mjs`, import.meta.url)).href)
}
