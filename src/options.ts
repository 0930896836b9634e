import { isPlainObject, knownKeys, milliseconds, oneOf, schemaName, wholeNumber } from './checks.js'
import { type Connection, type ConnectionFields, resolveConnection } from './database/connection.js'
import { BugleError, describe } from './errors.js'
import type { Transaction } from './put/transaction.js'

/** What `createBugle` takes. */
export interface BugleOptions {
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
  /** Prepared statements and session settings; false behind a pooler in transaction mode. @defaultValue true */
  readonly prepare?: boolean
  /** Whether to be woken by notifications; false: sweeps every second do everything. @defaultValue true */
  readonly listen?: boolean
  /** Milliseconds between safety sweeps while notifications arrive; 0: none. @defaultValue 30000 */
  readonly sweepMs?: number
  /** Longest payload, in bytes of its JSON in UTF-8. @defaultValue 1048576 */
  readonly maxPayloadBytes?: number
}

export const bugleDefaults = {
  schema: 'bugle',
  name: 'bugle',
  poolSize: 10,
  prepare: true,
  listen: true,
  sweepMs: 30_000,
  maxPayloadBytes: 1_048_576,
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
  readonly maxPayloadBytes: number
}

const bugleOptionNames = ['connectionString', 'connection', 'listenConnectionString', ...Object.keys(bugleDefaults)]

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
    // jsonb holds no more than 256 MB.
    maxPayloadBytes: wholeNumber('maxPayloadBytes', given.maxPayloadBytes, { min: 1, max: 268_435_455 }),
  })
}

/** What `consume` takes. */
export interface ConsumeOptions {
  /** Handlers at once in this process. @defaultValue 10 */
  readonly concurrency?: number
  /** 'explicit': a handler must return an outcome; anything else is a reject. @defaultValue 'implicit' */
  readonly outcome?: 'implicit' | 'explicit'
  /** Ends the wait for a database that is down, and later stops the consumer. */
  readonly signal?: AbortSignal
}

export const consumerDefaults = {
  concurrency: 10,
  outcome: 'implicit',
} as const satisfies Partial<ConsumeOptions>

export interface ConsumerOptions {
  readonly concurrency: number
  readonly outcome: 'implicit' | 'explicit'
  readonly signal: AbortSignal | undefined
}

/** @throws BugleError `INVALID_OPTION` */
export function resolveConsumerOptions(options: ConsumeOptions = {}): ConsumerOptions {
  knownKeys('consume options', options, [...Object.keys(consumerDefaults), 'signal'])
  const given = { signal: undefined, ...consumerDefaults, ...withoutUndefined(options) }
  if (given.signal !== undefined && !(given.signal instanceof AbortSignal)) {
    throw new BugleError('INVALID_OPTION', `signal must be an AbortSignal; got ${describe(given.signal)}`)
  }
  return Object.freeze({
    // A claim takes as many rows as there are free slots; more than this in one statement gains nothing.
    concurrency: wholeNumber('concurrency', given.concurrency, { min: 1, max: 1_000 }),
    outcome: oneOf('outcome', given.outcome, ['implicit', 'explicit']),
    signal: given.signal,
  })
}

/** What `put` takes. */
export interface PutOptions {
  /** Higher first; -32768 to 32767. @defaultValue 0 */
  readonly priority?: number
  /** The caller's transaction: the job commits or rolls back with it. */
  readonly tx?: Transaction
}

export const putDefaults = { priority: 0 } as const satisfies Partial<PutOptions>

export interface ResolvedPutOptions {
  readonly priority: number
  readonly tx: Transaction | undefined
}

const plainPut: ResolvedPutOptions = Object.freeze({ priority: putDefaults.priority, tx: undefined })

/** @throws BugleError `INVALID_OPTION` */
export function resolvePutOptions(options: PutOptions | undefined): ResolvedPutOptions {
  if (options === undefined) return plainPut
  knownKeys('put options', options, ['priority', 'tx'])
  const { priority = putDefaults.priority, tx } = options
  return { priority: wholeNumber('priority', priority, { min: -32_768, max: 32_767 }), tx }
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

/** Node fires a timer of more than 2^31 - 1 ms at once. */
function timerMs(name: string, value: unknown): number {
  const ms = milliseconds(name, value)
  if (ms <= 2_147_483_647) return ms
  throw new BugleError('INVALID_OPTION', `${name} must be at most 2147483647 ms (24 days); got ${describe(value)}`)
}
