import { idArray, jobId, jobIds, knownKeys, oneOf } from '../checks.js'
import type { Database } from '../database/database.js'
import { BugleError } from '../errors.js'
import { type Batches, type BatchesOptions, resolveBatches } from './batches.js'
import { actOnMatching, demandFilter, isList, type MatchFilter, matchNames } from './matching.js'
import { type AdminParts, sendForOne } from './send.js'

/** Which jobs `discard` deletes: those in one state, which must be said. What else is left out is not asked. */
export interface DiscardFilter<Queue extends string = string> extends MatchFilter<Queue> {
  readonly state: 'scheduled' | 'ready' | 'failed' | 'archived'
}

/**
 * Delete jobs for good: nothing of them is kept, and no event tells of it. A job that runs stays: cancel it.
 *
 * @param which - an id, ids, or a filter
 * @param options - as of `requeue`
 * @returns how many were deleted; jobs that run, and ids of none, are passed over
 * @throws BugleError as `requeue`
 * @see sql/statements/discard.sql, act_on_jobs.sql
 */
export async function discard(
  parts: AdminParts,
  which: string | readonly string[] | DiscardFilter,
  options: BatchesOptions = {},
): Promise<number> {
  knownKeys('discard options', options, ['signal', 'onProgress'])
  const batches = resolveBatches(options)
  if (typeof which === 'string') return discardIds(parts.database, [jobId(which)], batches)
  if (isList(which)) return discardIds(parts.database, jobIds(which), batches)
  demandFilter('discard', which, [...matchNames, 'state'])
  if (!('state' in which)) {
    throw new BugleError('INVALID_OPTION', 'discard filter: give the state of the jobs that are to be deleted')
  }
  const state = oneOf('state', which.state, ['scheduled', 'ready', 'failed', 'archived'])
  return actOnMatching(parts, 'discard', which, [state], batches)
}

async function discardIds(database: Database, ids: readonly string[], batches: Batches): Promise<number> {
  if (ids.length === 0 || batches.isOver) return 0
  const { discarded } = await sendForOne<{ discarded: number }>(database, 'discard', [idArray(ids)], {
    name: 'discard',
    effect: 'writes',
  })
  batches.done(discarded)
  return discarded
}
