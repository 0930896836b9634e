import { jobId, knownKeys, oneOf, wholeNumber } from '../checks.js'
import type { Database } from '../database/database.js'
import { BugleError, describe } from '../errors.js'
import { type Batches, type BatchesOptions, createBatchSize, resolveBatches } from './batches.js'
import { resolveWhich } from './find.js'
import { type AdminParts, sendForOne } from './send.js'

/**
 * Which jobs `requeue` makes ready. What is left out is not asked: `{}` is every failed job.
 * So nothing may be undefined.
 */
export interface RequeueFilter<Queue extends string = string> {
  readonly queue?: Queue
  readonly kind?: string
  /** Created then or later. */
  readonly since?: Date
  /** @defaultValue 'failed' */
  readonly state?: 'failed' | 'archived'
  /** At most so many, the lowest ids first. Default: all. */
  readonly limit?: number
}

const requeueDefaults = { state: 'failed' } as const satisfies Partial<RequeueFilter>

/** Ids a statement: some tens of milliseconds, for which those rows are locked. */
const batchSize = 1_000

/**
 * Make failed or archived jobs ready again: the same id, attempt 0, to be run at once. Consumers are woken.
 *
 * Each statement is atomic: ids take one statement, a filter takes one per 1,000 jobs, or fewer where they are heavy.
 * When several calls want the same job, only one gets it. A job whose key has been put anew goes back without its key.
 *
 * @param what - an id, ids, or a filter; ids of jobs that are neither failed nor archived are passed over
 * @param options - a signal that ends it between two batches, and a function that is called with the progress; ids are
 *   one batch
 * @returns how many were made ready
 * @throws BugleError `INVALID_OPTION`, `INVALID_QUEUE`, `DATABASE_DOWN`, `NO_PRIVILEGE`, `NOT_MIGRATED`,
 *   `SCHEMA_TOO_NEW`, `CLOSED`: nothing was written; `RESULT_UNKNOWN`: perhaps it was, or a part of the batches
 * @see sql/statements/requeue.sql, requeue_failed.sql, parts/requeue_failed.source.requeue_archived.sql
 */
export async function requeue(
  { database }: AdminParts,
  what: string | readonly string[] | RequeueFilter,
  options: BatchesOptions = {},
): Promise<number> {
  knownKeys('requeue options', options, ['signal', 'onProgress'])
  const batches = resolveBatches(options)
  if (typeof what === 'string') return requeueIds(database, [jobId(what)], batches)
  if (isList(what)) return requeueIds(database, jobIds(what), batches)
  return requeueMatching(database, what, batches)
}

// Array.isArray does not know readonly arrays.
function isList(what: readonly string[] | RequeueFilter): what is readonly string[] {
  return Array.isArray(what)
}

function jobIds(ids: readonly unknown[]): string[] {
  return Array.from(ids, (id, index) => jobId(id, `ids[${index}]`))
}

async function requeueIds(database: Database, ids: readonly string[], batches: Batches): Promise<number> {
  if (ids.length === 0 || batches.isOver) return 0
  // The elements are decimal strings only, so nothing needs quoting.
  const { requeued } = await sendForOne<{ requeued: number }>(database, 'requeue', [`{${ids.join(',')}}`], {
    name: 'requeue',
    effect: 'writes',
  })
  batches.done(requeued)
  return requeued
}

async function requeueMatching(database: Database, filter: RequeueFilter, batches: Batches): Promise<number> {
  const { statement, limit, queue, kind, sinceMs } = resolveRequeueFilter(filter)
  let total = 0
  // Upwards by id: a job that fails again at once is behind us, and not requeued twice by one call.
  let after = '-1'
  const batch = createBatchSize(batchSize)
  for (let left = limit; left > 0 && !batches.isOver; ) {
    const size = Math.min(left, batch.rows)
    const call = { name: 'requeue', effect: total === 0 ? 'writes' : 'has written' } as const
    const sentAt = performance.now()
    let answer: Batch
    try {
      answer = await sendForOne<Batch>(database, statement, [after, size, queue, kind, sinceMs], call)
    } catch (error) {
      if (batch.isTooLarge(error)) continue
      throw error
    }
    batch.answered(performance.now() - sentAt)
    const { found, last, requeued } = answer
    total += requeued
    batches.done(total)
    if (found < size || last === null) break
    after = last
    left -= found
  }
  return total
}

interface Batch {
  readonly found: number
  /** The highest id of those. */
  readonly last: string | null
  readonly requeued: number
}

function resolveRequeueFilter(filter: RequeueFilter) {
  if (typeof filter !== 'object' || filter === null) {
    throw new BugleError('INVALID_OPTION', `requeue takes an id (a string), ids or a filter; got ${describe(filter)}`)
  }
  knownKeys('requeue filter', filter, ['queue', 'kind', 'state', 'since', 'limit'])
  for (const [name, value] of Object.entries(filter)) {
    // A variable that was never set must not widen the filter to the jobs of every queue.
    if (value === undefined)
      throw new BugleError('INVALID_OPTION', `requeue filter: ${name} is undefined; leave it out`)
  }
  const { state = requeueDefaults.state, limit } = filter
  return {
    ...resolveWhich(filter),
    statement: oneOf('state', state, ['failed', 'archived']) === 'failed' ? 'requeue_failed' : 'requeue_archived',
    limit: limit === undefined ? Number.POSITIVE_INFINITY : wholeNumber('limit', limit, { min: 1 }),
  } as const
}
