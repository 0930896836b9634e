/** How long until everything runs again: Bugle alone, step by step; and beside others under a steady load. */
import * as alone from './alone.mjs'
import { contenders as besideOthers, tries as phaseTries, runPhase } from './beside.mjs'
import { phases } from './phases.mjs'

export const tries = alone.tries
export const cases = [...alone.cases, ...Object.keys(phases)]
export const smokeCases = [...alone.smokeCases, ...Object.keys(phases)]
export const contenders = besideOthers
/** The other set-up of Graphile Worker only when it is asked for: a phase takes a minute a contender. */
export const defaultContenders = besideOthers.filter((name) => name !== 'graphile-recommended')

/**
 * On servers of its own: it kills and restarts them.
 *
 * @param {import('../scenarios.mjs').RunOptions} options
 * @returns {AsyncIterable<import('../scenarios.mjs').Result>}
 */
export async function* run(options) {
  const ours = options.cases.filter((name) => !(name in phases))
  if (ours.length > 0) yield* alone.run({ ...options, cases: ours })
  const tries = options.areTriesAsked || options.isSmoke ? options.tries : phaseTries
  for (const name of options.cases.filter((one) => one in phases)) yield await runPhase(name, { ...options, tries })
}
