import { randomBytes } from 'node:crypto'
import { queueName } from './checks.js'
import { type Consumer, startConsumer } from './consume/consumer.js'
import type { Handler } from './consume/runner.js'
import { closedError, createDatabase } from './database/database.js'
import { type MigrationReport, migrate } from './database/migrate.js'
import { createOutage } from './database/outage.js'
import { loadStatements } from './database/statements.js'
import { BugleError, describe } from './errors.js'
import { createEvents, type Events } from './events.js'
import {
  type BugleOptions,
  type ConsumeOptions,
  type PutOptions,
  resolveBugleOptions,
  resolveConsumerOptions,
} from './options.js'
import { type PutOptionsOf, put, putMany } from './put/put.js'
import { version } from './version.js'
import { createWorker } from './worker/worker.js'

/** Queue names and the payloads of their jobs: `createBugle<{ emails: { to: string } }>()`. */
export type QueueMap = Record<string, unknown>

type QueueName<Queues extends QueueMap> = keyof Queues & string

/** Bugle's one object: puts jobs, and starts consumers. */
export interface Bugle<Queues extends QueueMap = QueueMap>
  extends Pick<Events, 'on' | 'once' | 'off'>,
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
   * Insert a job. An idle consumer of the queue starts it about a millisecond after the commit.
   *
   * @returns the job's id, a decimal string
   * @throws BugleError `INVALID_QUEUE`, `INVALID_PAYLOAD`, `PAYLOAD_TOO_LARGE`, `INVALID_OPTION`, `NOT_MIGRATED`,
   *   `SCHEMA_TOO_NEW`, `DATABASE_DOWN`, `CLOSED`: nothing was written; `RESULT_UNKNOWN`: perhaps it was
   */
  put<Queue extends QueueName<Queues>>(queue: Queue, payload: Queues[Queue], options?: PutOptions): Promise<string>
  /**
   * Insert many jobs in one statement: all or none.
   *
   * @returns their ids, in the order of the payloads
   * @throws as `put`
   */
  putMany<Queue extends QueueName<Queues>>(
    queue: Queue,
    payloads: readonly Queues[Queue][],
    options?: PutOptions | PutOptionsOf<Queues[Queue]>,
  ): Promise<string[]>
  /**
   * Run the handler for the queue's jobs, until it is stopped.
   *
   * @returns once the queue is listened to and what was waiting there has been claimed, as far as there are slots.
   *   With the database down it waits, and says so (`database:down`), until `signal` aborts
   * @throws BugleError `INVALID_QUEUE`, `INVALID_OPTION`, `ALREADY_CONSUMING`, `NOT_MIGRATED`, `SCHEMA_TOO_NEW`,
   *   `CLOSED`; the signal's reason
   */
  consume<Queue extends QueueName<Queues>>(
    queue: Queue,
    handler: Handler<Queues[Queue], Bugle<Queues>>,
    options?: ConsumeOptions,
  ): Promise<Consumer>
  /**
   * Stop every consumer, then end every connection. While handlers still run, they and others may put. A second call joins
   * the first. Not to be awaited inside a handler: it waits for that handler.
   */
  close(): Promise<void>
}

/**
 * Make an instance. No I/O: the first connection is made by the first call that needs one.
 *
 * @throws BugleError `INVALID_OPTION`
 */
export function createBugle<Queues extends QueueMap = QueueMap>(options: BugleOptions = {}): Bugle<Queues> {
  const resolved = resolveBugleOptions(options, process.env)
  const { schema, name, maxPayloadBytes } = resolved
  const events = createEvents()
  const workerId = randomWorkerId()
  const database = createDatabase({
    ...resolved,
    statements: loadStatements(schema),
    outage: createOutage(events, () => performance.now()),
  })
  const worker = createWorker({
    id: workerId,
    name,
    version,
    database,
    events,
    listen: resolved.listen,
    sweepMs: resolved.sweepMs,
    random: Math.random,
  })
  const consumers = new Map<string, Consuming>()
  let closing: Promise<void> | null = null
  /** Closed for puts as well. */
  let isShut = false

  async function consume(
    queueGiven: string,
    handler: Handler<never, Bugle<Queues>>,
    consumeOptions?: ConsumeOptions,
  ): Promise<Consumer> {
    const queue = queueName(queueGiven)
    const consumerOptions = resolveConsumerOptions(consumeOptions)
    if (typeof handler !== 'function') {
      throw new BugleError('INVALID_OPTION', `handler must be a function; got ${describe(handler)}`)
    }
    demandOpen()
    if (consumers.has(queue)) {
      throw new BugleError('ALREADY_CONSUMING', `this instance consumes the queue ${describe(queue)} already`)
    }
    const closed = new AbortController()
    const signal = consumerOptions.signal ? AbortSignal.any([closed.signal, consumerOptions.signal]) : closed.signal
    const starting = start(queue, handler, signal)
    consumers.set(queue, { starting, abort: () => closed.abort(closedError()) })
    try {
      const consumer = await starting
      void consumer.stopped.then(() => consumers.delete(queue))
      return consumer
    } catch (error) {
      consumers.delete(queue)
      throw error
    }

    async function start(
      queue: string,
      handler: Handler<never, Bugle<Queues>>,
      signal: AbortSignal,
    ): Promise<Consumer> {
      signal.throwIfAborted()
      await worker.join(signal)
      const consumer = await startConsumer(
        {
          queue,
          // The payload's type is the caller's word for what is in the queue.
          handler: handler as Handler<unknown, Bugle<Queues>>,
          options: consumerOptions,
          bugle,
          database,
          worker,
          events,
          random: Math.random,
        },
        signal,
      )
      if (!signal.aborted) return consumer
      await consumer.stop()
      throw signal.reason
    }
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

  const bugle: Bugle<Queues> = {
    workerId,
    migrate: async () => {
      demandOpen()
      return migrate(resolved.listenConnection, schema, name)
    },
    put: async (queue, payload, putOptions) => {
      if (isShut) throw closedError()
      return put(database, maxPayloadBytes, queueName(queue), payload, putOptions)
    },
    putMany: async (queue, payloads, putOptions) => {
      if (isShut) throw closedError()
      return putMany(
        database,
        maxPayloadBytes,
        queueName(queue),
        payloads,
        putOptions as PutOptions | PutOptionsOf<unknown> | undefined,
      )
    },
    consume,
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
