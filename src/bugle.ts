import { randomBytes } from 'node:crypto'
import type { BatchesOptions } from './admin/batches.js'
import { type CancelAnswer, type CancelFilter, cancel, cancelMatching } from './admin/cancel.js'
import { type CollectOptions, type CollectReport, collect, collectBatch } from './admin/collect.js'
import { createCollector } from './admin/collector.js'
import { type DiscardFilter, discard } from './admin/discard.js'
import { edit, type JobChanges } from './admin/edit.js'
import { type ContentsOption, findJob, findJobs, type JobsFilter, type JobsPage } from './admin/find.js'
import { type Health, readHealth } from './admin/health.js'
import { pauseQueue, resumeQueue } from './admin/pause.js'
import type { JobRecordOf } from './admin/record.js'
import { type RequeueFilter, requeue } from './admin/requeue.js'
import { send } from './admin/send.js'
import { type BugleStats, readStats, type StatsOptions } from './admin/stats.js'
import { queueName } from './checks.js'
import type { Codec } from './codec.js'
import type { Consumer } from './consume/consumer.js'
import { createConsumers } from './consume/consumers.js'
import { demandHandlerSecond } from './consume/run/handlers.js'
import { giveBack } from './consume/statements.js'
import { closeMs, tidyUpBy } from './consume/stop.js'
import { stoppedConsumer } from './consume/stopped.js'
import type { ConsumerStats } from './consume/tally.js'
import { warningsAbout } from './database/connection.js'
import { closedError, createDatabase, type Query } from './database/database.js'
import { type MigrationReport, migrate } from './database/migrate.js'
import { createOutage } from './database/outage.js'
import { createPrimary, describeServer } from './database/primary.js'
import { loadStatements } from './database/statements.js'
import { BugleError } from './errors.js'
import { createEvents, type EventSource } from './events.js'
import { setInternals } from './internals.js'
import { logEvents } from './logging.js'
import { createMoment, type Moment } from './moment.js'
import {
  type BugleOptions,
  type ConsumeOptions,
  type CreateBugleOptions,
  type DrainOptions,
  noTimes,
  resolveBugleOptions,
  resolveConsumerOptions,
  resolveDrainOptions,
  resolveStopTimes,
  type StopOptions,
} from './options.js'
import { createPayloads } from './payloads.js'
import type { PutOptions, PutOptionsOf } from './put/options.js'
import { put, putMany } from './put/put.js'
import type { Putter } from './putter.js'
import type { HandlersOf, JobOf, QueueMap, QueueSchemas, QueuesBy } from './queues.js'
import { createResults, type JobResult, type ResultOptions } from './results/results.js'
import { listenToSignals } from './signals.js'
import type { StopReport } from './stop-report.js'
import { version } from './version.js'
import { createWorker } from './worker/worker.js'

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

/**
 * Make an instance. No I/O: the first connection is made by the first call that needs one.
 *
 * Its queues are typed by the first type argument (`createBugle<{ emails: { to: string } }>()`), by `schemas`, or by
 * `queues: defineQueues<…>()`, beside which the types of `context` and `codec` are inferred.
 *
 * @throws BugleError `INVALID_OPTION`
 */
export function createBugle<Queues extends object = QueueMap>(): Bugle<Queues>
// Without defaults: the compiler would take them before it has looked at a codec's functions.
export function createBugle<
  Queues extends object,
  Context,
  OwnCodec extends Codec | undefined,
  Schemas extends QueueSchemas,
>(
  options: CreateBugleOptions<Bugle, Queues, Context, OwnCodec, Schemas> & PromisedContext<NoInfer<Context>>,
): Bugle<QueuesBy<GivenQueues<Queues>, OwnCodec, Schemas>, Context>
// Of which one is written out: the others cannot be inferred then.
export function createBugle<Queues extends object, Context = unknown, OwnCodec extends Codec | undefined = undefined>(
  options: CreateBugleOptions<Bugle, Queues, Context, OwnCodec, QueueSchemas> & PromisedContext<NoInfer<Context>>,
): Bugle<QueuesBy<Queues, OwnCodec, QueueSchemas>, Context>
export function createBugle(options: object = {}): unknown {
  return createBugleFrom(options, process.env)
}

/** What is inferred where no queues are given. */
type GivenQueues<Queues extends object> = object extends Queues ? QueueMap : Queues

/** One whose type is written out must be given. */
type PromisedContext<Context> = unknown extends Context ? unknown : { readonly context: Context }

/** The same, with `env` in place of the process's environment. */
export function createBugleFrom(options: BugleOptions<Bugle>, env: NodeJS.ProcessEnv): Bugle {
  const resolved = resolveBugleOptions(options as BugleOptions, env)
  const { schema, name } = resolved
  const events = createEvents()
  const { warn, say, end: endLog } = logEvents(events, resolved.logger)
  for (const connection of new Set([resolved.connection, resolved.listenConnection])) {
    for (const warning of warningsAbout(connection)) warn('BUGLE_CONNECTION', warning)
  }
  const outage = createOutage(events, () => performance.now())
  const database = createDatabase({
    ...resolved,
    statements: loadStatements(schema),
    outage,
    primary: createPrimary({
      onMoved(from, to) {
        events.emit('database:moved', { queue: null, from: describeServer(from), to: describeServer(to) })
        outage.moved()
      },
      onOutdated: (error) => events.emit('database:outdated', { queue: null, error }),
      onSplit: (error) => events.emit('database:split', { queue: null, error }),
      now: () => performance.now(),
    }),
  })
  const payloads = createPayloads(resolved)
  const putParts = { database, payloads }
  const adminParts = { database, decode: payloads.decode }
  const worker = createWorker({
    newId: randomWorkerId,
    name,
    version,
    database,
    events,
    listen: resolved.listen,
    sweepMs: resolved.sweepMs,
    rescueAfterMs: resolved.rescueAfterMs,
    hungAfterMs: resolved.hungAfterMs,
    maxCrashes: resolved.maxCrashes,
    giveBack: (workerId, rows) => giveBack(settle, workerId, rows),
    onDeaf: (reason) => warn('BUGLE_DEAF', reason),
    collector: createCollector({
      collectBatch: (what, olderThanMs, limit) => collectBatch(database, what, olderThanMs, limit),
      ...resolved.keep,
      always: ['expired', 'keys'],
      random: Math.random,
    }),
    random: Math.random,
  })
  const consumers = createConsumers({
    listens: resolved.listen,
    get bugle() {
      return bugle
    },
    payloads,
    database,
    worker,
    events,
    onLongRun: say,
    settle,
    random: Math.random,
  })
  const results = createResults({
    database,
    decode: payloads.decode,
    listen: resolved.listen,
    sweepMs: resolved.sweepMs,
    onDeaf: (reason) => warn('BUGLE_DEAF', reason),
  })
  const now = (): number => performance.now()
  let closing: Promise<void> | null = null
  /** When the last stop is to be over, as far as the calls of `close` say. */
  const stopBy = createMoment(now)
  /** When all is to be over; null: consumers are still being stopped, or nothing is. */
  let endBy: Moment | null = null
  let ignoreSignals: (() => void) | null = null
  /** A signal has closed the instance, or is closing it. */
  let isSignalled = false
  /** Connections are being ended. */
  let isEnding = false
  /** Closed for puts as well. */
  let isShut = false

  /** Outcomes are written also after the close, while a handler goes on that was abandoned. */
  async function settle<Row extends object>(...[name, parameters]: Parameters<Query>): Promise<Row[]> {
    try {
      return await database.query<Row>(name, parameters)
    } catch (error) {
      if (!(error instanceof BugleError && error.code === 'CLOSED')) throw error
      return worker.lateQuery<Row>(name, parameters)
    }
  }

  async function consume(queueGiven: string, handlers: unknown, consumeOptions?: object): Promise<Consumer> {
    const queue = queueName(queueGiven)
    demandHandlerSecond('consume', consumeOptions)
    const consumerOptions = resolveConsumerOptions(consumeOptions, resolved)
    if (isSignalled) return stoppedConsumer(queue, consumerOptions)
    beginConsuming()
    return consumers.consume(queue, handlers, consumerOptions)
  }

  async function drain(queueGiven: string, handlers: unknown, drainOptions?: object): Promise<StopReport> {
    const queue = queueName(queueGiven)
    demandHandlerSecond('drain', drainOptions)
    const resolvedOptions = resolveDrainOptions(drainOptions, resolved)
    if (isSignalled) return stoppedConsumer(queue, resolvedOptions).stop()
    beginConsuming()
    return consumers.drain(queue, handlers, resolvedOptions)
  }

  function beginConsuming(): void {
    demandOpen()
    if (resolved.handleSignals) ignoreSignals ??= listenToSignals(closeBySignal)
  }

  /** It comes at any moment: a program that goes on to its next `consume` finds a stopped consumer, and no error. */
  function closeBySignal(times: StopOptions): Promise<void> {
    isSignalled = true
    return close(times)
  }

  async function close(options?: StopOptions): Promise<void> {
    const { graceMs, abortMs } = resolveStopTimes(options, closing === null ? resolved : noTimes)
    stopBy.sooner(now() + graceMs + abortMs)
    // When there are no consumers, no put is taken from this call on; otherwise handlers may still put.
    isShut ||= consumers.isEmpty
    const stopped = consumers.stop(options)
    // What comes after the last stop is made shorter as well.
    endBy?.sooner(tidyUpBy(stopBy.at, now(), closeMs))
    if (endBy !== null && isEnding) void database.end(endBy.at)
    closing ??= stopped.then(end)
    return closing
  }

  /** @param lastStopBy - the latest deadline of the consumers that were stopped */
  async function end(lastStopBy: number): Promise<void> {
    isShut = true
    endBy = createMoment(now, tidyUpBy(Math.max(stopBy.at, lastStopBy), now(), closeMs))
    // A start that was aborted in the middle tidies up after itself, and needs the database for it.
    await endBy.before(worker.settled())
    isEnding = true
    results.end(closedError())
    try {
      await Promise.all([consumers.isAnyPresent ? worker.linger(endBy.at) : undefined, database.end(endBy.at)])
      events.end(closedError())
    } finally {
      ignoreSignals?.()
      endLog()
    }
  }

  /** By what it is given, as the types say: an id has an answer of its own, a filter a number. */
  function cancelEither(which: string | CancelFilter, options?: BatchesOptions): Promise<CancelAnswer | number> {
    const isFilter = typeof which === 'object' && which !== null
    return isFilter ? cancelMatching(adminParts, which, options) : cancel(adminParts, which)
  }

  function demandOpen(): void {
    if (closing !== null) throw closedError()
  }

  function statsHere(): ReadonlyMap<string, ConsumerStats> {
    return new Map([...consumers.all()].flatMap(([queue, consumer]) => (consumer ? [[queue, consumer.stats()]] : [])))
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
    get workerId() {
      return worker.id
    },
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
    drain,
    pause: whileOpen(async (queueGiven) => {
      const queue = queueName(queueGiven)
      const isChanged = await pauseQueue(adminParts, queue)
      worker.queuePaused(queue)
      return isChanged
    }),
    resume: whileOpen((queue) => resumeQueue(adminParts, queueName(queue))),
    job: whileOpen((id: string, options?: ContentsOption) => findJob(adminParts, id, options)) as Bugle['job'],
    jobs: whileOpen((filter?: JobsFilter) => findJobs(adminParts, filter)) as Bugle['jobs'],
    requeue: whileOpen((which, requeueOptions) => requeue(adminParts, which, requeueOptions)),
    cancel: whileOpen((which: string | CancelFilter, cancelOptions?: BatchesOptions) =>
      cancelEither(which, cancelOptions),
    ) as Bugle['cancel'],
    edit: whileOpen((id, changes) => edit({ ...adminParts, payloads }, id, changes)),
    discard: whileOpen((which, discardOptions) => discard(adminParts, which, discardOptions)),
    result: whileOpen((id: string, resultOptions?: ResultOptions) =>
      results.wait(id, resultOptions),
    ) as Bugle['result'],
    collect: whileOpen((collectOptions) => collect(adminParts, collectOptions)),
    stats: whileOpen((queue, statsOptions) =>
      readStats(adminParts, queue === undefined ? null : queueName(queue), statsHere(), statsOptions),
    ),
    health: whileOpen(() => readHealth({ database, worker, consumers: consumers.all(), isClosing: closing !== null })),
    on: events.on,
    once: events.once,
    off: events.off,
    removeListener: events.removeListener,
    close,
    [Symbol.asyncDispose]: () => bugle.close(),
  }
  setInternals(bugle, {
    async step(queueGiven, handlers, stepOptions, limit, spy) {
      const queue = queueName(queueGiven)
      const drainOptions = resolveDrainOptions(stepOptions, resolved)
      beginConsuming()
      const middleware = [spy, ...drainOptions.middleware]
      await consumers.drain(queue, handlers, { ...drainOptions, middleware }, limit)
    },
    send: whileOpen((statement, parameters, called) =>
      send(database, statement, parameters, { name: called, effect: 'writes' }),
    ),
  })
  return bugle
}

/** 63 random bits, so that no id is used twice, also after a failover to an older state of the database. */
function randomWorkerId(): string {
  return (randomBytes(8).readBigUInt64BE() >> 1n).toString()
}
