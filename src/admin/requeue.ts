import { idArray, jobId, jobIds, knownKeys, oneOf } from '../checks.js'
import type { Database } from '../database/database.js'
import { type Batches, type BatchesOptions, resolveBatches } from './batches.js'
import { actOnMatching, demandFilter, isList, type MatchFilter, matchNames } from './matching.js'
import { type AdminParts, sendForOne } from './send.js'

/** Which jobs `requeue` makes ready. What is left out is not asked: `{}` is every failed job. */
export interface RequeueFilter<Queue extends string = string> extends MatchFilter<Queue> {
  /** @defaultValue 'failed' */
  readonly state?: 'failed' | 'archived'
}

const requeueDefaults = { state: 'failed' } as const satisfies Partial<RequeueFilter>

/**
 * Make failed or archived jobs ready again: the same id, attempt 0, to be run at once. Consumers are woken.
 *
 * Each statement is atomic: ids take one statement, a filter takes one per 1,000 jobs, or fewer where they are heavy.
 * When several calls want the same job, only one gets it. A job whose key has been put anew goes back without its key;
 * one that would have its key until it is over (`unique.while: 'running'`) stays as it is then.
 *
 * @param which - an id, ids, or a filter; ids of jobs that are neither failed nor archived are passed over
 * @param options - a signal that ends it between two batches, and a function that is called with the progress; ids are
 *   one batch
 * @returns how many were made ready
 * @throws BugleError `INVALID_OPTION`, `INVALID_QUEUE`, `DATABASE_DOWN`, `NO_PRIVILEGE`, `NOT_MIGRATED`,
 *   `SCHEMA_TOO_NEW`, `CLOSED`: nothing was written; `RESULT_UNKNOWN`: perhaps it was, or a part of the batches
 * @see sql/statements/requeue.sql, act_on_jobs.sql
 */
export async function requeue(
  parts: AdminParts,
  which: string | readonly string[] | RequeueFilter,
  options: BatchesOptions = {},
): Promise<number> {
  knownKeys('requeue options', options, ['signal', 'onProgress'])
  const batches = resolveBatches(options)
  if (typeof which === 'string') return requeueIds(parts.database, [jobId(which)], batches)
  if (isList(which)) return requeueIds(parts.database, jobIds(which), batches)
  demandFilter('requeue', which, [...matchNames, 'state'])
  const state = oneOf('state', which.state ?? requeueDefaults.state, ['failed', 'archived'])
  return actOnMatching(parts, 'requeue', which, [state], batches)
}

async function requeueIds(database: Database, ids: readonly string[], batches: Batches): Promise<number> {
  if (ids.length === 0 || batches.isOver) return 0
  const { requeued } = await sendForOne<{ requeued: number }>(database, 'requeue', [idArray(ids)], {
    name: 'requeue',
    effect: 'writes',
  })
  batches.done(requeued)
  return requeued
}
