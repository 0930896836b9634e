import {
  delay,
  flagNames,
  functionOf,
  isPlainObject,
  knownKeys,
  milliseconds,
  oneOf,
  runTimeMs,
  schemaName,
  signalOf,
  timerMs,
  wholeNumber,
} from './checks.js'
import { type Codec, codecOption } from './codec.js'
import { type Connection, type ConnectionFields, resolveConnection } from './database/connection.js'
import { BugleError, describe } from './errors.js'
import type { Job, Middleware } from './job.js'
import { type Logger, loggerOption } from './logging.js'
import type { QueueSchemas } from './queues.js'
import { type ConstantDecision, defaultRetryStrategy, type RetryStrategy, retryStrategyOption } from './retry.js'
import { type SchemasByQueue, schemasOption } from './schema.js'

/** What `createBugle` takes. `Owner` is the instance's type, `Context` that of `context`. */
export interface BugleOptions<Owner = unknown, Context = unknown> {
  /** `postgres://user:password@host:5432/database`. Default: `DATABASE_URL`, then the `PG…` variables. */
  readonly connectionString?: string
  /** The same as fields, instead of a connection string. `password` may be a function, asked at each connect. */
  readonly connection?: ConnectionFields
  /** A direct connection for LISTEN and locks, where the first goes through a pooler. Default: the first. */
  readonly listenConnectionString?: string
  /** The schema of Bugle's tables. @defaultValue 'bugle' */
  readonly schema?: string
  /** Shown to operators: application_name, and the worker's row. Default: the connection's, then 'bugle'. */
  readonly name?: string
  /** Connections for statements, opened as needed; listener and control session come on top. @defaultValue 10 */
  readonly poolSize?: number
  /**
   * Prepared statements and session settings, as long as no pooler shows that it takes no settings; false: none from
   * the start.
   * @defaultValue true
   */
  readonly prepare?: boolean
  /** Whether to be woken by notifications; false: sweeps every second do everything. @defaultValue true */
  readonly listen?: boolean
  /** Milliseconds between safety sweeps while notifications arrive; 0: none. @defaultValue 30000 */
  readonly sweepMs?: number
  /**
   * After how long without a sign of life others take a process's jobs, in milliseconds; its heartbeat comes three
   * times as often. At least a minute where its presence lock cannot be held. From 300 up. @defaultValue 5000
   */
  readonly rescueAfterMs?: number
  /**
   * How long a process that holds its presence lock may miss its heartbeats (a blocked event loop); at least
   * `rescueAfterMs`.
   * @defaultValue 300000
   */
  readonly hungAfterMs?: number
  /** A job that this many processes have died under is failed. @defaultValue 3 */
  readonly maxCrashes?: number
  /**
   * How long a stop waits for running handlers before it aborts their signals; Infinity is allowed.
   * @defaultValue 15000
   */
  readonly graceMs?: number
  /** How long it waits after that, before it gives up on them; Infinity is allowed. @defaultValue 5000 */
  readonly abortMs?: number
  /**
   * Whether SIGINT and SIGTERM close the instance, from its first consumer on; a second one skips the grace, a third
   * one the rest. @defaultValue false
   */
  readonly handleSignals?: boolean
  /** Longest payload, in bytes of its JSON in UTF-8. @defaultValue 1048576 */
  readonly maxPayloadBytes?: number
  /** For how long jobs are kept that are over. Which acked ones are, consumers say by theirs. */
  readonly keep?: KeepTimes
  /**
   * A Standard Schema for each queue, or for each kind of one: checks payloads at the put and again before the handler,
   * and gives them their types.
   */
  readonly schemas?: QueueSchemas
  /** For payloads, results and progress that are more than JSON (dates, maps). Default: JSON as it is. */
  readonly codec?: Codec
  /** Runs around every handler, the first outermost; `ctx.context` is the consumer's. @defaultValue [] */
  readonly middleware?: readonly Middleware<Owner>[]
  /** What handlers need: `ctx.context`. Default: undefined. */
  readonly context?: Context
  /**
   * For a line on what an operator should know (console, pino and winston fit). Default: silence, but for a warning of
   * Node's if no notification can arrive.
   */
  readonly logger?: Logger
}

/** After how long jobs that are over are deleted. */
export interface KeepTimes {
  /** Failed jobs, in milliseconds; null: never. @defaultValue 2592000000 */
  readonly failedForMs?: number | null
  /** Acked jobs in the archive, in milliseconds; null: never. @defaultValue null */
  readonly archivedForMs?: number | null
}

/** 30 days. */
const failedForMs = 2_592_000_000

export const bugleDefaults = {
  schema: 'bugle',
  name: 'bugle',
  poolSize: 10,
  prepare: true,
  listen: true,
  sweepMs: 30_000,
  rescueAfterMs: 5_000,
  hungAfterMs: 300_000,
  maxCrashes: 3,
  graceMs: 15_000,
  abortMs: 5_000,
  handleSignals: false,
  maxPayloadBytes: 1_048_576,
  keep: { failedForMs, archivedForMs: null },
  middleware: [],
} as const satisfies Partial<BugleOptions>

interface ResolvedBugleOptions {
  readonly connection: Connection
  readonly listenConnection: Connection
  readonly schema: string
  readonly name: string
  readonly poolSize: number
  readonly prepare: boolean
  readonly listen: boolean
  readonly sweepMs: number
  readonly rescueAfterMs: number
  readonly hungAfterMs: number
  readonly maxCrashes: number
  readonly graceMs: number
  readonly abortMs: number
  readonly handleSignals: boolean
  readonly maxPayloadBytes: number
  readonly keep: Required<KeepTimes>
  readonly schemas: SchemasByQueue
  readonly codec: Codec | null
  readonly middleware: readonly Middleware[]
  readonly context: unknown
  /** null: Node's warnings. */
  readonly logger: Logger | null
}

const bugleOptionNames = [
  'connectionString',
  'connection',
  'listenConnectionString',
  'schemas',
  'codec',
  'context',
  'logger',
  ...Object.keys(bugleDefaults),
]

/** @throws BugleError `INVALID_OPTION` */
export function resolveBugleOptions(options: BugleOptions, env: NodeJS.ProcessEnv): ResolvedBugleOptions {
  knownKeys('createBugle options', options, bugleOptionNames)
  const { connectionString, connection: fields, listenConnectionString, ...rest } = withoutUndefined(options)
  const given = { ...bugleDefaults, ...rest }
  const connection = resolveConnection(
    {
      ...(connectionString !== undefined && { connectionString }),
      ...(fields !== undefined && { connection: fields }),
    },
    env,
  )
  return Object.freeze({
    connection,
    listenConnection:
      listenConnectionString === undefined
        ? connection
        : resolveConnection({ connectionString: listenConnectionString }, env, 'listenConnectionString'),
    schema: schemaName(given.schema),
    name: shortText('name', rest.name ?? connection.applicationName ?? bugleDefaults.name),
    poolSize: wholeNumber('poolSize', given.poolSize, { min: 1, max: 1_000 }),
    prepare: oneOf('prepare', given.prepare, [true, false]),
    listen: oneOf('listen', given.listen, [true, false]),
    sweepMs: timerMs('sweepMs', given.sweepMs),
    // A heartbeat that is late by a moment must not look like a death.
    rescueAfterMs: wholeNumber('rescueAfterMs', given.rescueAfterMs, { min: 300, max: 3_600_000 }),
    hungAfterMs: hungAfter(rest.hungAfterMs, given.rescueAfterMs),
    maxCrashes: wholeNumber('maxCrashes', given.maxCrashes, { min: 1, max: 30_000 }),
    ...stopTimes(given),
    handleSignals: oneOf('handleSignals', given.handleSignals, [true, false]),
    // jsonb holds no more than 256 MB.
    maxPayloadBytes: wholeNumber('maxPayloadBytes', given.maxPayloadBytes, { min: 1, max: 268_435_455 }),
    keep: keepTimes(given.keep),
    schemas: given.schemas === undefined ? {} : schemasOption(given.schemas),
    codec: given.codec === undefined ? null : codecOption(given.codec),
    middleware: middlewareOption(given.middleware),
    context: given.context,
    logger: given.logger === undefined ? null : loggerOption(given.logger),
  })
}

function keepTimes(keep: KeepTimes): Required<KeepTimes> {
  knownKeys('keep', keep, Object.keys(bugleDefaults.keep))
  const given = { ...bugleDefaults.keep, ...withoutUndefined(keep) }
  const ms = (name: keyof KeepTimes): number | null => {
    const value = given[name]
    return value === null ? null : delay(`keep.${name}`, value)
  }
  return Object.freeze({ failedForMs: ms('failedForMs'), archivedForMs: ms('archivedForMs') })
}

/** How long a stop waits; see BugleOptions. */
export interface StopTimes {
  readonly graceMs: number
  readonly abortMs: number
}

/** As a later call has them, which gives none: nothing becomes shorter by it. */
export const noTimes: StopTimes = { graceMs: Number.POSITIVE_INFINITY, abortMs: Number.POSITIVE_INFINITY }

function stopTimes({ graceMs, abortMs }: StopTimes): StopTimes {
  return {
    graceMs: milliseconds('graceMs', graceMs, { allowInfinity: true }),
    abortMs: milliseconds('abortMs', abortMs, { allowInfinity: true }),
  }
}

/**
 * What `stop` and `close` take.
 *
 * @throws BugleError `INVALID_OPTION`
 */
export function resolveStopTimes(options: Partial<StopTimes> = {}, defaults: StopTimes): StopTimes {
  knownKeys('stop options', options, ['graceMs', 'abortMs'])
  const { graceMs = defaults.graceMs, abortMs = defaults.abortMs } = options
  return stopTimes({ graceMs, abortMs })
}

/** What `consume` takes: `AnyJob` is the queue's job, `Owner` the instance's type, `Context` that of `context`. */
export interface ConsumeOptions<AnyJob = Job, Owner = unknown, Context = unknown> {
  /** Handlers at once in this process. @defaultValue 10 */
  readonly concurrency?: number
  /**
   * Jobs that may be claimed beyond the free slots, and wait in memory for one: a number, 0 for none; 'earned': only in
   * a backlog, and no more than a few milliseconds of work. At most 16 MB of payloads, as JSON, either way.
   * @defaultValue 'earned'
   */
  readonly prefetch?: number | 'earned'
  /** 'explicit': a handler must return an outcome; anything else is a reject. @defaultValue 'implicit' */
  readonly outcome?: 'implicit' | 'explicit'
  /**
   * What follows a run that threw, or asked for a retry: a function, one of `fixed`, `linear` and `exponential`, or a
   * constant answer such as `false`. Default: `exponential()`, 5 runs in all.
   */
  readonly retryStrategy?: RetryStrategy<AnyJob> | ConstantDecision
  /**
   * Called once a run of this consumer has failed its job for good, for whatever reason. It is waited for in the job's
   * slot. What it throws changes nothing. A job that never came to its handler has its payload as it is stored,
   * whatever its type says.
   */
  readonly onFailed?: (job: AnyJob, error: Error) => unknown
  /**
   * What becomes of jobs of other kinds, and of jobs without a kind, when there is a handler for each kind. 'leave':
   * they stay for consumers that have a handler; 'fail': failed at once. @defaultValue 'leave'
   */
  readonly unknownKinds?: 'leave' | 'fail'
  /** Takes no job that has one of these flags. @defaultValue [] */
  readonly withoutFlags?: readonly string[]
  /**
   * What is kept of jobs that are over. 'failed': those that failed; 'all': acked ones too, in the archive, with their
   * result, as long as the instance's `keep.archivedForMs` says; `{ archivedForMs }`: the same for so many
   * milliseconds, and then for some minutes more at the most. @defaultValue 'failed'
   */
  readonly keep?: Keep
  /** Runs around the handler, inside of the instance's own. @defaultValue [] */
  readonly middleware?: readonly Middleware<Owner, Context>[]
  /**
   * How long a run may take before its signal is aborted and it counts as failed, in milliseconds. Default: no limit.
   */
  readonly timeoutMs?: number
  /** As for `createBugle`. Default: the instance's. */
  readonly graceMs?: number
  /** As for `createBugle`. Default: the instance's. */
  readonly abortMs?: number
  /** What the handler needs: `ctx.context`. Default: the instance's. */
  readonly context?: Context
  /** Ends the wait for a database that is down, and later stops the consumer. */
  readonly signal?: AbortSignal
}

/** What a consumer keeps of jobs that are over. */
export type Keep = 'failed' | 'all' | { readonly archivedForMs: number }

export const consumerDefaults = {
  concurrency: 10,
  prefetch: 'earned',
  outcome: 'implicit',
  unknownKinds: 'leave',
  withoutFlags: [],
  keep: 'failed',
  middleware: [],
} as const satisfies Partial<ConsumeOptions>

export interface ConsumerOptions extends StopTimes {
  readonly concurrency: number
  readonly prefetch: number | 'earned'
  readonly outcome: 'implicit' | 'explicit'
  readonly retryStrategy: RetryStrategy
  readonly onFailed: ((job: Job, error: Error) => unknown) | undefined
  readonly unknownKinds: 'leave' | 'fail'
  readonly withoutFlags: readonly string[]
  readonly keep: Keep
  readonly middleware: readonly Middleware[]
  /** null: no limit. */
  readonly timeoutMs: number | null
  readonly context: unknown
  readonly signal: AbortSignal | undefined
}

const consumeOptionNames = [
  ...Object.keys(consumerDefaults),
  'retryStrategy',
  'onFailed',
  'timeoutMs',
  'graceMs',
  'abortMs',
  'context',
  'signal',
]

/**
 * @param instance - whose context is the default, and whose middleware is the outer one
 * @throws BugleError `INVALID_OPTION`
 */
export function resolveConsumerOptions(
  options: object = {},
  instance: Pick<ResolvedBugleOptions, 'context' | 'middleware' | 'graceMs' | 'abortMs'> = {
    ...bugleDefaults,
    context: undefined,
  },
): ConsumerOptions {
  knownKeys('consume options', options, consumeOptionNames)
  const given = {
    ...consumerDefaults,
    signal: undefined,
    onFailed: undefined,
    ...withoutUndefined<ConsumeOptions>(options),
  }
  return Object.freeze({
    // A claim takes as many rows as there are free slots, at least; more than this in one statement gains nothing.
    concurrency: wholeNumber('concurrency', given.concurrency, { min: 1, max: 1_000 }),
    prefetch: given.prefetch === 'earned' ? 'earned' : wholeNumber('prefetch', given.prefetch, { min: 0, max: 10_000 }),
    outcome: oneOf('outcome', given.outcome, ['implicit', 'explicit']),
    retryStrategy: given.retryStrategy === undefined ? defaultRetryStrategy : retryStrategyOption(given.retryStrategy),
    onFailed:
      given.onFailed === undefined
        ? undefined
        : functionOf<NonNullable<ConsumerOptions['onFailed']>>('onFailed', given.onFailed),
    unknownKinds: oneOf('unknownKinds', given.unknownKinds, ['leave', 'fail']),
    withoutFlags: flagNames('withoutFlags', given.withoutFlags),
    keep: keepOption(given.keep),
    middleware: [...instance.middleware, ...middlewareOption(given.middleware)],
    timeoutMs: given.timeoutMs === undefined ? null : runTimeMs(given.timeoutMs),
    ...stopTimes({ graceMs: given.graceMs ?? instance.graceMs, abortMs: given.abortMs ?? instance.abortMs }),
    context: 'context' in given ? given.context : instance.context,
    signal: signalOf(given.signal),
  })
}

/** What `drain` takes: the options of `consume`, and one more. */
export interface DrainOptions<AnyJob = Job, Owner = unknown, Context = unknown>
  extends ConsumeOptions<AnyJob, Owner, Context> {
  /** 'ready': until nothing is ready; 'scheduled': until nothing is ready or scheduled. @defaultValue 'ready' */
  readonly until?: 'ready' | 'scheduled'
}

/** @throws BugleError `INVALID_OPTION` */
export function resolveDrainOptions(
  options: object = {},
  instance: Parameters<typeof resolveConsumerOptions>[1],
): ConsumerOptions & { readonly until: 'ready' | 'scheduled' } {
  knownKeys('drain options', options, [...consumeOptionNames, 'until'])
  const { until = 'ready', ...rest } = options as DrainOptions
  return { ...resolveConsumerOptions(rest, instance), until: oneOf('until', until, ['ready', 'scheduled']) }
}

function keepOption(value: Keep): Keep {
  if (!isPlainObject(value)) return oneOf('keep', value, ['failed', 'all'])
  knownKeys('keep', value, ['archivedForMs'])
  return Object.freeze({ archivedForMs: delay('keep.archivedForMs', value.archivedForMs) })
}

function middlewareOption(value: unknown): readonly Middleware[] {
  if (!Array.isArray(value)) {
    throw new BugleError('INVALID_OPTION', `middleware must be an array of functions; got ${describe(value)}`)
  }
  // Array.from: a hole is an undefined one, and refused.
  return Array.from(value, (one, index) => functionOf(`middleware[${index}]`, one))
}

function withoutUndefined<T extends object>(options: T): T {
  if (!isPlainObject(options)) return options
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T
}

function shortText(name: string, value: unknown): string {
  // application_name is cut at 63 bytes; " listener" is added to ours.
  if (typeof value === 'string' && /^[\x20-\x7e]{1,50}$/.test(value)) return value
  throw new BugleError('INVALID_OPTION', `${name} must be 1 to 50 printable ASCII characters; got ${describe(value)}`)
}

function hungAfter(value: unknown, rescueAfterMs: number): number {
  if (value === undefined) return Math.max(bugleDefaults.hungAfterMs, rescueAfterMs)
  const ms = wholeNumber('hungAfterMs', value, { min: 1, max: 86_400_000 })
  if (ms >= rescueAfterMs) return ms
  throw new BugleError('INVALID_OPTION', `hungAfterMs must be at least rescueAfterMs, ${rescueAfterMs}; got ${ms}`)
}
