import { setTimeout as sleep } from 'node:timers/promises'
import createDebug from 'debug'
import { deadline, unlessAborted } from '../deadline.js'
import { BugleError, toError } from '../errors.js'
import { type Connection, describeConnection, type Route } from './connection.js'
import { privilegeError } from './fault.js'
import type { Outage } from './outage.js'
import { createPool, type Pool, type SqlValue } from './pool.js'
import { type DatabaseServer, type Primary, ReadOnlyError } from './primary.js'
import { openSession, type Session, type SessionRequest, sessionSettings, startupOptions } from './session.js'
import { quoteIdentifier } from './sql-files.js'
import { newestMigration, type StatementName, type Statements } from './statements.js'
import { demandSessions, demandUsable } from './unusable.js'
import { databaseFault, isPermanentRefusal, NotSentError, sqlState } from './verdict.js'

const log = createDebug('bugle:database')

/**
 * The way to the database: four pools for statements, and sessions for what must stay on one connection.
 *
 * Nothing is opened before it is needed. The first need looks at the server once, on a session of its own: is it
 * reached, is it ours, which settings does it know; then the pools are made for what was found.
 */
export interface Database {
  readonly statements: Statements
  /**
   * Look at the server, unless that succeeded before.
   *
   * @throws BugleError `DATABASE_DOWN`, `NO_PRIVILEGE`, `NOT_MIGRATED`, `SCHEMA_TOO_NEW`, `SCHEMA_UNUSABLE`, `CLOSED`;
   *   `INVALID_OPTION`: it is PGlite
   */
  ready(): Promise<void>
  /**
   * `ready`, and then `work`, tried again through an outage until both succeed, or `signal` aborts. A first connection
   * that is refused for good is no outage: nobody waits for a wrong password to become right. Once one has been made,
   * whatever refuses the next ones is waited for: a password may be changed under us, a database moved.
   *
   * @throws the signal's reason; BugleError `DATABASE_DOWN`: refused for good; what `ready` and `work` throw for any
   *   other cause than the connection
   */
  whenUp(signal: AbortSignal, work?: () => Promise<unknown>): Promise<void>
  /**
   * One autocommit statement. Call `ready` before the first.
   *
   * Puts have connections and a deadline of their own: 65 s, since a bulk insert takes its time. So do an operator's
   * calls. Statistics are read one at a time, and given 10 s each. Everything else is given 10 s. By then the server
   * has rolled back a statement that still runs, some seconds before our deadline. Plain sessions (`createDatabase`)
   * have no settings of ours, so the server does it only if the role has a statement_timeout.
   *
   * @throws NotSentError, the driver's error, or DeadlineError: `databaseFault` tells what they mean. BugleError
   *   `NO_PRIVILEGE`; `CLOSED` after `end`
   */
  query<Row>(name: StatementName, parameters: readonly SqlValue[]): Promise<Row[]>
  /** Where the instance is now; null: nothing was reached yet. */
  readonly server: DatabaseServer | null
  /** Called in an outage, when somebody got through: no pause is worth waiting for. @returns to be called at the end */
  onWayFree(listener: () => void): () => void
  /** Called when an outage has ended. @returns to be called at the end */
  onUp(listener: () => void): () => void
  /**
   * A session of its own, by the direct connection if one was given. Also after `end`: presence may outlast it.
   *
   * @param own - settings beside those of all sessions. Who gives some knows that the session will be its own until it
   *   ends: then settings that its start could not have are made after it
   */
  openSession(role: string, own?: Readonly<Record<string, string>>): Promise<Session>
  /**
   * End the pools, and what is being opened. An open session is ended by the part that opened it.
   *
   * @param deadlineAt - by performance.now(): what runs then is dropped, whatever the other side does, within some 300
   *   ms. By default it is given some seconds
   */
  end(deadlineAt?: number): Promise<void>
}

/** A way for one autocommit statement, as `Database.query` is. */
export type Query = <Row extends object>(name: StatementName, parameters: readonly SqlValue[]) => Promise<Row[]>

interface DatabaseOptions {
  readonly connection: Connection
  /** The direct connection, for sessions that need one: LISTEN and advisory locks do not pass a pooler. */
  readonly listenConnection: Connection
  readonly statements: Statements
  readonly schema: string
  /** application_name of every connection */
  readonly name: string
  readonly poolSize: number
  readonly prepare: boolean
  readonly outage: Outage
  readonly primary: Primary
}

interface Pools {
  readonly puts: Pool
  /** An operator's calls. */
  readonly admin: Pool
  /** Statistics. */
  readonly looks: Pool
  /** What consumers need. */
  readonly rest: Pool
}

const poolOf: { readonly [Name in StatementName]?: keyof Pools } = {
  act_on_archived: 'admin',
  act_on_jobs: 'admin',
  cancel: 'admin',
  collect_archived: 'admin',
  collect_expired: 'admin',
  collect_failed: 'admin',
  collect_keys: 'admin',
  discard: 'admin',
  edit: 'admin',
  job_find: 'admin',
  jobs_containing: 'admin',
  jobs_find: 'admin',
  jobs_listed: 'admin',
  make_due: 'admin',
  put: 'puts',
  put_keyed: 'puts',
  put_many: 'puts',
  put_options: 'puts',
  queue_pause: 'admin',
  queue_resume: 'admin',
  requeue: 'admin',
  reset: 'admin',
  schema_drop: 'admin',
  stats_exact: 'admin',
  stats_queues: 'looks',
  stats_workers: 'looks',
}

/** Between two tries to reach the server in an outage. */
const knockMs = { least: 400, most: 2_000 } as const

/** Opened as needed, beside the pool's size: one for what takes long, and one past it. */
const adminPoolSize = 2
/** One reader of statistics a process is enough: others wait for it. */
const looksPoolSize = 1

interface Patience {
  /** The server's own time-out, below our deadline: nothing commits after we have given it up (see `query`). */
  readonly statementMs: number
  readonly deadlineMs: number
}

const patience: Readonly<Record<keyof Pools, Patience>> = {
  puts: { statementMs: 60_000, deadlineMs: 65_000 },
  admin: { statementMs: 60_000, deadlineMs: 65_000 },
  // A long snapshot keeps dead rows in the way of claims. The deadline is for those who wait for their turn as well.
  looks: { statementMs: 10_000, deadlineMs: 65_000 },
  rest: { statementMs: 8_000, deadlineMs: 10_000 },
}

/** Claims skip what is locked; an outcome whose row is held by others steps aside after this (consume/settler.ts). */
const shortLocks = { lock_timeout: '1s' } as const

/**
 * An operator's filters have many shapes, and none is asked often: each is planned for its values, and the planner may
 * use all it has. (A generic plan would have to walk past the filters that are not given.)
 */
const freePlans = {
  plan_cache_mode: 'force_custom_plan',
  enable_seqscan: 'on',
  enable_sort: 'on',
  enable_bitmapscan: 'on',
  enable_hashjoin: 'on',
  enable_mergejoin: 'on',
  enable_material: 'on',
} as const

/**
 * The search path of the function put_keyed (migrations/0001_jobs.sql). A trigger's function is planned
 * anew when it runs under another path than the last time. When plain and keyed puts took turns on a session, that cost
 * each a third of its time.
 */
function putPath(schema: string): Readonly<Record<string, string>> {
  return { search_path: `pg_catalog, ${quoteIdentifier(schema)}, pg_temp` }
}

/**
 * **Plain sessions.** What a session's start sets is there for its statements only where nothing in between refuses or
 * drops it, as poolers do. So the look asks for the same settings, in the same form, as the pools will. Where it does
 * not get them, the pools have sessions that neither set nor prepare anything. `prepare: false` asks for such from the
 * start.
 */
export function createDatabase(options: DatabaseOptions): Database {
  const { connection, listenConnection, statements, outage, primary } = options
  let pools: Pools | null = null
  let looking: Promise<void> | null = null
  let serverVersion = 0
  let isPlain = !options.prepare
  /** The server tells who it is. */
  let isIdentified = false
  let isKnocking = false
  const ending = new AbortController()

  async function look(): Promise<void> {
    const session = await reach()
    ending.signal.addEventListener('abort', session.destroy, { once: true })
    try {
      demandSessions(session.state)
      await demandSchema(session)
      serverVersion = session.state.serverVersion
      isPlain ||= !session.hasSettings
      isIdentified = session.state.identity !== null
    } finally {
      ending.signal.removeEventListener('abort', session.destroy)
      if (ending.signal.aborted) session.destroy()
      await session.end()
    }
    if (ending.signal.aborted) throw closedError()
    const forPuts = Math.max(1, Math.floor(options.poolSize / 2))
    pools = {
      puts: openPool(session.route, patience.puts, forPuts, putPath(options.schema)),
      admin: openPool(session.route, patience.admin, adminPoolSize, freePlans),
      looks: openPool(session.route, patience.looks, looksPoolSize),
      rest: openPool(session.route, patience.rest, Math.max(1, options.poolSize - forPuts), shortLocks),
    }
    const made = pools
    outage.onWayFree(() => {
      for (const pool of Object.values(made)) pool.hurry()
    })
  }

  function openPool(
    { ssl }: Route,
    { statementMs }: Patience,
    poolSize: number,
    own: Readonly<Record<string, string>> = {},
  ): Pool {
    const pool: Pool = createPool({
      ...options,
      refusesTls: ssl === false,
      poolSize,
      prepare: !isPlain,
      settings: isPlain ? {} : { options: startupOptions({ ...sessionSettings(serverVersion, statementMs), ...own }) },
      stateStatement: isIdentified ? statements.state_identified : statements.state,
      // What one has met, the way to the database, they have in common.
      onDoubt: () => {
        for (const other of Object.values(pools ?? {})) if (other !== pool) other.suspect()
      },
      now: () => performance.now(),
      random: Math.random,
    })
    return pool
  }

  /** Resolves after `ms`, when the way is free or at the abort, whichever comes first. */
  async function mayTryAgain(ms: number, signal: AbortSignal): Promise<void> {
    const ended = new AbortController()
    const ignore = outage.onWayFree(() => ended.abort())
    await sleep(ms, undefined, { signal: AbortSignal.any([signal, ended.signal]) }).catch(() => {})
    ignore()
  }

  async function reach(): Promise<Session> {
    try {
      const session = await open(connection, {
        name: options.name,
        // The least that every server knows: to see whether the way takes settings.
        ...(options.prepare && { settings: sessionSettings(0, patience.rest.statementMs) }),
        signal: ending.signal,
      })
      outage.answered()
      return session
    } catch (error) {
      throw unreachable(error)
    }
  }

  /** On the one server that this instance is on, or is then. */
  function open(
    by: Connection,
    how: Pick<SessionRequest, 'name' | 'settings' | 'settingsStatement' | 'signal'>,
  ): Promise<Session> {
    const way = by === connection ? 'leads' : 'follows'
    return openSession({
      connection: by,
      stateStatement: statements.state,
      identifiedStatement: statements.state_identified,
      inOrder: primary.inOrder,
      admit: (found, host, leave) => primary.admit(found, host, way, leave),
      ...how,
    })
  }

  function failed(error: unknown, askedAt: number): void {
    outage.failed(error, askedAt)
    if (outage.isDown) void knock()
  }

  /**
   * While it is an outage: try to get through, about twice a second, so that the others need not, whose pauses grow.
   * The pause grows only where a session can be opened and statements fail all the same, or is refused for a reason
   * that lasts: nobody knocks with a wrong password many times. Where none was ever right, nobody waits (`whenUp`).
   */
  async function knock(): Promise<void> {
    if (isKnocking) return
    isKnocking = true
    for (let ms: number = knockMs.least; outage.isDown; ) {
      await sleep(ms * (0.5 + Math.random()), undefined, { signal: ending.signal, ref: false }).catch(() => {})
      if (ending.signal.aborted || !outage.isDown) break
      try {
        const session = await open(connection, { name: options.name, signal: ending.signal })
        outage.gotThrough()
        // Ends by itself within a second, whatever the other side does.
        void session.end()
        ms = Math.min(2 * ms, knockMs.most)
        await database.ready()
        await database.query('health', [])
      } catch (error) {
        log('knocked: %s', toError(error).message)
        if (!isPermanentRefusal(error)) continue
        if (pools === null) break
        ms = Math.min(2 * ms, knockMs.most)
      }
    }
    isKnocking = false
  }

  function unreachable(error: unknown): BugleError {
    if (ending.signal.aborted) return closedError()
    outage.down(error)
    void knock()
    return databaseDown(connection, error)
  }

  async function appliedSteps({ client }: Session): Promise<{ number: number }[]> {
    try {
      const asked = client.query<{ number: number }>(statements.migration_applied)
      return (await deadline(asked, connection.connectTimeoutMs, 'reading the migrations')).rows
    } catch (error) {
      const fault = databaseFault(error)
      if (fault === 'privilege') throw privilegeError('reading the migrations', error)
      throw sqlState(error) !== null && fault === 'other' ? error : unreachable(error)
    }
  }

  async function demandSchema(session: Session): Promise<void> {
    demandUsable(options.schema, session.state, connection.user)
    if (!session.state.migrated) {
      throw new BugleError(
        'NOT_MIGRATED',
        `schema "${options.schema}" has no tables of Bugle's: run \`await bugle.migrate()\` once`,
      )
    }
    const applied = (await appliedSteps(session)).at(-1)?.number ?? 0
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
      if (ending.signal.aborted) return Promise.reject(closedError())
      // A failed look is forgotten, so that the next caller looks again.
      looking ??= look().catch((error) => {
        looking = null
        throw error
      })
      return looking
    },
    async whenUp(signal, work) {
      for (let waitMs = 100; ; waitMs = Math.min(waitMs * 2, 2_000)) {
        signal.throwIfAborted()
        try {
          await unlessAborted(database.ready(), signal)
          await work?.()
          return
        } catch (error) {
          if (signal.aborted || !isOutage(error) || (pools === null && isRefusedForGood(error))) throw error
          log('%s; again in about %d ms', toError(error).message, waitMs)
        }
        await mayTryAgain(waitMs * (0.5 + Math.random()), signal)
      }
    },
    async query<Row>(name: StatementName, parameters: readonly SqlValue[]) {
      if (ending.signal.aborted) throw closedError()
      if (pools === null) throw new Error(`${name} was sent before ready()`)
      const kind = poolOf[name] ?? 'rest'
      const askedAt = performance.now()
      try {
        const rows = await pools[kind].query<Row>(statements[name], parameters, patience[kind].deadlineMs, name)
        outage.answered()
        return rows
      } catch (error) {
        if (!ending.signal.aborted) failed(error, askedAt)
        else if (databaseFault(error) === 'down') throw closedError()
        throw databaseFault(error) === 'privilege' ? privilegeError(name, error) : error
      }
    },
    get server() {
      return primary.server
    },
    onWayFree: outage.onWayFree,
    onUp: outage.onEnd,
    async openSession(role, own) {
      const askedAt = performance.now()
      try {
        const session = await open(listenConnection, {
          name: `${options.name} ${role}`,
          settings: { ...sessionSettings(serverVersion, patience.rest.statementMs), ...own },
          ...(own && { settingsStatement: statements.session_settings }),
          // One that is being opened at the end, nobody may be there any more to close.
          ...(!ending.signal.aborted && { signal: ending.signal }),
        })
        outage.gotThrough()
        return session
      } catch (error) {
        // Another way says nothing about that of the statements; nor does a server that is there and refuses one
        // session more, as it may answer those that are open.
        if (!ending.signal.aborted && listenConnection === connection && sqlState(error) === null) {
          failed(new NotSentError(role, error), askedAt)
        }
        throw error
      }
    },
    async end(deadlineAt) {
      ending.abort(closedError())
      await looking?.catch(() => {})
      await Promise.all(Object.values(pools ?? {}).map((pool) => pool.end(deadlineAt)))
    },
  }
  return database
}

/** Whether trying again later may help: the connection's fault, or one that passes. */
function isOutage(error: unknown): boolean {
  if (error instanceof BugleError) return error.code === 'DATABASE_DOWN'
  return ['down', 'unknown', 'passing'].includes(databaseFault(error))
}

/** @param error - of `ready` */
function isRefusedForGood(error: unknown): boolean {
  return error instanceof BugleError && isPermanentRefusal(error.cause)
}

export function databaseDown(connection: Connection, error: unknown): BugleError {
  const where = describeConnection(connection)
  const cannot = error instanceof ReadOnlyError ? 'cannot write to' : 'cannot reach'
  return new BugleError('DATABASE_DOWN', `${cannot} ${where}: ${toError(error).message}`, { cause: error })
}

export function schemaTooNew(schema: string, applied: number): BugleError {
  return new BugleError(
    'SCHEMA_TOO_NEW',
    `schema "${schema}" was migrated to step ${applied} by a newer version of Bugle; this one knows ` +
      `${newestMigration}: install the newer version here`,
  )
}

export function closedError(): BugleError {
  return new BugleError('CLOSED', 'this Bugle instance is closed')
}
