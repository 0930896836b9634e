import {
  delay,
  durationWithin,
  functionOf,
  knownKeys,
  milliseconds,
  oneOf,
  schemaName,
  timerMs,
  wholeNumber,
  withoutUndefined,
} from './checks.js'
import { type Codec, codecOption } from './codec.js'
import { type Connection, type ConnectionFields, resolveConnection } from './database/connection.js'
import { type QueueTypes, queuesOption } from './define-queues.js'
import type { Duration } from './duration.js'
import { BugleError, describe } from './errors.js'
import type { Middleware } from './job.js'
import { type Logger, type LogTarget, loggerOption } from './logging.js'
import type { QueueSchemas } from './queues.js'
import { type SchemasByQueue, schemasOption } from './schema.js'

/**
 * What `createBugle` takes. `Owner` is the instance's type, `Context` that of `context`, `OwnCodec` that of `codec`: a
 * codec decides what handlers are given, so only options whose type names one may have it.
 */
export interface BugleOptions<
  Owner = unknown,
  Context = unknown,
  OwnCodec extends Codec | undefined = undefined,
  Schemas extends QueueSchemas = QueueSchemas,
> {
  /** `postgres://user:password@host:5432/database`. Default: `DATABASE_URL`, then the `PG…` variables. */
  readonly connectionString?: string | undefined
  /** The same as fields, instead of a connection string. `password` may be a function, asked at each connect. */
  readonly connection?: ConnectionFields | undefined
  /** A direct connection for LISTEN and locks, where the first goes through a pooler. Default: the first. */
  readonly listenConnectionString?: string | undefined
  /** The schema of Bugle's tables. @defaultValue 'bugle' */
  readonly schema?: string | undefined
  /** Shown to operators: application_name, and the worker's row. Default: the connection's, then 'bugle'. */
  readonly name?: string | undefined
  /** Connections for statements, opened as needed; listener and control session come on top. @defaultValue 10 */
  readonly poolSize?: number | undefined
  /**
   * Prepared statements and session settings, as long as no pooler shows that it takes no settings; false: none from
   * the start.
   * @defaultValue true
   */
  readonly prepare?: boolean | undefined
  /** Whether to be woken by notifications; false: sweeps every second do everything. @defaultValue true */
  readonly listen?: boolean | undefined
  /** Between safety sweeps while notifications arrive; 0: none. @defaultValue 30000 */
  readonly sweepMs?: Duration | undefined
  /**
   * After how long without a sign of life others take a process's jobs; its heartbeat comes three
   * times as often. At least a minute where its presence lock cannot be held. From 300 up. @defaultValue 5000
   */
  readonly rescueAfterMs?: Duration | undefined
  /**
   * How long a process that holds its presence lock may miss its heartbeats (a blocked event loop); at least
   * `rescueAfterMs`.
   * @defaultValue 300000
   */
  readonly hungAfterMs?: Duration | undefined
  /** A job that this many processes have died under is failed. @defaultValue 3 */
  readonly maxCrashes?: number | undefined
  /**
   * Whether each claim waits until it is on the disk. By default the first claim of an idle consumer does not, and a
   * crash of the server within 0.6 s may run its jobs twice, also side by side. @defaultValue false
   */
  readonly durableClaims?: boolean | undefined
  /**
   * Whether a consumer may open express lanes while it has a backlog of short jobs: a session on which up to 500 jobs
   * are locked, run and deleted in one transaction. Such a transaction stays open for 20 ms and one round trip at the
   * most. Until it ends, its jobs are shown as ready. false: none is opened.
   * @defaultValue true
   */
  readonly express?: boolean | undefined
  /**
   * How long a stop waits for running handlers before it aborts their signals; Infinity is allowed.
   * @defaultValue 15000
   */
  readonly graceMs?: Duration | undefined
  /** How long it waits after that, before it gives up on them; Infinity is allowed. @defaultValue 5000 */
  readonly abortMs?: Duration | undefined
  /**
   * Whether SIGINT and SIGTERM close the instance, from its first consumer on; a second one skips the grace, a third
   * one the rest. @defaultValue false
   */
  readonly handleSignals?: boolean | undefined
  /** Longest payload, in bytes of its JSON in UTF-8. @defaultValue 1048576 */
  readonly maxPayloadBytes?: number | undefined
  /** For how long jobs are kept that are over. Which acked ones are, consumers say by theirs. */
  readonly keep?: KeepTimes | undefined
  /**
   * A Standard Schema for each queue, or for each kind of one: checks payloads at the put and again before the handler,
   * and gives them their types.
   */
  readonly schemas?: Schemas | undefined
  /** For payloads, results and progress that are more than JSON (dates, maps). Default: JSON as it is. */
  readonly codec?: OwnCodec | CodecHint<OwnCodec> | undefined
  /** Runs around every handler, the first outermost; `ctx.context` is the consumer's. @defaultValue [] */
  readonly middleware?: readonly Middleware<Owner>[] | undefined
  /** What handlers need: `ctx.context`. Default: undefined. */
  readonly context?: Context | undefined
  /**
   * For a line on what an operator should know (console, pino and winston fit); false: not a word. Default: standard
   * error, without what is well.
   */
  readonly logger?: Logger | false | undefined
}

/** The same, given to `createBugle` itself. */
export interface CreateBugleOptions<
  Owner,
  Queues extends object,
  Context,
  OwnCodec extends Codec | undefined,
  Schemas extends QueueSchemas,
> extends BugleOptions<Owner, Context, OwnCodec, Schemas> {
  /** `defineQueues<…>()`: types the queues where the types of `context` and `codec` shall be inferred. Does nothing. */
  readonly queues?: QueueTypes<Queues> | undefined
}

/** The text is what the compiler prints beside a codec that is refused. */
type CodecHint<OwnCodec> = OwnCodec extends Codec
  ? never
  : 'give it to createBugle itself, beside queues: defineQueues<Queues>()'

/** After how long jobs that are over are deleted. */
export interface KeepTimes {
  /** Failed jobs; null: never. @defaultValue '30d' */
  readonly failedForMs?: Duration | null | undefined
  /** Acked jobs in the archive; null: never. @defaultValue null */
  readonly archivedForMs?: Duration | null | undefined
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
  durableClaims: false,
  express: true,
  graceMs: 15_000,
  abortMs: 5_000,
  handleSignals: false,
  maxPayloadBytes: 1_048_576,
  keep: { failedForMs, archivedForMs: null },
  middleware: [],
} as const satisfies Partial<BugleOptions>

export interface ResolvedBugleOptions {
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
  readonly durableClaims: boolean
  readonly express: boolean
  readonly graceMs: number
  readonly abortMs: number
  readonly handleSignals: boolean
  readonly maxPayloadBytes: number
  readonly keep: { readonly [Name in keyof KeepTimes]-?: number | null }
  readonly schemas: SchemasByQueue
  readonly codec: Codec | null
  readonly middleware: readonly Middleware[]
  readonly context: unknown
  readonly logger: LogTarget
}

export const bugleOptionNames = [
  'connectionString',
  'connection',
  'listenConnectionString',
  'queues',
  'schemas',
  'codec',
  'context',
  'logger',
  ...Object.keys(bugleDefaults),
]

/** Those of `consume`: a refusal says so where one is given to `createBugle`. */
export const consumeOptionNames = [
  'concurrency',
  'prefetch',
  'outcome',
  'unknownKinds',
  'withoutFlags',
  'keep',
  'middleware',
  'retryStrategy',
  'onFailed',
  'timeoutMs',
  'durableClaims',
  'express',
  'graceMs',
  'abortMs',
  'context',
  'signal',
] as const

type AnyBugleOptions = BugleOptions<unknown, unknown, Codec | undefined> & { readonly queues?: unknown }

/** @throws BugleError `INVALID_OPTION` */
export function resolveBugleOptions(options: AnyBugleOptions, env: NodeJS.ProcessEnv): ResolvedBugleOptions {
  if (typeof options === 'string') {
    const rule = 'createBugle options must be an object of options'
    throw new BugleError('INVALID_OPTION', `${rule}; got string: give { connectionString }`)
  }
  knownKeys('createBugle options', options, bugleOptionNames, { consume: consumeOptionNames })
  const { connectionString, connection: fields, listenConnectionString, ...rest } = withoutUndefined(options)
  const given = { ...bugleDefaults, ...rest }
  queuesOption(given.queues)
  // A heartbeat that is late by a moment must not look like a death.
  const rescueAfterMs = durationWithin('rescueAfterMs', given.rescueAfterMs, { min: 300, max: 3_600_000 })
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
    rescueAfterMs,
    hungAfterMs: hungAfter(rest.hungAfterMs, rescueAfterMs),
    maxCrashes: wholeNumber('maxCrashes', given.maxCrashes, { min: 1, max: 30_000 }),
    durableClaims: oneOf('durableClaims', given.durableClaims, [true, false]),
    express: oneOf('express', given.express, [true, false]),
    ...stopTimes(given),
    handleSignals: oneOf('handleSignals', given.handleSignals, [true, false]),
    // jsonb holds no more than 256 MB.
    maxPayloadBytes: wholeNumber('maxPayloadBytes', given.maxPayloadBytes, { min: 1, max: 268_435_455 }),
    keep: keepTimes(given.keep),
    schemas: given.schemas === undefined ? {} : schemasOption(given.schemas),
    codec: given.codec === undefined ? null : codecOption(given.codec),
    middleware: middlewareOption(given.middleware),
    context: given.context,
    logger: loggerOption(given.logger),
  })
}

function keepTimes(keep: KeepTimes): ResolvedBugleOptions['keep'] {
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
  readonly graceMs: Duration
  readonly abortMs: Duration
}

export interface ResolvedStopTimes {
  readonly graceMs: number
  readonly abortMs: number
}

/** As a later call has them, which gives none: nothing becomes shorter by it. */
export const noTimes: ResolvedStopTimes = { graceMs: Number.POSITIVE_INFINITY, abortMs: Number.POSITIVE_INFINITY }

export function stopTimes({ graceMs, abortMs }: StopTimes): ResolvedStopTimes {
  return {
    graceMs: milliseconds('graceMs', graceMs, { allowInfinity: true }),
    abortMs: milliseconds('abortMs', abortMs, { allowInfinity: true }),
  }
}

/** What `stop` and `close` take. */
export interface StopOptions {
  /** How long the stop waits for running handlers before it aborts them; Infinity is allowed. */
  readonly graceMs?: Duration | undefined
  /** How long it waits after that; Infinity is allowed. */
  readonly abortMs?: Duration | undefined
}

/**
 * What `stop` and `close` take, with defaults for what is left out.
 *
 * @throws BugleError `INVALID_OPTION`
 */
export function resolveStopTimes(options: StopOptions = {}, defaults: ResolvedStopTimes): ResolvedStopTimes {
  knownKeys('stop options', options, ['graceMs', 'abortMs'])
  const { graceMs = defaults.graceMs, abortMs = defaults.abortMs } = options
  return stopTimes({ graceMs, abortMs })
}

export function middlewareOption(value: unknown): readonly Middleware[] {
  if (!Array.isArray(value)) {
    throw new BugleError('INVALID_OPTION', `middleware must be an array of functions; got ${describe(value)}`)
  }
  // Array.from: a hole is an undefined one, and refused.
  return Array.from(value, (one, index) => functionOf(`middleware[${index}]`, one))
}

function shortText(name: string, value: unknown): string {
  // application_name is cut at 63 bytes; " listener" is added to ours.
  if (typeof value === 'string' && /^[\x20-\x7e]{1,50}$/.test(value)) return value
  throw new BugleError('INVALID_OPTION', `${name} must be 1 to 50 printable ASCII characters; got ${describe(value)}`)
}

function hungAfter(value: unknown, rescueAfterMs: number): number {
  if (value === undefined) return Math.max(bugleDefaults.hungAfterMs, rescueAfterMs)
  const ms = durationWithin('hungAfterMs', value, { min: 1, max: 86_400_000 })
  if (ms >= rescueAfterMs) return ms
  throw new BugleError('INVALID_OPTION', `hungAfterMs must be at least rescueAfterMs, ${rescueAfterMs}; got ${ms}`)
}
