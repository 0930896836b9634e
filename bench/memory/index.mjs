/** What a consumer's process holds in memory: beside a long queue of small jobs, and with large ones. */
import * as backlog from './backlog.mjs'
import * as large from './large-jobs.mjs'
import * as slow from './slow-link.mjs'

export const tries = backlog.tries
const parts = [backlog, large, slow]
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
