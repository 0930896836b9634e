import { jobId } from '../checks.js'
import { type AdminParts, sendForOne } from './send.js'

/** What became of a cancel. */
export type CancelAnswer =
  /** It waited, and is failed now: it never runs. */
  | 'cancelled'
  /** It runs, and will not go back to its queue; if this run succeeds, that counts. */
  | 'requested'
  /** It is over already, or never was. */
  | 'not-found'

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
