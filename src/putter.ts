import type { KindOf, PayloadToPut, PutArguments, PutManyArguments, QueueMap } from './queues.js'

/** Only in types: see `Putter`. */
declare const accepts: unique symbol

/**
 * What puts jobs: an instance, as seen by a function that only puts.
 *
 * A function says which queues it needs, and takes every instance that has those and perhaps others, whatever its
 * context is: `async function welcome(bugle: Putter<{ emails: { to: string } }>)`.
 */
export interface Putter<Queues extends object = QueueMap> {
  /**
   * Insert a job. An idle consumer of the queue starts it a few milliseconds after the commit, or at its `runAt`.
   *
   * @param args - options; of a queue of kinds `kind` is one that must be given
   * @returns the job's id, a decimal string; that of the waiting job where its key waits already (`keyMode`)
   * @throws BugleError `INVALID_QUEUE`, `INVALID_PAYLOAD`, `PAYLOAD_TOO_LARGE`, `VALIDATION_FAILED`, `INVALID_OPTION`,
   *   `KEY_TAKEN`, `ID_TAKEN`, `NO_PRIVILEGE`, `NOT_MIGRATED`, `SCHEMA_TOO_NEW`, `SCHEMA_UNUSABLE`, `DATABASE_DOWN`,
   *   `CLOSED`: nothing was written; `RESULT_UNKNOWN`: perhaps it was
   */
  put<Queue extends keyof Queues & string, Kind extends KindOf<Queues[Queue]>>(
    queue: Queue,
    payload: PayloadToPut<Queues[Queue], Kind>,
    ...args: PutArguments<Queues[Queue], Kind>
  ): Promise<string>
  /**
   * Insert many jobs in one statement: all or none.
   *
   * @param args - options for all, or a function that is asked for those of each
   * @returns their ids, in the order of the payloads
   * @throws as `put`
   */
  putMany<Queue extends keyof Queues & string, Kind extends KindOf<Queues[Queue]>>(
    queue: Queue,
    payloads: readonly PayloadToPut<Queues[Queue], Kind>[],
    ...args: PutManyArguments<Queues[Queue], Kind>
  ): Promise<string[]>
  /**
   * @internal Never there. The compiler compares generic methods without what they are generic in, so it would take one
   * instance for another of other queues. This says which jobs are taken: one who takes more can stand for one who
   * takes less.
   */
  readonly [accepts]?: (job: JobToPut<Queues>) => void
}

/** A union of what the queues take. */
type JobToPut<Queues extends object> = {
  [Queue in keyof Queues & string]: {
    [Kind in KindOf<Queues[Queue]>]: {
      readonly queue: Queue
      readonly kind: Kind
      readonly payload: PayloadToPut<Queues[Queue], Kind>
    }
  }[KindOf<Queues[Queue]>]
}[keyof Queues & string]
