import { setTimeout as sleep } from 'node:timers/promises'
import createDebug from 'debug'
import { backoff } from '../backoff.js'
import { DeadlineError, deadline, unlessAborted } from '../deadline.js'
import { BugleError, toError } from '../errors.js'
import { type Connection, describeConnection } from './connection.js'
import { toldError } from './fault.js'
import { createLink, type Link } from './link.js'
import type { Outage, PoolName, Way } from './outage.js'
import type { SqlValue } from './pool.js'
import { createPools, type Pools, poolFor, statementMs } from './pools.js'
import { type DatabaseServer, type Primary, ReadOnlyError } from './primary.js'
import { openSession, type Session, type SessionRequest, sessionSettings } from './session.js'
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
  /** How patient to be. */
  readonly link: Link
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
   *   `CLOSED` after `end`
   */
  query<Row>(name: StatementName, parameters: readonly SqlValue[]): Promise<Row[]>
  /** Where the instance is now; null: nothing was reached yet. */
  readonly server: DatabaseServer | null
  /** Called in an outage, when somebody got through: no pause is worth waiting for. @returns to be called at the end */
  onWayFree(listener: () => void): () => void
  /** It is an outage of the way by which sessions go as well: somebody tries for all. */
  areSessionsDown(): boolean
  /** Called when an outage has ended. @returns to be called at the end */
  onUp(listener: () => void): () => void
  /** Called when a statement could not be sent, or had no answer. @returns to be called at the end */
  onLoss(listener: () => void): () => void
  /**
   * A session of its own, by the direct connection if one was given. Also after `end`: presence may outlast it.
   *
   * @param own - settings beside those of all sessions
   * @param whose - 'ours': the session is known to be its own until it ends. Then settings that its start could not
   *   have are made after it
   * @param how - `pipeline`: statements are sent without waiting for the answers to those before
   */
  openSession(
    role: string,
    own?: Readonly<Record<string, string>>,
    whose?: 'ours',
    how?: Pick<SessionRequest, 'pipeline'>,
  ): Promise<Session>
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

/** Between two tries to reach the server in an outage. */
const knockMs = { least: 400, most: 2_000 } as const
/** Between two tries of one who waits until the server is up. */
const whenUpMs = { least: 100, most: 2_000 } as const

export function createDatabase(options: DatabaseOptions): Database {
  const { connection, listenConnection, statements, outage, primary } = options
  let pools: Pools | null = null
  let looking: Promise<void> | null = null
  let serverVersion = 0
  let isKnocking = false
  /** Sessions go the way of statements. */
  const isSameWay = listenConnection === connection
  const link = createLink(() => performance.now())
  /** Of `sslmode=prefer`: where TLS was refused the last time. */
  const plain = new Set<Connection>()
  /** Of the session that has looked at the server. */
  let leaving: Promise<void> | null = null
  const ending = new AbortController()
  const lossListeners = new Set<() => void>()

  async function look(): Promise<void> {
    const session = await reach()
    ending.signal.addEventListener('abort', session.destroy, { once: true })
    try {
      demandSessions(session.state)
      await demandSchema(session)
      serverVersion = session.state.serverVersion
    } finally {
      ending.signal.removeEventListener('abort', session.destroy)
      if (ending.signal.aborted) session.destroy()
      leaving = session.end()
    }
    if (ending.signal.aborted) throw closedError()
    const found = {
      route: session.route,
      serverVersion,
      isPlain: !options.prepare || !session.hasSettings,
      isIdentified: session.state.identity !== null,
    }
    pools = createPools({ ...options, link, onAnswered: outage.answered }, found)
    outage.onWayFree(pools.hurry)
  }

  /** Resolves after `ms`, when the way is free or at the abort, whichever comes first. */
  async function mayTryAgain(ms: number, signal: AbortSignal): Promise<void> {
    const ended = new AbortController()
    const end = (): void => ended.abort()
    const ignore = outage.onWayFree(end)
    signal.addEventListener('abort', end, { once: true })
    if (!signal.aborted) await sleep(ms, undefined, { signal: ended.signal }).catch(() => {})
    signal.removeEventListener('abort', end)
    ignore()
  }

  async function reach(): Promise<Session> {
    try {
      return await open(connection, {
        name: options.name,
        // The least that every server knows: to see whether the way takes settings.
        ...(options.prepare && { settings: sessionSettings(0, statementMs) }),
        signal: ending.signal,
      })
    } catch (error) {
      throw unreachable(error)
    }
  }

  /** On the one server that this instance is on, or is then. */
  async function open(
    by: Connection,
    how: Pick<SessionRequest, 'name' | 'settings' | 'settingsStatement' | 'signal' | 'pipeline'>,
  ): Promise<Session> {
    const way = by === connection ? 'leads' : 'follows'
    const beganAt = performance.now()
    try {
      const session = await openSession({
        connection: by,
        stateStatement: statements.state,
        identifiedStatement: statements.state_identified,
        refusesTls: plain.has(by),
        connectMs: link.connectMs(by.connectTimeoutMs),
        inOrder: primary.inOrder,
        admit: (found, host, leave) => primary.admit(found, host, way, leave),
        ...how,
      })
      link.opened(session.tripMs)
      if (session.route.ssl === false) plain.add(by)
      else plain.delete(by)
      return session
    } catch (error) {
      if (error instanceof DeadlineError) link.timedOut(beganAt)
      throw error
    }
  }

  /** A session has shown that the server lets us in, and takes our writes. */
  function sessionOpened(): void {
    outage.answered('sessions', performance.now())
  }

  function failed(way: Way, error: unknown, askedAt: number): void {
    outage.failed(way, error, askedAt)
    if (outage.isDown) void knock()
  }

  function poolsDown(): PoolName[] {
    return outage.waysDown.filter((way) => way !== 'sessions')
  }

  async function query<Row>(pool: PoolName, name: StatementName, parameters: readonly SqlValue[]): Promise<Row[]> {
    if (ending.signal.aborted) throw closedError()
    if (pools === null) throw new Error(`${name} was sent before ready()`)
    const askedAt = performance.now()
    try {
      return await pools.query<Row>(pool, name, parameters)
    } catch (error) {
      const fault = databaseFault(error)
      if (fault === 'down' || fault === 'unknown') for (const tell of lossListeners) tell()
      if (!ending.signal.aborted) failed(pool, error, askedAt)
      else if (fault === 'down') throw closedError()
      throw error
    }
  }

  /**
   * While it is an outage: try to get through, about twice a second, so that the others need not, whose pauses grow.
   *
   * Each pool that is down is asked, as nobody else may need it for long. The pools' own attempts to connect are the
   * only ones then, one at a time (see Pool), and the first that succeeds is kept: sessions wait for it
   * (`areSessionsDown`). A connection of the knock's own would be one more for each process of a fleet, and all of them
   * come back together.
   *
   * Where only sessions are down, and the pool of consumers has no connection, it is asked: consumers will need one,
   * and as a newer one than the outage it lets sessions try (see Outage). Where it has one, or nothing was reached yet,
   * a session is tried. The pause grows only where it can be opened and the outage lasts all the same, or is refused
   * for a reason that lasts: nobody knocks with a wrong password many times. Where none was ever right, nobody waits
   * (`whenUp`).
   */
  async function knock(): Promise<void> {
    if (isKnocking) return
    isKnocking = true
    for (let timesLonger = 0; outage.isDown; ) {
      const inMs = backoff(knockMs, timesLonger, Math.random)
      await sleep(inMs, undefined, { signal: ending.signal, ref: false }).catch(() => {})
      if (ending.signal.aborted || !outage.isDown) break
      try {
        const asked = poolsDown()
        if (asked.length === 0 && pools?.isOpen('rest') === false) asked.push('rest')
        if (asked.length === 0) {
          const session = await open(connection, { name: options.name, signal: ending.signal })
          outage.gotThrough()
          // Within a second, whatever the other side does. It may have the only slot that there is.
          await session.end()
          timesLonger += 1
          await database.ready()
          sessionOpened()
        }
        const answers = await Promise.allSettled(asked.map((pool) => query(pool, 'health', [])))
        for (const answer of answers) if (answer.status === 'rejected') throw answer.reason
      } catch (error) {
        log('knocked: %s', toError(error).message)
        if (!isPermanentRefusal(error instanceof NotSentError ? error.cause : error)) continue
        if (pools === null) break
        timesLonger += 1
      }
    }
    isKnocking = false
  }

  function unreachable(error: unknown): BugleError {
    if (ending.signal.aborted) return closedError()
    outage.down('sessions', error)
    void knock()
    return databaseDown(connection, error)
  }

  async function appliedSteps({ client }: Session): Promise<{ number: number }[]> {
    try {
      const asked = client.query<{ number: number }>(statements.migration_applied)
      const withinMs = link.patienceMs(connection.connectTimeoutMs)
      return (await deadline(asked, withinMs, 'reading the migrations')).rows
    } catch (error) {
      const fault = databaseFault(error)
      if (fault === 'privilege') throw toldError('reading the migrations', error)
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
    link,
    ready() {
      if (ending.signal.aborted) return Promise.reject(closedError())
      // A failed look is forgotten, so that the next caller looks again.
      looking ??= look().then(sessionOpened, (error) => {
        looking = null
        // It is there, and not as we need it.
        if (!ending.signal.aborted && !isOutage(error)) sessionOpened()
        throw error
      })
      return looking
    },
    async whenUp(signal, work) {
      for (let failures = 0; ; failures += 1) {
        const againMs = backoff(whenUpMs, failures, Math.random)
        signal.throwIfAborted()
        try {
          await unlessAborted(database.ready(), signal)
          await work?.()
          return
        } catch (error) {
          if (signal.aborted || !isOutage(error) || (pools === null && isRefusedForGood(error))) throw error
          log('%s; again in %d ms', toError(error).message, againMs)
        }
        await mayTryAgain(againMs, signal)
      }
    },
    query<Row>(name: StatementName, parameters: readonly SqlValue[]) {
      return query<Row>(poolFor(name), name, parameters)
    },
    get server() {
      return primary.server
    },
    onWayFree: outage.onWayFree,
    areSessionsDown: () => outage.isDown && isSameWay,
    onUp: outage.onEnd,
    onLoss(listener) {
      lossListeners.add(listener)
      return () => void lossListeners.delete(listener)
    },
    async openSession(role, own, whose, how) {
      const askedAt = performance.now()
      try {
        const session = await open(listenConnection, {
          name: `${options.name} ${role}`,
          settings: { ...sessionSettings(serverVersion, statementMs), ...own },
          ...(whose === 'ours' && { settingsStatement: statements.session_settings }),
          ...how,
          // One that is being opened at the end, nobody may be there any more to close.
          ...(!ending.signal.aborted && { signal: ending.signal }),
        })
        outage.gotThrough()
        if (isSameWay) sessionOpened()
        return session
      } catch (error) {
        // Another way says nothing about that of the statements; nor does a server that is there and refuses one
        // session more, as it may answer those that are open.
        if (!ending.signal.aborted && isSameWay && sqlState(error) === null) {
          failed('sessions', new NotSentError(role, error), askedAt)
        }
        throw error
      }
    },
    async end(deadlineAt) {
      ending.abort(closedError())
      await looking?.catch(() => {})
      await Promise.all([leaving, pools?.end(deadlineAt)])
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
