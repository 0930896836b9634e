import { knownKeys, wholeNumber } from '../checks.js'
import { BugleError, describe } from '../errors.js'
import { type Batches, createBatchSize } from './batches.js'
import { resolveWhich } from './find.js'
import type { JobState } from './record.js'
import { type AdminParts, sendForOne } from './send.js'

/**
 * Which jobs a call is for. What is left out is not asked: `{}` is every job in one of the call's states. So nothing
 * may be undefined.
 */
export interface MatchFilter<Queue extends string = string> {
  readonly queue?: Queue
  readonly kind?: string
  /** Created then or later. */
  readonly since?: Date
  /** As `containing` of `jobs`. */
  readonly containing?: unknown
  /** At most so many, the lowest ids first. Default: all. */
  readonly limit?: number
}

/** What is done to those jobs. */
type Act = 'requeue' | 'cancel' | 'discard'

/** Ids a statement: some tens of milliseconds, for which those rows are locked. */
const batchSize = 1_000

interface Batch {
  /** Jobs that were looked at. */
  readonly found: number
  /** The highest id of those. */
  readonly last: string | null
  /** Those whose payload is as asked, within the limit. */
  readonly meant: number
  /** Fewer, where others were faster. */
  readonly done: number
}

/**
 * Do something to all jobs that a filter names: one statement per 1,000 jobs that are looked at, or fewer where they
 * are heavy, each atomic. Upwards by id: a job that comes into the state again at once is behind us, and not met twice
 * by one call.
 *
 * @param states - of which jobs are meant: 'archived' alone, or others
 * @returns to how many it was done
 * @throws BugleError as the call that it is for
 * @see sql/statements/act_on_jobs.sql, parts/act_on_jobs.source.act_on_archived.sql
 */
export async function actOnMatching(
  { database }: AdminParts,
  act: Act,
  filter: MatchFilter,
  states: readonly JobState[],
  batches: Batches,
): Promise<number> {
  const { queue, kind, sinceMs, containing } = resolveWhich(filter)
  const { limit } = filter
  const statement = states.includes('archived') ? 'act_on_archived' : 'act_on_jobs'
  let left = limit === undefined ? Number.POSITIVE_INFINITY : wholeNumber('limit', limit, { min: 1 })
  let total = 0
  let after = '-1'
  const batch = createBatchSize(batchSize)
  while (left > 0 && !batches.isOver) {
    // Of many that are looked at, few may contain it: then the limit is of no use as the size of a look.
    const size = containing === null ? Math.min(left, batch.rows) : batch.rows
    const parameters = [after, size, queue, kind, sinceMs, containing, `{${states.join()}}`, act, Math.min(left, size)]
    const call = { name: act, effect: total === 0 ? 'writes' : 'has written' } as const
    const sentAt = performance.now()
    let answer: Batch
    try {
      answer = await sendForOne<Batch>(database, statement, parameters, call)
    } catch (error) {
      if (batch.isTooLarge(error)) continue
      throw error
    }
    batch.answered(performance.now() - sentAt)
    total += answer.done
    batches.done(total)
    if (answer.found < size || answer.last === null) break
    after = answer.last
    left -= answer.meant
  }
  return total
}

/** @throws BugleError `INVALID_OPTION` */
export function demandFilter(what: string, filter: unknown, names: readonly string[]): void {
  if (typeof filter !== 'object' || filter === null) {
    throw new BugleError('INVALID_OPTION', `${what} takes an id (a string), ids or a filter; got ${describe(filter)}`)
  }
  knownKeys(`${what} filter`, filter, names)
  for (const [name, value] of Object.entries(filter)) {
    // A variable that was never set must not widen the filter to the jobs of every queue.
    if (value === undefined) {
      throw new BugleError('INVALID_OPTION', `${what} filter: ${name} is undefined; leave it out`)
    }
  }
}

/** What all filters may name. */
export const matchNames = ['queue', 'kind', 'since', 'containing', 'limit'] as const

// Array.isArray does not know readonly arrays.
export function isList(which: unknown): which is readonly string[] {
  return Array.isArray(which)
}
