import { jobId, knownKeys, oneOf } from '../checks.js'
import { type BatchesOptions, resolveBatches } from './batches.js'
import { actOnMatching, demandFilter, type MatchFilter, matchNames } from './matching.js'
import { type AdminParts, sendForOne } from './send.js'

/** What became of a cancel. */
export type CancelAnswer =
  /** It waited, and is failed now: it never runs. */
  | 'cancelled'
  /** It runs, and will not go back to its queue; if this run succeeds, that counts. */
  | 'requested'
  /** It is over already, or never was. */
  | 'not-found'

/** Which jobs `cancel` cancels. What is left out is not asked: `{}` is every job that waits or runs. */
export interface CancelFilter<Queue extends string = string> extends MatchFilter<Queue> {
  readonly state?: 'scheduled' | 'ready' | 'running'
}

/**
 * Cancel a job. It is decided on the row as it is once nobody else is changing it: against a claim in flight, the
 * answer is `requested` if that commits, and `cancelled` if not.
 *
 * @throws BugleError `INVALID_OPTION`, `DATABASE_DOWN`, `NO_PRIVILEGE`, `NOT_MIGRATED`, `SCHEMA_TOO_NEW`, `CLOSED`:
 *   nothing was written; `RESULT_UNKNOWN`
 * @see sql/statements/cancel.sql
 */
export async function cancel({ database }: AdminParts, id: string): Promise<CancelAnswer> {
  const { answer } = await sendForOne<{ answer: CancelAnswer }>(database, 'cancel', [jobId(id)], {
    name: 'cancel',
    effect: 'writes',
  })
  return answer
}

/**
 * The same for all jobs that a filter names, in batches.
 *
 * @param options - as of `requeue`
 * @returns how many were cancelled, or are to end
 * @throws BugleError as `requeue`
 * @see sql/statements/act_on_jobs.sql
 */
export async function cancelMatching(
  parts: AdminParts,
  filter: CancelFilter,
  options: BatchesOptions = {},
): Promise<number> {
  knownKeys('cancel options', options, ['signal', 'onProgress'])
  const batches = resolveBatches(options)
  demandFilter('cancel', filter, [...matchNames, 'state'])
  const { state } = filter
  const states = ['scheduled', 'ready', 'running'] as const
  return actOnMatching(parts, 'cancel', filter, state === undefined ? states : [oneOf('state', state, states)], batches)
}
