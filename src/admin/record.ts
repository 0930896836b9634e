import type { FailureCause } from '../events.js'
import type { StoredError } from '../payload.js'
import type { KindOf, PayloadStored } from '../queues.js'

export const jobStates = ['scheduled', 'ready', 'running', 'failed', 'archived'] as const

/** Where a job is. */
export type JobState =
  /** Due later. */
  | 'scheduled'
  /** Waits for a consumer. */
  | 'ready'
  | 'running'
  /**
   * Rejected, out of attempts, cancelled, not to be run, or under too many dead processes; kept until it is requeued or
   * collected.
   */
  | 'failed'
  /** Acked, and kept by a consumer with `keep: 'all'`. */
  | 'archived'

/** One job as an operator sees it: a copy of its row, read-only. */
export interface JobRecord<
  Payload = unknown,
  Queue extends string = string,
  Kind extends string | null = string | null,
> {
  /** A decimal string: ids are 64 bits. */
  readonly id: string
  readonly queue: Queue
  readonly kind: Kind
  readonly state: JobState
  /** As it is stored, or as the codec makes it. As progress and result: null where it was read without contents. */
  readonly payload: Payload
  readonly priority: number
  /** Counted runs so far. */
  readonly attempt: number
  readonly maxAttempts: number | null
  readonly timeoutMs: number | null
  /** Runs that ended because their process died. */
  readonly crashes: number
  readonly key: string | null
  readonly flags: readonly string[]
  /** What the last `partial(progress)` stored. */
  readonly progress: unknown
  readonly createdAt: Date
  /** From when on it may run, or might have run. */
  readonly runAt: Date
  /** When its last run was claimed; null before the first. */
  readonly claimedAt: Date | null
  /** When it failed or was acked. */
  readonly finishedAt: Date | null
  /** The process that runs it, or ran it if it is archived. */
  readonly workerId: string | null
  readonly cancelRequestedAt: Date | null
  /** Of the last failed run. */
  readonly error: JobError | null
  /**
   * Of the last failed runs, up to nine, the newest last: that is `error`. Those before it have no causes, and of their
   * stacks the beginning.
   */
  readonly errors: readonly JobError[]
  /** What it was acked with, if it is archived. */
  readonly result: unknown
  /** How long its last run waited, from when it could run to its claim; null where it waits now, or never ran. */
  readonly waitMs: number | null
  /** From the claim to the end, of an archived or failed job; null if it has not run. */
  readonly runMs: number | null
}

/** A union of the records of queues, which `record.queue` tells apart, and `record.kind` in a queue of kinds. */
export type JobRecordOf<
  Queues extends object,
  Queue extends keyof Queues & string = keyof Queues & string,
  Contents extends boolean = true,
> = { [Each in Queue]: RecordIn<Each, Queues[Each], Contents> }[Queue]

type RecordIn<Queue extends string, Entry, Contents extends boolean> =
  string extends KindOf<Entry>
    ? JobRecord<IfRead<PayloadStored<Entry, string>, Contents>, Queue>
    : { [Kind in KindOf<Entry>]: JobRecord<IfRead<PayloadStored<Entry, Kind>, Contents>, Queue, Kind> }[KindOf<Entry>]

type IfRead<Payload, Contents extends boolean> = Contents extends true ? Payload : null

/** The failed run as it was stored. Of a row that others wrote, any field may be missing. */
export type JobError = Readonly<Partial<StoredError>> & {
  /** Why the job is failed, as in the event `job:failed`; 'retrying': it is not, that run was followed by another. */
  readonly failedBy?: FailureCause | 'retrying'
  readonly attempt?: number
}

type Moment = 'createdAt' | 'runAt' | 'claimedAt' | 'finishedAt' | 'cancelRequestedAt'

/** A row of the statements job_find and jobs_find: a record but for what JSON and our clock make of it. */
export interface JobRow extends Omit<JobRecord, Moment | 'flags' | 'error' | 'errors' | 'waitMs' | 'runMs'> {
  /** As JSON text. */
  readonly flags: string | null
  /** Times in milliseconds since 1970. */
  readonly createdAt: number
  readonly runAt: number
  readonly claimedAt: number | null
  readonly finishedAt: number | null
  readonly cancelRequestedAt: number | null
  readonly lastError: JobError | null
  /** Of a row that others wrote, anything. */
  readonly formerErrors: unknown
  /** The page could go on behind it. */
  readonly isFollowed: boolean
}

/** @param decode - if it throws, what is stored is given: one row must not hide the others */
export function toRecord(row: JobRow, decode: (stored: unknown) => unknown): JobRecord {
  const { flags, lastError, formerErrors, isFollowed: _, ...same } = row
  const decoded = (stored: unknown): unknown => {
    try {
      return decode(stored)
    } catch {
      return stored
    }
  }
  return Object.freeze({
    ...same,
    payload: decoded(row.payload),
    flags: Object.freeze(flags === null ? [] : (JSON.parse(flags) as string[])),
    progress: row.progress === null ? null : decoded(row.progress),
    createdAt: momentOf(row.createdAt),
    runAt: momentOf(row.runAt),
    claimedAt: toDate(row.claimedAt),
    finishedAt: toDate(row.finishedAt),
    cancelRequestedAt: toDate(row.cancelRequestedAt),
    error: lastError,
    errors: Object.freeze([
      ...(Array.isArray(formerErrors) ? formerErrors : []),
      ...(lastError === null ? [] : [lastError]),
    ]),
    result: row.result === null ? null : decoded(row.result),
    waitMs: waitMs(row),
    runMs: runMs(row),
  })
}

/** From the first moment to the last that a Date can be: a row written by hand may hold infinity. */
function momentOf(ms: number): Date {
  return new Date(Math.min(Math.max(ms, -8.64e15), 8.64e15))
}

function toDate(ms: number | null): Date | null {
  return ms === null ? null : new Date(ms)
}

function waitMs({ state, claimedAt, runAt, createdAt }: JobRow): number | null {
  // The claim of one that waits again is of the run before.
  if (claimedAt === null || state === 'ready' || state === 'scheduled') return null
  return Math.max(0, claimedAt - Math.max(runAt, createdAt))
}

function runMs({ state, claimedAt, finishedAt }: JobRow): number | null {
  if (claimedAt === null || finishedAt === null || (state !== 'failed' && state !== 'archived')) return null
  return Math.max(0, finishedAt - claimedAt)
}
