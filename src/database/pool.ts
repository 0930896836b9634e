import { setTimeout as sleep } from 'node:timers/promises'
import createDebug from 'debug'
import { toError } from '../errors.js'
import type { Host } from './connection.js'
import {
  createInstance,
  HandedOverError,
  type Instance,
  type InstanceOptions,
  isExpired,
  type SqlValue,
} from './instance.js'
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
 * **Healing.** A connection's place in postgres.js can be poisoned for good, and a connection that is half open
 * swallows statements for ever. Neither is mended from within; so a pool in doubt gets a new instance:
 *
 * 1. *Doubt*: a statement whose deadline expired, sent or not; two CONNECT_TIMEOUTs with no answer in between; with
 *    several hosts, one of them that cannot be reached, or has become a standby; or the doubt of a sister pool, where
 *    this one has not been answered for some seconds. Only the instance in use counts: a late failure of an old one
 *    says nothing.
 * 2. *Probe*: a new instance for one host after the other, in their order; the first that answers, as a server that can
 *    be written to, is it. Where none does, again after a pause, growing and jittered, until one does or the pool is
 *    ended. Meanwhile the old one goes on: it may be well, and only the server too busy for one connection more.
 * 3. *Swap*, in one turn of the event loop: from here on statements go to the new one. Those which no connection of the
 *    old one had taken were not sent, and never will be; they go to the new one with what is left of their time.
 * 4. *Retire*: what the old one had sent is answered, or given up at its own deadline. Then the old one's sockets are
 *    destroyed.
 *
 * What can interleave:
 * - further doubts during a heal: there is one heal at a time, and doubts that come in the middle are of the instance
 *   that it replaces;
 * - doubts again and again, since the database itself is slow or full: the next heal begins with the last one's pause,
 *   until an instance has been left alone for a while, so they cannot become a storm of connections;
 * - a statement that fails of itself while it is handed over: whichever is first counts, and it is sent once at most:
 *   only what has no connection's state is handed over, and what is handed over is made harmless in the same turn;
 * - `end` at any point: the pause is cut short; the instance that is being probed is destroyed, and with it its probe
 *   fails; the one in use and those retired have until the deadline, and are destroyed then. Whoever comes from an
 *   `await` looks for the end first, so nothing is swapped in after it.
 */
export interface Pool {
  query<Row>(text: string, parameters: readonly SqlValue[], deadlineMs: number, what: string): Promise<Row[]>
  /** A sister pool is in doubt: so is this one, unless it has been answered lately. */
  suspect(): void
  /**
   * What still runs is given until `deadlineAt` (performance.now() ms), by default some seconds; then dropped.
   */
  end(deadlineAt?: number): Promise<void>
}

export interface PoolOptions extends InstanceOptions {
  /** The host to begin with: one that was found to answer. */
  readonly firstHost: Host
  /** The statement that yields a ServerState. */
  readonly stateStatement: string
  /** It is in doubt, by its own experience. */
  readonly onDoubt: () => void
  readonly now: () => number
}

const pauseMs = { least: 50, most: 2_000 } as const
/** An instance that was left alone for so long was well. */
const calmMs = 30_000
/** A pool that was answered within that time is not suspected for its sister's sake. */
const freshMs = 5_000
const endMs = 5_000

export function createPool(options: PoolOptions): Pool {
  const { connection, random, now } = options
  const retired = new Set<Instance>()
  const ending = new AbortController()
  let current = createInstance(options, options.firstHost)
  let probed: Instance | null = null
  let healing: Promise<void> | null = null
  let connectTimeouts = 0
  let tries = 0
  let swappedAt = now()
  let answeredAt = now()

  function answered(): void {
    connectTimeouts = 0
    answeredAt = now()
  }

  /** Why the instance is in doubt after this error; null: it is not. */
  function doubtOf(error: unknown): string | null {
    const state = sqlState(error)
    if (isConnectTimeout(error)) connectTimeouts += 1
    else if (state !== null) connectTimeouts = 0
    if (isExpired(error)) return 'a deadline has expired'
    if (connectTimeouts >= 2) return `${connectTimeouts} connects in a row had no answer`
    if (connection.hosts.length > 1 && databaseFault(error) === 'down') return 'the host cannot be reached'
    if (connection.targetSessionAttrs !== 'any' && state === '25006') return 'the host has become a standby'
    return null
  }

  function doubt(why: string): void {
    if (ending.signal.aborted || healing !== null) return
    log('%s: a new instance is needed', why)
    healing = heal().finally(() => {
      healing = null
    })
  }

  async function heal(): Promise<void> {
    if (now() - swappedAt > calmMs) tries = 0
    for (;;) {
      await pause()
      if (ending.signal.aborted) return
      const next = await firstThatAnswers()
      if (next === null) continue
      retire(current)
      current = next
      swappedAt = now()
      answered()
      log('a new instance, to %s:%d', next.host.host, next.host.port)
      return
    }
  }

  /** At first for a moment only, for the processes of a fleet not to come all at once. */
  async function pause(): Promise<void> {
    const ms = Math.min(pauseMs.least * 2 ** tries, pauseMs.most) * (0.5 + random())
    tries += 1
    await sleep(ms, undefined, { signal: ending.signal }).catch(() => {})
  }

  /** @returns null: none, or the pool is ended */
  async function firstThatAnswers(): Promise<Instance | null> {
    for (const host of connection.hosts) {
      const instance = createInstance(options, host)
      probed = instance
      try {
        const [state] = await instance.send<{ standby: boolean }>(
          options.stateStatement,
          [],
          2 * connection.connectTimeoutMs,
          'the probe',
        )
        if (state?.standby === true && connection.targetSessionAttrs !== 'any') throw new Error('it is a standby')
        if (!ending.signal.aborted) return instance
      } catch (error) {
        log('%s:%d: %s', host.host, host.port, toError(error).message)
      } finally {
        probed = null
      }
      await instance.end(0)
      if (ending.signal.aborted) return null
    }
    return null
  }

  function retire(old: Instance): void {
    retired.add(old)
    void old
      .retire()
      .then(() => old.end(0))
      .then(() => retired.delete(old))
  }

  return {
    async query<Row>(text: string, parameters: readonly SqlValue[], deadlineMs: number, what: string): Promise<Row[]> {
      const until = now() + deadlineMs
      for (;;) {
        const by = current
        try {
          const rows = await by.send<Row>(text, parameters, until - now(), what)
          if (by === current) answered()
          return rows
        } catch (error) {
          if (error instanceof HandedOverError) continue
          const why = by === current ? doubtOf(error) : null
          if (why !== null) {
            doubt(why)
            options.onDoubt()
          }
          throw error
        }
      }
    },
    suspect() {
      if (current.isConnected && now() - answeredAt > freshMs) doubt('a sister is in doubt')
    },
    async end(deadlineAt = now() + endMs) {
      ending.abort()
      const ms = Math.max(0, deadlineAt - now())
      await Promise.all([healing, probed?.end(0), ...[current, ...retired].map((instance) => instance.end(ms))])
    },
  }
}

function isConnectTimeout(error: unknown): boolean {
  const cause = error instanceof NotSentError ? error.cause : error
  return cause instanceof Error && 'code' in cause && cause.code === 'CONNECT_TIMEOUT'
}
