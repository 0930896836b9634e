import createDebug from 'debug'
import { backoff, jitter, type PauseMs } from '../backoff.js'
import { type DeadlineError, deadline, startDeadline } from '../deadline.js'
import { toError } from '../errors.js'
import type { Connection, Host } from './connection.js'
import { createFifo } from './fifo.js'
import { createHealing } from './healing.js'
import { createLink, type Link } from './link.js'
import {
  openPoolConnection,
  type PoolConnection,
  type PoolConnectionOptions,
  type SqlValue,
} from './pool-connection.js'
import { ConnectTimeoutError } from './pool-errors.js'
import { type Primary, readIdentity } from './primary.js'
import { headStartMs, refusesTls } from './session.js'
import { databaseFault, NotSentError, sqlState } from './verdict.js'

export type { SqlValue }

const log = createDebug('bugle:pool')

/**
 * Single autocommit statements over a few connections, each with a deadline; and the supervisor of those connections.
 *
 * An instance of Bugle has four: one for puts, of which a service may have many at once or long ones; one for an
 * operator's calls; one for statistics, which are read one at a time; and one for what consumers need. So a claim never
 * waits behind a put.
 *
 * **A statement's way.** It waits in one line, first come, first served, for a connection that is open and idle. While
 * there are fewer than `poolSize` connections, one is opened per statement that waits, but for no particular one. So a
 * statement that waits was not sent, and one that a connection has taken may have run. It is never sent again, and only
 * the first kind is reported as unsent. A lost connection is replaced by another one, never used again (see
 * PoolConnection).
 *
 * **A connection that cannot be opened.** While others are open they serve the line, as under a role that may have five
 * connections, and the pool tries to grow again later. While none is open, a statement is refused when an attempt fails
 * that began after it came, and all attempts before that one have failed. After a failure attempts come one at a time,
 * in growing and jittered pauses, as a server that accepts and drops must not be connected to in a loop. The first
 * success ends that. A connection that is lost once it was open is no such failure: it is replaced at once.
 *
 * A line that has formed meanwhile is served by that first connection, and so is what its answer sets off: everybody
 * who has waited for the end of the outage asks at once. One more connection comes now and then while there is a line,
 * the more seldom the longer the last one took. Otherwise each statement would open one, in each process of a fleet, of
 * a server that has just begun.
 *
 * **Healing.** Connections in doubt are all replaced, in one turn of the event loop (see Healing). The new one serves
 * what waits, and so do others to its host. Each of the old ones ends when it is idle: its statement is answered, or
 * given up at its own deadline. Only the connections in use count: a late failure of a retired one says nothing. A
 * connection to a server that would not run a statement is closed at once.
 *
 * **One server.** Each connection's server is asked who it is, and admitted (see Primary), before it gets a statement,
 * and goes to the host that was admitted last. When the instance moves to another server, a connection that is not on
 * it is destroyed in that turn: its statement may have been run, and what waits is sent to the other server.
 *
 * What can interleave:
 * - an attempt that ends after the swap, well or not: the swap has destroyed it, and it says nothing any more;
 * - a deadline that expires while a statement waits: the statement leaves the line, and is not sent. One that expires
 *   on a connection takes the connection along, as nobody knows what it still does;
 * - `end` at any point: connections in use and those retired have until the deadline, and are destroyed then. Healing
 *   ends at once, and brings no connection after it.
 */
export interface Pool {
  /**
   * @throws PostgreSQL's error; NotSentError; LostError, DeadlineError: it was sent, and may have run
   */
  query<Row>(text: string, parameters: readonly SqlValue[], deadlineMs: number, what: string): Promise<Row[]>
  /** A connection is open, as far as is known. */
  readonly isOpen: boolean
  /** A sister pool is in doubt: so is this one, unless it has been answered lately. */
  suspect(): void
  /** Somebody got through to a server: no pause is worth waiting for, and no other host. */
  hurry(): void
  /**
   * What still runs is given until `deadlineAt` (performance.now() ms), by default some seconds; then dropped.
   */
  end(deadlineAt?: number): Promise<void>
}

export interface PoolOptions extends Omit<PoolConnectionOptions, 'connectMs'> {
  /** Most connections. While it heals there may be as many again, of which the old ones are on their way out. */
  readonly poolSize: number
  readonly primary: Primary
  /** What all that go this way have seen of it; default: the pool's own. */
  readonly link?: Link
  /** With `sslmode=prefer`: the server was found to refuse TLS. */
  readonly refusesTls?: boolean
  /** It is in doubt, by its own experience. */
  readonly onDoubt: () => void
  /** A statement was answered, or refused for what it says, by a connection opened then (performance.now()). */
  readonly onAnswered: (openedAt: number) => void
  readonly now: () => number
  readonly random: () => number
}

/** Between two attempts to connect that failed: after the failure of the last one. */
const pausesMs = {
  /** Nobody is there: it costs no server anything to find out when somebody is. */
  unreachable: { least: 50, most: 400 },
  /**
   * The server says that it starts, or ends (57P03). It has begun a process to say so, for each process of a fleet,
   * while it needs the processors for itself.
   */
  starting: { least: 500, most: 1_000 },
  /** For another reason, which may last. */
  refused: { least: 50, most: 1_000 },
} as const satisfies Record<string, PauseMs>
/** Of a recovery, by what the last connection took to be opened. */
const recovery = {
  /** From one connection to the next. */
  gap: { times: 2, leastMs: 200, mostMs: 2_000 },
  /** From the last one on. */
  lasts: { times: 5, leastMs: 200, mostMs: 10_000 },
} as const
const endMs = 5_000

interface Statement {
  readonly text: string
  readonly parameters: readonly SqlValue[]
  readonly what: string
  readonly resolve: (rows: never[]) => void
  readonly reject: (error: Error) => void
  readonly deadline: NodeJS.Timeout
  /** The number of the first attempt to connect that begins after it has come. */
  readonly ownAttempt: number
  /** The connection that has taken it; null: it waits. */
  by: PoolConnection | null
  isOver: boolean
}

export function createPool(options: PoolOptions): Pool {
  const { connection: target, poolSize, primary, random, now, link = createLink(now) } = options
  const waiting = createFifo<Statement>()
  /** In use: those that are being opened, the idle ones, and those that have a statement. */
  let connections = new Set<PoolConnection>()
  /** Of those. With the number of the attempt. */
  const opening = new Map<PoolConnection, number>()
  /** Of those. The one that has been idle for longest is next. */
  let idle: PoolConnection[] = []
  /** Replaced; each goes when it is idle. */
  const retired = new Set<PoolConnection>()
  /** Of `prefer`: what failed last says how the next attempt goes. */
  let { refusesTls: skipsTls = false } = options
  let pending = 0
  const awaitingRest: (() => void)[] = []
  let isEnding = false
  const healing = createHealing({ ...options, hosts: target.hosts, open, onFound: swap })

  // --- Statements ---

  function serve(): void {
    while (waiting.length > 0) {
      const by = idle.shift()
      if (by === undefined) break
      run(by, waiting.shift() as Statement)
    }
    if (waiting.length === 0 && now() >= recoversUntil) isRecovering = false
    grow()
  }

  function run(by: PoolConnection, statement: Statement): void {
    statement.by = by
    by.send<never>(
      statement.text,
      statement.parameters,
      (rows) => {
        if (connections.has(by)) healing.answered()
        options.onAnswered(by.openedAt)
        if (isFirstEnd(statement)) statement.resolve(rows)
        release(by)
      },
      (error) => {
        const fault = databaseFault(error)
        if (connections.has(by)) healing.statementFailed(error)
        // A server that has run it, and refuses what it says, is there.
        if (fault !== 'down' && fault !== 'unknown') options.onAnswered(by.openedAt)
        fail(statement, error)
        if (fault === 'down') by.destroy()
        else release(by)
      },
    )
  }

  function release(by: PoolConnection): void {
    if (by.isGone) return
    if (!connections.has(by)) return void by.end()
    idle.push(by)
    serve()
  }

  function giveUp(statement: Statement, error: DeadlineError): void {
    const { by, isOver, what } = statement
    if (isOver) return
    if (by === null || connections.has(by)) healing.statementFailed(error)
    if (by === null) {
      waiting.remove(statement)
      fail(statement, new NotSentError(what, error))
    } else {
      fail(statement, error)
      by.destroy()
    }
  }

  function fail(statement: Statement, error: Error): void {
    if (isFirstEnd(statement)) statement.reject(error)
  }

  function isFirstEnd(statement: Statement): boolean {
    if (statement.isOver) return false
    statement.isOver = true
    clearTimeout(statement.deadline)
    pending -= 1
    if (pending === 0) for (const tell of awaitingRest.splice(0)) tell()
    return true
  }

  /** Resolves when no statement is left. */
  function rest(): Promise<void> {
    return new Promise((resolve) => {
      if (pending === 0) resolve()
      else awaitingRest.push(resolve)
    })
  }

  // --- Connections ---

  let attempts = 0
  /** In a row. Attempts that were under way together count as one. */
  let failures = 0
  let countedUpTo = 0
  let pauseMs: PauseMs = pausesMs.refused
  /** None was open, as all were lost or refused, or that is over for a moment only: they come one after the other. */
  let isRecovering = false
  let gapMs: number = recovery.gap.leastMs
  let recoversUntil = Number.NEGATIVE_INFINITY
  let pause: NodeJS.Timeout | undefined

  function mayGrow(): boolean {
    // The first one alone: where there is room for few, a crowd is refused as a whole, as each counts the others.
    const isOneByOne = isNoneOpen() || failures > 0 || isRecovering
    if (isOneByOne && opening.size > 0) return false
    return opening.size < waiting.length && connections.size < poolSize
  }

  function grow(): void {
    while (mayGrow()) {
      if (failures > 0 || (isRecovering && !isNoneOpen())) {
        growLater()
        return
      }
      attempt()
    }
  }

  function growLater(): void {
    pause ??= setTimeout(
      () => {
        pause = undefined
        if (mayGrow()) attempt()
        grow()
      },
      failures === 0 ? jitter(gapMs, 0.5, 1.5, random) : backoff(pauseMs, failures - 1, random),
    )
  }

  function attempt(): void {
    attempts += 1
    const number = attempts
    const beganAt = now()
    const [host] = primary.inOrder(target.hosts) as [Host]
    const opened = open(host)
    connections.add(opened)
    opening.set(opened, number)
    const silent = target.hosts.length > 1 ? setTimeout(() => doubtSilent(opened), headStartMs) : undefined
    opened.opened
      .finally(() => clearTimeout(silent))
      .then(
        () => {
          if (!opening.delete(opened)) return
          failures = 0
          clearTimeout(pause)
          pause = undefined
          const tookMs = now() - beganAt
          gapMs = timesWithin(recovery.gap, tookMs)
          recoversUntil = now() + timesWithin(recovery.lasts, tookMs)
          healing.answered()
          if (opened.isGone) connections.delete(opened)
          else idle.push(opened)
          serve()
        },
        (error) => {
          if (!opening.delete(opened)) return
          connections.delete(opened)
          attemptFailed(host, number, toError(error))
        },
      )
  }

  function doubtSilent(opened: PoolConnection): void {
    if (opening.has(opened) && isNoneOpen()) healing.hostIsSilent()
  }

  function attemptFailed(host: Host, number: number, error: Error): void {
    log('%s:%d: %s', host.host, host.port, error.message)
    if (number > countedUpTo) {
      failures += 1
      countedUpTo = attempts
    }
    const state = sqlState(error)
    pauseMs = state === null ? pausesMs.unreachable : state === '57P03' ? pausesMs.starting : pausesMs.refused
    isRecovering = isNoneOpen()
    healing.attemptFailed(error, isNoneOpen())
    if (isNoneOpen()) {
      const failedBelow = Math.min(...opening.values(), attempts + 1)
      while (waiting.first !== undefined && waiting.first.ownAttempt < failedBelow) {
        const refused = waiting.shift() as Statement
        fail(refused, new NotSentError(refused.what, error))
      }
    }
    grow()
  }

  function isNoneOpen(): boolean {
    return connections.size === opening.size
  }

  function open(to: Host): PoolConnection {
    let left = (): void => {}
    const opened: PoolConnection = openPoolConnection(
      {
        ...options,
        connection: skipsTls && target.ssl === 'prefer' ? plainOf(target) : target,
        connectMs: link.connectMs(target.connectTimeoutMs),
      },
      to,
      ({ standby, readOnly, identity }) => {
        const found = { standby: standby === true, readOnly: readOnly === true, identity: readIdentity(identity) }
        left = primary.admit(found, to, 'leads', () => opened.destroy())
      },
      (gone) => {
        left()
        lost(gone)
      },
    )
    const beganAt = now()
    opened.opened.then(
      () => link.opened(),
      (error) => {
        if (refusesTls(error)) skipsTls = !skipsTls
        if (error instanceof ConnectTimeoutError) link.timedOut(beganAt)
      },
    )
    return opened
  }

  /** In the turn in which its socket is gone. What it had is settled by itself. */
  function lost(gone: PoolConnection): void {
    retired.delete(gone)
    // It is told as a failed attempt.
    if (opening.has(gone)) return
    idle = idle.filter((each) => each !== gone)
    if (!connections.delete(gone)) return
    if (isNoneOpen()) isRecovering = true
    grow()
  }

  /** The connections in use are replaced by this one. */
  function swap(next: PoolConnection): void {
    const old = connections
    connections = new Set([next])
    idle = [next]
    for (const each of old) retire(each)
    failures = 0
    log('new connections, to %s:%d', next.host.host, next.host.port)
    serve()
  }

  function retire(old: PoolConnection): void {
    if (opening.delete(old)) {
      old.destroy()
      return
    }
    retired.add(old)
    if (!old.isBusy) void old.end()
  }

  return {
    query<Row>(text: string, parameters: readonly SqlValue[], deadlineMs: number, what: string): Promise<Row[]> {
      if (isEnding) return Promise.reject(new NotSentError(what, endedError()))
      return new Promise((resolve, reject) => {
        const statement: Statement = {
          text,
          parameters,
          what,
          resolve,
          reject,
          deadline: startDeadline(deadlineMs, what, (error) => giveUp(statement, error)),
          ownAttempt: attempts + 1,
          by: null,
          isOver: false,
        }
        pending += 1
        waiting.push(statement)
        serve()
      })
    },
    get isOpen() {
      return !isNoneOpen()
    },
    suspect() {
      if (!isNoneOpen()) healing.suspect()
    },
    hurry() {
      healing.hurry()
      failures = 0
      clearTimeout(pause)
      pause = undefined
      const [first] = primary.inOrder(target.hosts)
      for (const each of [...opening.keys()].filter(({ host }) => host !== first)) {
        opening.delete(each)
        // One that is gone already tells it later, as a failed attempt, and that is no news by then.
        connections.delete(each)
        each.destroy()
      }
      grow()
    },
    async end(deadlineAt = now() + endMs) {
      isEnding = true
      const healed = healing.end()
      await deadline(rest(), Math.max(0, deadlineAt - now()), 'ending').catch((error) => log('%s', error.message))
      clearTimeout(pause)
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
        fail(next, new NotSentError(next.what, endedError()))
      }
      await Promise.all([healed, ...[...connections, ...retired].map((each) => each.end())])
    },
  }
}

function timesWithin(
  { times, leastMs, mostMs }: Readonly<Record<'times' | 'leastMs' | 'mostMs', number>>,
  ms: number,
): number {
  return Math.min(Math.max(leastMs, times * ms), mostMs)
}

/** The same connection without TLS. */
function plainOf(connection: Connection): Connection {
  return { ...connection, ssl: false }
}

function endedError(): Error {
  return new Error('the pool is ended')
}
