import { randomBytes } from 'node:crypto'
import type { BatchesOptions } from './admin/batches.js'
import { type CancelAnswer, type CancelFilter, cancel, cancelMatching } from './admin/cancel.js'
import { collect, collectBatch } from './admin/collect.js'
import { createCollector } from './admin/collector.js'
import { discard } from './admin/discard.js'
import { edit } from './admin/edit.js'
import { type ContentsOption, findJob, findJobs, type JobsFilter } from './admin/find.js'
import { readHealth } from './admin/health.js'
import { pauseQueue, resumeQueue } from './admin/pause.js'
import { requeue } from './admin/requeue.js'
import { send } from './admin/send.js'
import { readStats } from './admin/stats.js'
import type { Bugle } from './bugle.js'
import { queueName } from './checks.js'
import { createClosing } from './closing.js'
import type { Codec } from './codec.js'
import type { Consumer } from './consume/consumer.js'
import { createConsumers } from './consume/consumers.js'
import { resolveConsumerOptions, resolveDrainOptions } from './consume/options.js'
import { demandHandlerSecond } from './consume/run/handlers.js'
import { settleAlsoLate } from './consume/settle/late.js'
import { giveBack } from './consume/statements.js'
import { stoppedConsumer } from './consume/stopped.js'
import type { ConsumerStats } from './consume/tally.js'
import { warningsAbout } from './database/connection.js'
import { closedError, createDatabase, type Database } from './database/database.js'
import { migrate } from './database/migrate.js'
import { createOutage } from './database/outage.js'
import { createPrimary, describeServer } from './database/primary.js'
import { loadStatements } from './database/statements.js'
import { createEvents, type Events } from './events.js'
import { setInternals } from './internals.js'
import { logEvents } from './logging.js'
import { type BugleOptions, type CreateBugleOptions, resolveBugleOptions } from './options.js'
import { createPayloads } from './payloads.js'
import type { PutOptions, PutOptionsOf } from './put/options.js'
import { put, putMany } from './put/put.js'
import type { QueueMap, QueueSchemas, QueuesBy } from './queues.js'
import { createResults, type ResultOptions } from './results/results.js'
import type { StopReport } from './stop-report.js'
import { version } from './version.js'
import { createWorker } from './worker/worker.js'

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
  const database = databaseOf(resolved, events)
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
  const settle = settleAlsoLate(database, worker)
  const consumers = createConsumers({
    listens: resolved.listen,
    prepares: resolved.prepare,
    hungAfterMs: resolved.hungAfterMs,
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
  const closing = createClosing({
    times: resolved,
    consumers,
    worker,
    database,
    onEnding: results.end,
    onEnded: events.end,
    onOver: endLog,
  })

  async function consume(queueGiven: string, handlers: unknown, consumeOptions?: object): Promise<Consumer> {
    const queue = queueName(queueGiven)
    demandHandlerSecond('consume', consumeOptions)
    const consumerOptions = resolveConsumerOptions(consumeOptions, resolved)
    if (closing.isSignalled) return stoppedConsumer(queue, consumerOptions)
    beginConsuming()
    return consumers.consume(queue, handlers, consumerOptions)
  }

  async function drain(queueGiven: string, handlers: unknown, drainOptions?: object): Promise<StopReport> {
    const queue = queueName(queueGiven)
    demandHandlerSecond('drain', drainOptions)
    const resolvedOptions = resolveDrainOptions(drainOptions, resolved)
    if (closing.isSignalled) return stoppedConsumer(queue, resolvedOptions).stop()
    beginConsuming()
    return consumers.drain(queue, handlers, resolvedOptions)
  }

  function beginConsuming(): void {
    demandOpen()
    if (resolved.handleSignals) closing.heedSignals()
  }

  /** By what it is given, as the types say: an id has an answer of its own, a filter a number. */
  function cancelEither(which: string | CancelFilter, options?: BatchesOptions): Promise<CancelAnswer | number> {
    const isFilter = typeof which === 'object' && which !== null
    return isFilter ? cancelMatching(adminParts, which, options) : cancel(adminParts, which)
  }

  function demandOpen(): void {
    if (closing.isClosing) throw closedError()
  }

  function statsHere(): ReadonlyMap<string, ConsumerStats> {
    return new Map([...consumers.all()].flatMap(([queue, consumer]) => (consumer ? [[queue, consumer.stats()]] : [])))
  }

  /** An operator's call, while the instance is open. */
  function whileOpen<Args extends unknown[], Result>(
    call: (...args: Args) => Promise<Result>,
  ): (...args: Args) => Promise<Result> {
    return async (...args) => {
      if (closing.isShut) throw closedError()
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
    health: whileOpen(() => readHealth({ database, worker, consumers: consumers.all(), isClosing: closing.isClosing })),
    on: events.on,
    once: events.once,
    off: events.off,
    removeListener: events.removeListener,
    close: closing.close,
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

/** It tells of an outage, and of the server that takes our jobs, by events. */
function databaseOf(options: ReturnType<typeof resolveBugleOptions>, events: Events): Database {
  const outage = createOutage(events, () => performance.now())
  return createDatabase({
    ...options,
    statements: loadStatements(options.schema),
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
}

/** 63 random bits, so that no id is used twice, also after a failover to an older state of the database. */
function randomWorkerId(): string {
  return (randomBytes(8).readBigUInt64BE() >> 1n).toString()
}
