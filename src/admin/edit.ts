import { delay, jobId, knownKeys, moment, wholeNumber } from '../checks.js'
import type { Duration } from '../duration.js'
import { BugleError } from '../errors.js'
import type { Payloads } from '../payloads.js'
import { type AdminParts, send, sendForOne } from './send.js'

/** What `edit` changes of a job that waits: at least one of these. */
export interface JobChanges {
  /** The whole of it: checked and encoded as by `put`. */
  readonly payload?: unknown
  /** Higher first; -32768 to 32767. */
  readonly priority?: number | undefined
  /** Not before that moment, by the database's clock. */
  readonly runAt?: Date | undefined
  /** Not before so long from now; 0: now. At most a hundred years. */
  readonly delayMs?: Duration | undefined
}

/**
 * Change a job that waits: run it now, put it off, before or behind others, with another payload.
 *
 * It is decided on the row as it is once nobody else is changing it: against a claim in flight it is false if that
 * commits. A job that is ready at once wakes a consumer.
 *
 * @returns whether it was changed; false: it runs, is over, or never was
 * @throws BugleError `INVALID_OPTION`, `INVALID_PAYLOAD`, `PAYLOAD_TOO_LARGE`, `VALIDATION_FAILED`, `DATABASE_DOWN`,
 *   `NO_PRIVILEGE`, `NOT_MIGRATED`, `SCHEMA_TOO_NEW`, `CLOSED`: nothing was written; `RESULT_UNKNOWN`
 * @see sql/statements/edit.sql
 */
export async function edit(
  parts: AdminParts & { readonly payloads: Payloads },
  id: string,
  changes: JobChanges,
): Promise<boolean> {
  const { database, payloads } = parts
  const { priority, runAtMs, delayMs } = resolveChanges(changes)
  jobId(id)
  let text: string | null = null
  if ('payload' in changes) {
    // By its queue and kind: they say which schema it must be of.
    const call = { name: 'edit', effect: 'reads' } as const
    const [job] = await send<{ queue: string; kind: string | null }>(database, 'job_find', ['false', id], call)
    if (job === undefined) return false
    text = await payloads.encodeJob(job.queue, job.kind, changes.payload, 'payload')
  }
  const { edited } = await sendForOne<{ edited: boolean }>(database, 'edit', [id, text, priority, runAtMs, delayMs], {
    name: 'edit',
    effect: 'writes',
  })
  return edited
}

function resolveChanges(changes: JobChanges) {
  knownKeys('edit changes', changes, ['payload', 'priority', 'runAt', 'delayMs'])
  const { priority, runAt, delayMs } = changes
  if (!('payload' in changes) && priority === undefined && runAt === undefined && delayMs === undefined) {
    throw new BugleError('INVALID_OPTION', 'edit needs payload, priority, runAt or delayMs; got none of them')
  }
  if (runAt !== undefined && delayMs !== undefined) {
    throw new BugleError('INVALID_OPTION', 'edit changes: give runAt or delayMs, not both')
  }
  return {
    priority: priority === undefined ? null : wholeNumber('priority', priority, { min: -32_768, max: 32_767 }),
    runAtMs: runAt === undefined ? null : Math.max(0, moment('runAt', runAt).getTime()),
    delayMs: delayMs === undefined ? null : delay('delayMs', delayMs),
  }
}
