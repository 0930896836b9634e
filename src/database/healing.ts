import { setTimeout as sleep } from 'node:timers/promises'
import createDebug from 'debug'
import { backoff } from '../backoff.js'
import { DeadlineError } from '../deadline.js'
import { toError } from '../errors.js'
import type { Host } from './connection.js'
import type { PoolConnection } from './pool-connection.js'
import { ConnectTimeoutError } from './pool-errors.js'
import type { Primary } from './primary.js'
import { againMs, headStartMs } from './session.js'
import { sideBySide } from './side-by-side.js'
import { databaseFault, sqlState } from './verdict.js'

const log = createDebug('bugle:pool')

/**
 * Whether a pool's connections are in doubt, and the first of those that replace them.
 *
 * Connections that are half open swallow statements for ever, and a host may be the wrong one. No single connection
 * can be blamed: what became of one says something of the way that all of them go. So all are replaced together:
 *
 * 1. *Doubt*: a statement whose deadline expired, sent or not; one that the server would not run, since it has become
 *    read only, or is a pooler without a server; two connects in a row that had no answer; among several hosts, one
 *    that cannot be reached, or is silent while no connection is open; or the doubt of a sister pool, where this one
 *    has not been answered for some seconds. The pool tells only what happens to connections in use. Where none is open
 *    and there is one host, there is nothing to replace and nothing to choose: the pool's own attempts will do, and a
 *    probe would be one more connection of a server that is busy with these.
 * 2. *Probe*: a connection is opened to each host, side by side. The first that answers, as a server that will do (see
 *    Primary), is it. If none does, the probes begin again after a pause, growing and jittered, until one does or the
 *    pool is ended. Meanwhile the old connections go on: they may be well, and only the server too busy for one more.
 * 3. *Found*: the pool is given that connection, in the turn of the event loop in which it answered, and replaces all
 *    others by it.
 *
 * What can interleave:
 * - further doubts during a heal: there is one heal at a time, and doubts that come in the middle are of the
 *   connections that it replaces;
 * - doubts again and again, since the database itself is slow or full: the next heal begins with the last one's pause,
 *   until the connections have been left alone for a while, so they cannot become a storm of connections;
 * - two probes that answer at once: the later one is ended, and so is one that answers after its round;
 * - a probe whose connection is lost in the turn in which it is found: the round has failed, and another one follows;
 * - `hurry` while probes are under way: it cuts pauses only, and a probe has a time limit of its own;
 * - `end` at any point: the pause is cut short, and the connections that are being probed are destroyed. What comes
 *   from an `await` looks for the end first, so nothing is found after it.
 */
export interface Healing {
  /** A connection in use was opened, or has answered a statement. */
  answered(): void
  /** A statement has failed on a connection in use, or before any has taken it. */
  statementFailed(error: unknown): void
  /** A connection could not be opened. @param isNoneOpen - nor is any other one open */
  attemptFailed(error: Error, isNoneOpen: boolean): void
  /** No connection is open, and the host of the one that is being opened is silent. */
  hostIsSilent(): void
  /** A sister pool is in doubt: so are the open connections of this one, unless it has been answered lately. */
  suspect(): void
  /** No pause is worth waiting for. */
  hurry(): void
  /** Resolves when nothing goes on any more. */
  end(): Promise<void>
}

interface HealingParts {
  readonly hosts: readonly Host[]
  readonly primary: Primary
  readonly open: (host: Host) => PoolConnection
  /** It is open and idle. */
  readonly onFound: (next: PoolConnection) => void
  /** The connections are in doubt, by the pool's own experience. */
  readonly onDoubt: () => void
  readonly now: () => number
  readonly random: () => number
}

/** Between two rounds of probes. */
const healPauseMs = { least: 50, most: 2_000 } as const
/** Connections that were left alone for so long were well. */
const calmMs = 30_000
/** A pool that was answered within that time is not suspected for its sister's sake. */
const freshMs = 5_000

export function createHealing(parts: HealingParts): Healing {
  const { hosts, primary, open, onFound, onDoubt, now, random } = parts
  const probed = new Set<PoolConnection>()
  const ending = new AbortController()
  let cutPause = new AbortController()
  let healing: Promise<void> | null = null
  let connectTimeouts = 0
  let tries = 0
  let foundAt = now()
  let answeredAt = now()

  /** Why the connections are in doubt after what became of a statement; null: they are not. */
  function doubtOf(error: unknown): string | null {
    if (sqlState(error) !== null) connectTimeouts = 0
    if (error instanceof DeadlineError) return 'a deadline has expired'
    if (databaseFault(error) === 'down') return 'the server runs no statements, or takes no writes, any more'
    return null
  }

  /** Why they are after a failed attempt to open one more; null: they are not. */
  function doubtOfAttempt(error: Error, isNoneOpen: boolean): string | null {
    const isRefused = sqlState(error) !== null
    if (error instanceof ConnectTimeoutError) connectTimeouts += 1
    else if (isRefused) connectTimeouts = 0
    if (connectTimeouts >= 2) return `${connectTimeouts} connects in a row had no answer`
    // A server that is full, and says so, is well.
    if (hosts.length > 1 && (!isRefused || isNoneOpen)) return 'the host cannot be reached'
    return null
  }

  function beInDoubt(why: string | null, heals = true): void {
    if (why === null) return
    if (heals) heal(why)
    onDoubt()
  }

  function heal(why: string): void {
    if (ending.signal.aborted || healing !== null) return
    log('%s: new connections are needed', why)
    healing = findNext().finally(() => {
      healing = null
    })
  }

  async function findNext(): Promise<void> {
    if (now() - foundAt > calmMs) tries = 0
    for (;;) {
      // At first for a moment only, for the processes of a fleet not to come all at once.
      cutPause = new AbortController()
      const { signal } = cutPause
      await sleep(backoff(healPauseMs, tries, random), undefined, { signal }).catch(() => {})
      tries += 1
      if (ending.signal.aborted) return
      const next = await firstThatAnswers()
      if (ending.signal.aborted) return void next?.end()
      if (next !== null && !next.isGone) return found(next)
    }
  }

  function found(next: PoolConnection): void {
    foundAt = now()
    answered()
    onFound(next)
  }

  /** @returns null: none, or the pool is ended */
  function firstThatAnswers(): Promise<PoolConnection | null> {
    const probes = primary.inOrder(hosts).map((candidate) => (signal: AbortSignal) => probe(candidate, signal))
    const discard = (late: PoolConnection): void => void late.end()
    return sideBySide(probes, { headStartMs, againMs, signal: ending.signal, discard }).catch(() => null)
  }

  async function probe(candidate: Host, signal: AbortSignal): Promise<PoolConnection> {
    const connection = open(candidate)
    probed.add(connection)
    signal.addEventListener('abort', connection.destroy, { once: true })
    try {
      await connection.opened
      if (connection.isGone) throw new Error('it was lost in the very moment')
      return connection
    } catch (error) {
      log('%s:%d: %s', candidate.host, candidate.port, toError(error).message)
      throw error
    } finally {
      signal.removeEventListener('abort', connection.destroy)
      probed.delete(connection)
    }
  }

  function answered(): void {
    connectTimeouts = 0
    answeredAt = now()
  }

  return {
    answered,
    statementFailed: (error) => beInDoubt(doubtOf(error)),
    attemptFailed: (error, isNoneOpen) => beInDoubt(doubtOfAttempt(error, isNoneOpen), !isNoneOpen || hosts.length > 1),
    hostIsSilent: () => beInDoubt('the host is silent'),
    suspect() {
      if (now() - answeredAt > freshMs) heal('a sister is in doubt')
    },
    hurry: () => cutPause.abort(),
    async end() {
      ending.abort()
      cutPause.abort()
      for (const each of probed) each.destroy()
      await healing
    },
  }
}
