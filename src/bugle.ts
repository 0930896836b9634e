import { randomBytes } from 'node:crypto'
import { type CancelAnswer, cancel } from './admin/cancel.js'
import { type CollectOptions, type CollectReport, collect, collectBatch } from './admin/collect.js'
import { createCollector } from './admin/collector.js'
import { findJob, findJobs, type JobsFilter, type JobsPage } from './admin/find.js'
import type { JobRecord } from './admin/record.js'
import { type RequeueFilter, requeue } from './admin/requeue.js'
import { queueName } from './checks.js'
import { type Consumer, startConsumer } from './consume/consumer.js'
import { type Handlers, resolveHandlers } from './consume/handlers.js'
import { closedError, createDatabase } from './database/database.js'
import { type MigrationReport, migrate } from './database/migrate.js'
import { createOutage } from './database/outage.js'
import { loadStatements } from './database/statements.js'
import { BugleError, describe } from './errors.js'
import { createEvents, type EventSource } from './events.js'
import {
  type BugleOptions,
  type ConsumeOptions,
  type ConsumerOptions,
  type PutOptions,
  resolveBugleOptions,
  resolveConsumerOptions,
} from './options.js'
import { createPayloads } from './payloads.js'
import { put, putMany } from './put/put.js'
import type {
  HandlersOf,
  JobOf,
  PutArguments,
  PutManyArguments,
  PutOptionsOf,
  QueueMap,
  QueueName,
  QueueSchemas,
  QueuesOf,
} from './queues.js'
import { version } from './version.js'
import { createWorker } from './worker/worker.js'

/** Bugle's one object: puts jobs, starts consumers, and looks after the jobs that are there. */
export interface Bugle<Queues extends object = QueueMap, Context = unknown>
  extends EventSource<QueueName<Queues>>,
    AsyncDisposable {
  /** This process's presence, a decimal string: the owner of its leases. */
  readonly workerId: string
  /**
   * Create or update the tables. Safe when several processes call it at once.
   *
   * @throws BugleError `DATABASE_DOWN`, `SCHEMA_TOO_NEW`; PostgreSQL's error where a privilege is missing
   */
  migrate(): Promise<MigrationReport>
  /**
   * Insert a job. An idle consumer of the queue starts it about a millisecond after the commit, or at its `runAt`.
   *
   * @param args - the payload, then options; of a queue of kinds `kind` is one that must be given
   * @returns the job's id, a decimal string; that of the waiting job where its key waits already (`keyMode`)
   * @throws BugleError `INVALID_QUEUE`, `INVALID_PAYLOAD`, `PAYLOAD_TOO_LARGE`, `VALIDATION_FAILED`, `INVALID_OPTION`,
   *   `KEY_TAKEN`, `NOT_MIGRATED`, `SCHEMA_TOO_NEW`, `DATABASE_DOWN`, `CLOSED`: nothing was written; `RESULT_UNKNOWN`:
   *   perhaps it was
   */
  put<Queue extends QueueName<Queues>>(queue: Queue, ...args: PutArguments<Queues[Queue]>): Promise<string>
  /**
   * Insert many jobs in one statement: all or none.
   *
   * @param args - the payloads, then options for all, or a function that is asked for those of each
   * @returns their ids, in the order of the payloads
   * @throws as `put`
   */
  putMany<Queue extends QueueName<Queues>>(queue: Queue, ...args: PutManyArguments<Queues[Queue]>): Promise<string[]>
  /**
   * Run the handler for the queue's jobs, until it is stopped.
   *
   * @param handler - a function, or an object with one for each kind
   * @returns once the queue is listened to and what was waiting there has been claimed, as far as there are slots.
   *   With the database down it waits, and says so (`database:down`), until `signal` aborts
   * @throws BugleError `INVALID_QUEUE`, `INVALID_OPTION`, `ALREADY_CONSUMING`, `NOT_MIGRATED`, `SCHEMA_TOO_NEW`,
   *   `CLOSED`; the signal's reason
   */
  consume<Queue extends QueueName<Queues>>(
    queue: Queue,
    handler: HandlersOf<Queues[Queue], Bugle<Queues, Context>, Context>,
    options?: ConsumeOptions<JobOf<Queues[Queue]>, Bugle<Queues, Context>, Context>,
  ): Promise<Consumer>
  /** The same, with a `context` of the consumer's own. */
  consume<Queue extends QueueName<Queues>, ConsumerContext>(
    queue: Queue,
    handler: HandlersOf<Queues[Queue], Bugle<Queues, Context>, ConsumerContext>,
    options: ConsumeOptions<JobOf<Queues[Queue]>, Bugle<Queues, Context>, ConsumerContext> & {
      readonly context: ConsumerContext
    },
  ): Promise<Consumer>
  /**
   * One job, wherever it is: waiting, running, failed or in the archive.
   *
   * @returns null where there is none: it never was, or was acked, or collected
   * @throws BugleError `INVALID_OPTION`, `DATABASE_DOWN`, `NOT_MIGRATED`, `SCHEMA_TOO_NEW`, `CLOSED`
   */
  job(id: string): Promise<JobRecord | null>
  /**
   * A page of jobs, newest id first; `cursor` leads to the next one.
   *
   * @throws BugleError `INVALID_OPTION`, `INVALID_QUEUE`, `DATABASE_DOWN`, `NOT_MIGRATED`, `SCHEMA_TOO_NEW`, `CLOSED`
   */
  jobs(filter?: JobsFilter): Promise<JobsPage>
  /**
   * Make failed or archived jobs ready again, each under its id and with all its attempts. Two at once make one.
   *
   * @param which - ids, which are requeued in one statement; or a filter, by default of failed jobs: `{}` is all of them,
   *   in batches
   * @returns how many were made ready
   * @throws BugleError `INVALID_OPTION`, `INVALID_QUEUE`, `DATABASE_DOWN`, `NOT_MIGRATED`, `SCHEMA_TOO_NEW`, `CLOSED`,
   *   `RESULT_UNKNOWN`
   */
  requeue(which: string | readonly string[] | RequeueFilter): Promise<number>
  /**
   * Cancel a job: one that waits is failed at once, and no event tells of it; one that runs gets no further run, and if
   * this one succeeds, that counts.
   *
   * @throws BugleError `INVALID_OPTION`, `DATABASE_DOWN`, `NOT_MIGRATED`, `SCHEMA_TOO_NEW`, `CLOSED`, `RESULT_UNKNOWN`
   */
  cancel(id: string): Promise<CancelAnswer>
  /**
   * Delete jobs that ended long ago, in batches. `failedForMs` and `archivedForMs` of `createBugle` do it by themselves.
   *
   * @returns how many rows were deleted
   * @throws BugleError `INVALID_OPTION`, `DATABASE_DOWN`, `NOT_MIGRATED`, `SCHEMA_TOO_NEW`, `CLOSED`, `RESULT_UNKNOWN`
   */
  collect(options: CollectOptions): Promise<CollectReport>
  /**
   * Stop every consumer, then end every connection. While handlers still run, they and others may put. A second call joins
   * the first. Not to be awaited inside a handler: it waits for that handler.
   */
  close(): Promise<void>
}

/**
 * Make an instance. No I/O: the first connection is made by the first call that needs one.
 *
 * Its queues are typed by the schemas, or by the first type argument: `createBugle<{ emails: { to: string } }>()`. The
 * second one is the type of `context`, where the first is written out.
 *
 * @throws BugleError `INVALID_OPTION`
 */
export function createBugle<Schemas extends QueueSchemas, Context = undefined>(
  options: BugleOptions<Bugle, Context> & { readonly schemas: Schemas },
): Bugle<QueuesOf<Schemas>, Context>
export function createBugle<Queues extends object = QueueMap, Context = unknown>(
  options: BugleOptions<Bugle, Context> & { readonly context: Context },
): Bugle<Queues, Context>
export function createBugle<Queues extends object = QueueMap>(options?: BugleOptions<Bugle>): Bugle<Queues>
export function createBugle(options: object = {}): unknown {
  const resolved = resolveBugleOptions(options, process.env)
  const { schema, name } = resolved
  const events = createEvents()
  const workerId = randomWorkerId()
  const database = createDatabase({
    ...resolved,
    statements: loadStatements(schema),
    outage: createOutage(events, () => performance.now()),
  })
  const payloads = createPayloads(resolved)
  const putParts = { database, payloads }
  const adminParts = { database, decode: payloads.decode }
  const worker = createWorker({
    id: workerId,
    name,
    version,
    database,
    events,
    listen: resolved.listen,
    sweepMs: resolved.sweepMs,
    collector: createCollector({
      collectBatch: (what, olderThanMs) => collectBatch(database, what, olderThanMs),
      failedForMs: resolved.failedForMs,
      archivedForMs: resolved.archivedForMs,
      random: Math.random,
    }),
    random: Math.random,
  })
  const consumers = new Map<string, Consuming>()
  let closing: Promise<void> | null = null
  /** Closed for puts as well. */
  let isShut = false

  async function consume(queueGiven: string, given: unknown, consumeOptions?: object): Promise<Consumer> {
    const queue = queueName(queueGiven)
    const consumerOptions = resolveConsumerOptions(consumeOptions, resolved)
    const handlers = resolveHandlers(given, consumerOptions.unknownKinds)
    demandOpen()
    if (consumers.has(queue)) {
      throw new BugleError('ALREADY_CONSUMING', `this instance consumes the queue ${describe(queue)} already`)
    }
    const closed = new AbortController()
    const signal = consumerOptions.signal ? AbortSignal.any([closed.signal, consumerOptions.signal]) : closed.signal
    const starting = start(queue, handlers, consumerOptions, signal)
    consumers.set(queue, { starting, abort: () => closed.abort(closedError()) })
    try {
      const consumer = await starting
      void consumer.stopped.then(() => consumers.delete(queue))
      return consumer
    } catch (error) {
      consumers.delete(queue)
      throw error
    }
  }

  async function start(
    queue: string,
    handlers: Handlers,
    consumerOptions: ConsumerOptions,
    signal: AbortSignal,
  ): Promise<Consumer> {
    signal.throwIfAborted()
    await worker.join(signal)
    const consumer = await startConsumer(
      { queue, handlers, options: consumerOptions, bugle, payloads, database, worker, events, random: Math.random },
      signal,
    )
    if (!signal.aborted) return consumer
    await consumer.stop()
    throw signal.reason
  }

  async function close(): Promise<void> {
    const all = [...consumers.values()]
    // Without consumers nobody may put any more from this very call on; otherwise their handlers still may.
    isShut = all.length === 0
    for (const { abort } of all) abort()
    await Promise.all(
      all.map(async ({ starting }) => {
        // One that was still waiting for the database ends with the abort.
        const consumer = await starting.catch(() => null)
        await consumer?.stop()
      }),
    )
    isShut = true
    // A start that was aborted in the middle tidies up after itself, and needs the database for it.
    await worker.settled()
    await database.end()
  }

  function demandOpen(): void {
    if (closing !== null) throw closedError()
  }

  /** An operator's call, while the instance is open. */
  function whileOpen<Args extends unknown[], Result>(
    call: (...args: Args) => Promise<Result>,
  ): (...args: Args) => Promise<Result> {
    return async (...args) => {
      if (isShut) throw closedError()
      return call(...args)
    }
  }

  const bugle: Bugle = {
    workerId,
    migrate: async () => {
      demandOpen()
      return migrate(resolved.listenConnection, schema, name)
    },
    put: whileOpen((queue: string, payload: unknown, putOptions?: PutOptions) =>
      put(putParts, queueName(queue), payload, putOptions),
    ),
    putMany: whileOpen(
      (queue: string, payloadsGiven: readonly unknown[], putOptions?: PutOptions | PutOptionsOf<unknown>) =>
        putMany(putParts, queueName(queue), payloadsGiven, putOptions),
    ),
    consume,
    job: whileOpen((id) => findJob(adminParts, id)),
    jobs: whileOpen((filter) => findJobs(adminParts, filter)),
    requeue: whileOpen((which) => requeue(adminParts, which)),
    cancel: whileOpen((id) => cancel(adminParts, id)),
    collect: whileOpen((collectOptions) => collect(adminParts, collectOptions)),
    on: events.on,
    once: events.once,
    off: events.off,
    close: () => {
      closing ??= close()
      return closing
    },
    [Symbol.asyncDispose]: () => bugle.close(),
  }
  return bugle
}

interface Consuming {
  readonly starting: Promise<Consumer>
  abort(): void
}

/** 63 random bits, so that no id is used twice, also after a failover to an older state of the database. */
function randomWorkerId(): string {
  return (randomBytes(8).readBigUInt64BE() >> 1n).toString()
}
