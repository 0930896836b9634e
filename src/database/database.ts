import { setTimeout as sleep } from 'node:timers/promises'
import createDebug from 'debug'
import { BugleError, databaseFault, toError } from '../errors.js'
import { type Connection, describeConnection } from './connection.js'
import type { Outage } from './outage.js'
import { createPool, type Pool } from './pool.js'
import { openSession, type Session, sessionSettings } from './session.js'
import { newestMigration, type StatementName, type Statements } from './statements.js'

const log = createDebug('bugle:database')

/**
 * The way to the database: a pool for statements, and sessions for what must stay on one connection.
 *
 * Nothing is opened before it is needed. The first need looks at the server once, on a session of its own: is it
 * reached, is it ours, which settings does it know; then the pool is made for what was found.
 */
export interface Database {
  readonly statements: Statements
  /**
   * Look at the server, unless that succeeded before.
   *
   * @throws BugleError `DATABASE_DOWN`, `NOT_MIGRATED`, `SCHEMA_TOO_NEW`, `CLOSED`
   */
  ready(): Promise<void>
  /** `ready`, waited for through an outage, until `signal` aborts. */
  readyWhenUp(signal: AbortSignal): Promise<void>
  /**
   * One autocommit statement. Call `ready` before the first.
   *
   * @param deadlineMs - default 10,000; after it the statement may still happen
   * @throws the driver's error, or DeadlineError; `databaseFault` tells what it means
   */
  query<Row>(name: StatementName, parameters: readonly Parameter[], deadlineMs?: number): Promise<Row[]>
  /** A session of its own, by the direct connection if one was given. */
  openSession(role: string, settings?: Readonly<Record<string, string>>): Promise<Session>
  /** End the pool. Sessions are ended by whoever opened them. */
  end(): Promise<void>
}

export type Parameter = string | number | null

export interface DatabaseOptions {
  readonly connection: Connection
  /** For sessions that must be direct: LISTEN and advisory locks do not pass a pooler. */
  readonly listenConnection: Connection
  readonly statements: Statements
  readonly schema: string
  /** application_name of every connection */
  readonly name: string
  readonly poolSize: number
  readonly prepare: boolean
  readonly outage: Outage
}

export function createDatabase(options: DatabaseOptions): Database {
  const { connection, listenConnection, statements, outage } = options
  let pool: Pool | null = null
  let looking: Promise<void> | null = null
  let serverVersion = 0
  let ended = false

  async function look(): Promise<void> {
    const session = await reach()
    try {
      await demandSchema(session)
      serverVersion = session.state.serverVersion
    } finally {
      await session.end()
    }
    if (ended) throw closedError()
    pool = createPool({ ...options, settings: options.prepare ? sessionSettings(serverVersion) : {} })
  }

  async function reach(): Promise<Session> {
    try {
      const session = await openSession({ connection, stateStatement: statements.state, name: options.name })
      outage.answered()
      return session
    } catch (error) {
      outage.failed(error)
      throw new BugleError(
        'DATABASE_DOWN',
        `cannot reach ${describeConnection(connection)}: ${toError(error).message}`,
        { cause: error },
      )
    }
  }

  async function demandSchema({ client, state }: Session): Promise<void> {
    if (!state.migrated) {
      throw new BugleError(
        'NOT_MIGRATED',
        `schema "${options.schema}" has no tables of Bugle's: run \`await bugle.migrate()\` once`,
      )
    }
    const { rows } = await client.query<{ number: number }>(statements.migration_applied)
    const applied = rows.at(-1)?.number ?? 0
    if (applied > newestMigration) throw schemaTooNew(options.schema, applied)
    if (applied < newestMigration) {
      throw new BugleError(
        'NOT_MIGRATED',
        `schema "${options.schema}" is at step ${applied}, this version needs ${newestMigration}: ` +
          'run `await bugle.migrate()`',
      )
    }
  }

  const database: Database = {
    statements,
    ready() {
      if (ended) return Promise.reject(closedError())
      // A failed look is forgotten, so that the next caller looks again.
      looking ??= look().catch((error) => {
        looking = null
        throw error
      })
      return looking
    },
    async readyWhenUp(signal) {
      for (let waitMs = 100; ; waitMs = Math.min(waitMs * 2, 2_000)) {
        signal.throwIfAborted()
        try {
          return await database.ready()
        } catch (error) {
          if (!(error instanceof BugleError) || error.code !== 'DATABASE_DOWN') throw error
          log('%s; again in about %d ms', error.message, waitMs)
        }
        await sleep(waitMs * (0.5 + Math.random()), undefined, { signal }).catch(() => {})
      }
    },
    async query<Row>(name: StatementName, parameters: readonly Parameter[], deadlineMs = 10_000) {
      if (pool === null) throw ended ? closedError() : new Error(`${name} was sent before ready()`)
      try {
        const rows = await pool.query<Row>(statements[name], parameters, deadlineMs, name)
        outage.answered()
        return rows
      } catch (error) {
        outage.failed(error)
        throw error
      }
    },
    openSession(role, settings) {
      return openSession({
        connection: listenConnection,
        stateStatement: statements.state,
        name: `${options.name} ${role}`,
        settings: { ...sessionSettings(serverVersion), ...settings },
      })
    },
    async end() {
      ended = true
      await looking?.catch(() => {})
      await pool?.end()
      pool = null
    },
  }
  return database
}

export function schemaTooNew(schema: string, applied: number): BugleError {
  return new BugleError(
    'SCHEMA_TOO_NEW',
    `schema "${schema}" was migrated to step ${applied} by a newer version of Bugle; this one knows ` +
      `${newestMigration}: install the newer version here`,
  )
}

function closedError(): BugleError {
  return new BugleError('CLOSED', 'this Bugle instance is closed')
}

/**
 * A failed write as its caller should see it.
 *
 * @returns a BugleError, or the driver's own error where no code of ours says it better
 */
export function writeError(error: unknown, what: string): Error {
  if (error instanceof BugleError) return error
  const { message } = toError(error)
  const cause = { cause: error }
  switch (databaseFault(error)) {
    case 'down':
      return new BugleError('DATABASE_DOWN', `${what}: nothing was written: ${message}`, cause)
    case 'unknown':
      return new BugleError(
        'RESULT_UNKNOWN',
        `${what}: the answer was lost, it may have been written: ${message}`,
        cause,
      )
    case 'not-migrated':
      return new BugleError('NOT_MIGRATED', `${what}: ${message}: run \`await bugle.migrate()\``, cause)
    case 'data':
      return new BugleError('INVALID_PAYLOAD', `${what}: the database refused the data: ${message}`, cause)
    default:
      return toError(error)
  }
}
