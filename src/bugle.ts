import type { BatchesOptions } from './admin/batches.js'
import type { CancelAnswer, CancelFilter } from './admin/cancel.js'
import type { CollectOptions, CollectReport } from './admin/collect.js'
import type { DiscardFilter } from './admin/discard.js'
import type { JobChanges } from './admin/edit.js'
import type { ContentsOption, JobsFilter, JobsPage } from './admin/find.js'
import type { Health } from './admin/health.js'
import type { JobRecordOf } from './admin/record.js'
import type { RequeueFilter } from './admin/requeue.js'
import type { BugleStats, StatsOptions } from './admin/stats.js'
import type { Consumer } from './consume/consumer.js'
import type { ConsumeOptions, DrainOptions } from './consume/options.js'
import type { MigrationReport } from './database/migrate.js'
import type { EventSource } from './events.js'
import type { StopOptions } from './options.js'
import type { Putter } from './putter.js'
import type { HandlersOf, JobOf, QueueMap } from './queues.js'
import type { JobResult, ResultOptions } from './results/results.js'
import type { StopReport } from './stop-report.js'

/** Only in types: see `Bugle`. */
declare const contextOf: unique symbol

/** Bugle's one object: puts jobs, starts consumers, and looks after the jobs that are there. */
export interface Bugle<Queues extends object = QueueMap, Context = unknown>
  extends Putter<Queues>,
    EventSource<keyof Queues & string>,
    AsyncDisposable {
  /**
   * This process's presence, a decimal string: the owner of its leases. Another one after it was given up by others
   * (`worker:lost`), and when it consumes again after its last consumer was stopped.
   */
  readonly workerId: string
  /**
   * Create or update the tables. Safe when several processes call it at once, and by way of a pooler.
   *
   * @throws BugleError `DATABASE_DOWN`, `SCHEMA_TOO_NEW`; `SCHEMA_UNUSABLE`: something of others is in the way;
   *   `MIGRATION_BLOCKED`: another session kept a lock for a minute; `NO_PRIVILEGE`: the message says which, and who
   *   can give it; `RESULT_UNKNOWN`: a step may have been made, so migrate again
   */
  migrate(): Promise<MigrationReport>
  /**
   * Run the handler for the queue's jobs, until it is stopped.
   *
   * @param handler - a function, or an object with one for each kind
   * @returns once the queue is listened to and what was waiting there has been claimed, as far as there are slots.
   *   With the database down it waits, and says so (`database:down`), until `signal` aborts. Where the instance is
   *   closed meanwhile, by a signal above all, it is a consumer that is stopped
   * @throws BugleError `INVALID_QUEUE`, `INVALID_OPTION`, `ALREADY_CONSUMING`, `NOT_MIGRATED`, `SCHEMA_TOO_NEW`,
   *   `SCHEMA_UNUSABLE`, `NO_PRIVILEGE`, `CLOSED`; `DATABASE_DOWN` where the instance's first connection is refused for
   *   good: a wrong password, role, database or host name; the signal's reason
   */
  consume<Queue extends keyof Queues & string, ConsumerContext = Context>(
    queue: Queue,
    handler: HandlersOf<Queues[Queue], Bugle<Queues, Context>, NoInfer<ConsumerContext>>,
    options?: ConsumeOptions<JobOf<Queues[Queue]>, Bugle<Queues, Context>, ConsumerContext>,
  ): Promise<Consumer>
  /**
   * Run what is in the queue, then stop: a consumer that ends by itself once nothing runs and nothing is ready; or,
   * with `until: 'scheduled'`, nothing is ready or scheduled. Ends at once where the queue is paused, and when `signal`
   * aborts.
   *
   * @param options - those of `consume`, and `until`
   * @returns what the stop reports, once it has stopped
   * @throws as `consume`
   */
  drain<Queue extends keyof Queues & string, ConsumerContext = Context>(
    queue: Queue,
    handler: HandlersOf<Queues[Queue], Bugle<Queues, Context>, NoInfer<ConsumerContext>>,
    options?: DrainOptions<JobOf<Queues[Queue]>, Bugle<Queues, Context>, ConsumerContext>,
  ): Promise<StopReport>
  /**
   * Pause a queue in all processes, until it is resumed, also over restarts: no claim begins after this has resolved.
   * Jobs that run go on, and jobs may be put.
   *
   * What is claimed and has not begun goes back: at once in this process, in others with their next heartbeat.
   *
   * @returns whether it was not paused before
   * @throws BugleError `INVALID_QUEUE`, `DATABASE_DOWN`, `NO_PRIVILEGE`, `NOT_MIGRATED`, `SCHEMA_TOO_NEW`, `CLOSED`,
   *   `RESULT_UNKNOWN`
   */
  pause(queue: keyof Queues & string): Promise<boolean>
  /**
   * Resume a paused queue; its consumers are woken.
   *
   * @returns whether it was paused
   * @throws as `pause`
   */
  resume(queue: keyof Queues & string): Promise<boolean>
  /**
   * One job, wherever it is: waiting, running, failed or in the archive.
   *
   * @param options - `contents`: false leaves out payload, progress and result
   * @returns null where there is none: it never was, or was acked, or collected
   * @throws BugleError `INVALID_OPTION`, `DATABASE_DOWN`, `NO_PRIVILEGE`, `NOT_MIGRATED`, `SCHEMA_TOO_NEW`, `CLOSED`
   */
  job<Contents extends boolean = true>(
    id: string,
    options?: ContentsOption<Contents>,
  ): Promise<JobRecordOf<Queues, keyof Queues & string, Contents> | null>
  /**
   * A page of jobs, newest id first; `cursor` leads to the next one. Heavy jobs make a page shorter than its `limit`.
   *
   * @throws BugleError `INVALID_OPTION`, `INVALID_QUEUE`, `DATABASE_DOWN`, `NO_PRIVILEGE`, `NOT_MIGRATED`,
   *   `SCHEMA_TOO_NEW`, `CLOSED`
   */
  jobs<Queue extends keyof Queues & string = keyof Queues & string, Contents extends boolean = true>(
    filter?: JobsFilter<Queue, Contents>,
  ): Promise<JobsPage<JobRecordOf<Queues, Queue, Contents>>>
  /**
   * Make failed or archived jobs ready again, each under its id and with all its attempts. Two at once make one.
   *
   * @param which - ids, which are requeued in one statement; or a filter, by default of failed jobs: `{}` is all of
   *   them, in batches
   * @param options - `signal` ends it after the batch in flight: it resolves with what was done; `onProgress` is called
   *   after each batch with the total so far
   * @returns how many were made ready
   * @throws BugleError `INVALID_OPTION`, `INVALID_QUEUE`, `DATABASE_DOWN`, `NO_PRIVILEGE`, `NOT_MIGRATED`,
   *   `SCHEMA_TOO_NEW`, `CLOSED`, `RESULT_UNKNOWN`
   */
  requeue(
    which: string | readonly string[] | RequeueFilter<keyof Queues & string>,
    options?: BatchesOptions,
  ): Promise<number>
  /**
   * Cancel a job: one that waits is failed at once, and no event tells of it; one that runs, in whatever process, has
   * its signal aborted and gets no further run, and if this one succeeds all the same, that counts.
   *
   * @throws BugleError `INVALID_OPTION`, `DATABASE_DOWN`, `NO_PRIVILEGE`, `NOT_MIGRATED`, `SCHEMA_TOO_NEW`, `CLOSED`,
   *   `RESULT_UNKNOWN`
   */
  cancel(id: string): Promise<CancelAnswer>
  /**
   * The same for all jobs that a filter names: `{}` is all that wait or run. In batches.
   *
   * @param options - as of `requeue`
   * @returns how many were cancelled, or are to end
   * @throws as `requeue`
   */
  cancel(filter: CancelFilter<keyof Queues & string>, options?: BatchesOptions): Promise<number>
  /**
   * Change a job that waits: run it now (`delayMs: 0`), put it off, before or behind others, with another payload.
   *
   * @returns whether it was changed; false: it runs, is over, or never was
   * @throws BugleError `INVALID_OPTION`, `INVALID_PAYLOAD`, `PAYLOAD_TOO_LARGE`, `VALIDATION_FAILED`, `DATABASE_DOWN`,
   *   `NO_PRIVILEGE`, `NOT_MIGRATED`, `SCHEMA_TOO_NEW`, `CLOSED`, `RESULT_UNKNOWN`
   */
  edit(id: string, changes: JobChanges): Promise<boolean>
  /**
   * Delete jobs for good: nothing is kept of them, and no event tells of it. Jobs that run stay: cancel them.
   *
   * @param which - an id, ids, or a filter, which must say the state
   * @param options - as of `requeue`
   * @returns how many were deleted
   * @throws as `requeue`
   */
  discard(
    which: string | readonly string[] | DiscardFilter<keyof Queues & string>,
    options?: BatchesOptions,
  ): Promise<number>
  /**
   * What a job has ended with, in whatever process: at once if it is over, otherwise as soon as it is. It is pushed:
   * who ends a job notifies those who wait. While notifications do not arrive, every second has a look.
   *
   * A result is there where the job's consumer keeps acked jobs: `keep: 'all'`, or for a time by `keep: {
   * archivedForMs }`. Otherwise the answer is 'gone', within half a minute of the ack (`sweepMs`).
   *
   * @throws BugleError `INVALID_OPTION`, `DATABASE_DOWN`, `NO_PRIVILEGE`, `NOT_MIGRATED`, `SCHEMA_TOO_NEW`, `CLOSED`;
   *   the signal's reason
   */
  result<Result = unknown>(id: string, options?: ResultOptions): Promise<JobResult<Result>>
  /**
   * Delete jobs that ended long ago, in batches. Consuming processes do it by themselves, as `keep` of `createBugle`
   * says.
   *
   * @param options - the ages; `limit`; `signal` and `onProgress` as of `requeue`
   * @returns how many rows were deleted
   * @throws BugleError `INVALID_OPTION`, `DATABASE_DOWN`, `NO_PRIVILEGE`, `NOT_MIGRATED`, `SCHEMA_TOO_NEW`, `CLOSED`,
   *   `RESULT_UNKNOWN`
   */
  collect(options: CollectOptions): Promise<CollectReport>
  /**
   * What is in the queues, over all processes, and who works there. Counts go to 10,000 and then say so, so that this
   * costs about the same however many jobs there are; it locks nothing, and no claim waits for it.
   *
   * @param queue - that one, whether or not it has jobs; default, and undefined: all
   * @param options - `exact`: count every job, whatever that takes
   * @throws BugleError `INVALID_QUEUE`, `INVALID_OPTION`, `DATABASE_DOWN`, `NO_PRIVILEGE`, `NOT_MIGRATED`,
   *   `SCHEMA_TOO_NEW`, `CLOSED`
   */
  stats(queue?: keyof Queues & string, options?: StatsOptions): Promise<BugleStats>
  /**
   * Whether this process can do its work now: made for a readiness probe. Healthy means: the database answers within
   * two seconds, can be written to, and has our tables; the instance is not being closed; and if it consumes, every
   * consumer has begun, and others see that the process lives, so that it may claim. A consumer that is paused, or was
   * stopped, is healthy; and so is one that lives by sweeps, since notifications do not arrive.
   *
   * Not for a liveness probe: a restart mends no database, and would take every process down with it. A liveness probe
   * should ask for no more than an answer of the event loop.
   *
   * @returns within two seconds
   * @throws BugleError `CLOSED`, and nothing else
   */
  health(): Promise<Health>
  /**
   * Stop every consumer, then end every connection, by the deadline of the last stop. While handlers still run, they
   * and others may put. A second call joins the first, and can only make it shorter.
   *
   * Where handlers have not ended by then, the worker's presence stays on one connection that does not keep the process
   * alive: their jobs keep their leases until they end, or the process does.
   *
   * @param options - for every consumer; default: each one's own
   * @throws BugleError `INVALID_OPTION`
   */
  close(options?: StopOptions): Promise<void>
  /** @internal Never there: what handlers get as `ctx.context`, for the comparison of instances (see `Putter`). */
  readonly [contextOf]?: Context
}
