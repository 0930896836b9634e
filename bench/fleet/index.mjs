/** Many processes on one queue: under steady inserts, under rare ones, when the server comes back, with a backlog. */
import * as backlog from './backlog.mjs'
import * as busy from './busy.mjs'
import * as rare from './rare.mjs'
import * as restart from './restart.mjs'

export const tries = busy.tries
const parts = [busy, rare, restart, backlog]
export const cases = parts.flatMap(({ cases }) => cases)

/**
 * @param {import('../scenarios.mjs').RunOptions} options
 * @returns {AsyncIterable<import('../scenarios.mjs').Result>}
 */
export async function* run(options) {
  for (const part of parts) {
    const chosen = options.cases.filter((name) => part.cases.includes(name))
    if (chosen.length > 0) yield* part.run({ ...options, cases: chosen })
  }
}
