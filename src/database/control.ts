import createDebug from 'debug'
import PQueue from 'p-queue'
import { deadline } from '../deadline.js'
import { databaseFault, sqlState, toError } from '../errors.js'
import type { SqlValue } from './pool.js'
import { namedAsByPool, type Session } from './session.js'
import type { StatementName, Statements } from './statements.js'

const log = createDebug('bugle:control')

/** The lock table is shared with the application: no worker takes more of it than this. */
const mostLocks = 200
/** A K that somebody holds exclusively is waited for this long, and no other consumer's longer. */
export const controlSettings = { lock_timeout: '1s' } as const
const answerMs = 3_000
/** Statements wait for each other: those of the presence before those that take K, each of which may last a second. */
const priority = { presence: 1, sleep: 0 } as const

export type TakeResult =
  /** K is ours until it is released or the session is lost. */
  | 'held'
  /** Somebody holds K exclusively, and kept it for longer than our lock_timeout. */
  | 'blocked'
  /** This worker holds as many locks as it may. */
  | 'limit'
  /** No session at the moment; `onRegained` will tell. */
  | 'down'

/**
 * The worker's control session: a plain `pg` client that holds the worker's presence lock and the sleep locks K(queue),
 * and carries the heartbeat, which is its probe.
 *
 * Advisory locks of a session live and die with its connection, so they are on one that runs nothing else, above all
 * nothing that makes a row ready: the trigger's test does not see its own session's K.
 *
 * Lost means that every lock is void at that moment. Nothing is lost with them: a consumer that slept hears it by
 * `onLost`, sweeps until `onRegained`, takes K again, and with it owes a new debt (see consume/sleep.ts). The presence
 * lock is taken right after connecting, shared, and so beside that of a predecessor that the server has not yet missed
 * (a half-open connection), which is ended then: its K would make every writer notify for nobody.
 */
export interface ControlSession {
  /** Resolves after the first try to connect, whatever came of it; further ones go on by themselves. */
  start(): Promise<void>
  readonly isConnected: boolean
  /** Whether this session holds the presence lock of the worker's id of now. */
  readonly isPresent: boolean
  /** Hold it, unless that is so; after the worker's id has changed, or a refusal. Never rejects. */
  bePresent(): Promise<void>
  /** A share of K(queue), not held yet. */
  lock(queue: string): QueueLock
  /**
   * One statement, before all that wait for K. One that is not answered within `withinMs` is the session's end.
   *
   * @throws PostgreSQL's refusal, or SessionLostError
   */
  query<Row extends object>(name: StatementName, parameters: readonly SqlValue[], withinMs?: number): Promise<Row[]>
  /** From now on it does not keep the process alive; it goes on all the same. */
  unref(): void
  /** In order, or by force when the server does not answer. */
  stop(): Promise<void>
  /** At once. */
  destroy(): void
}

/**
 * One consumer's share of K(queue). Each has its own, also of one queue: of two consumers that follow each other the
 * former may still be at its last claim, and must not give up what the latter sleeps under. (A session's advisory locks
 * stack.)
 */
export interface QueueLock {
  holds(): boolean
  /** Take K shared, waiting for it up to a second. */
  take(): Promise<TakeResult>
  release(): void
  /** Other sessions that hold K: those that sleep, and the pid of one that is in the way. */
  others(): Promise<{ asleep: number; blocker: number | null }>
}

interface ControlOptions {
  readonly open: () => Promise<Session>
  readonly statements: Statements
  readonly workerId: () => string
  readonly onLost: () => void
  readonly onRegained: () => void
  /** Called when an outage has ended. @returns to be called at one's own end */
  readonly onUp: (listener: () => void) => () => void
}

export function createControlSession(options: ControlOptions): ControlSession {
  const { open, statements, workerId, onLost, onRegained } = options
  const held = new Set<QueueLock>()
  let taking = 0
  /** Losses and failed connects since a query last succeeded: what the back-off goes by. */
  let failures = 0
  let session: Session | null = null
  /** As whom the session is present. */
  let presentAs: string | null = null
  /** As whom a session of ours, this one or a former one, was present before. */
  let lastPresentAs: string | null = null
  let keepsAlive = true
  let reconnecting: NodeJS.Timeout | null = null
  let stopped = false
  const ignoreUp = options.onUp(() => {
    if (reconnecting !== null) void connect()
  })
  // pg wants one query at a time.
  const turns = new PQueue({ concurrency: 1 })

  async function connect(): Promise<void> {
    stopWaiting()
    try {
      const opened = await open()
      if (stopped) return void opened.destroy()
      session = opened
      if (!keepsAlive) opened.unref()
      opened.client.once('end', () => lose(opened, new Error('the connection ended')))
      opened.client.once('error', (error) => lose(opened, error))
      const isBack = failures > 0
      log('connected')
      await bePresent()
      if (isBack && session === opened) onRegained()
    } catch (error) {
      log('cannot connect: %s', toError(error).message)
      reconnectSoon()
    }
  }

  function reconnectSoon(): void {
    if (stopped) return
    const waitMs = Math.min(50 * 2 ** failures, 1_000) * (0.5 + Math.random())
    failures += 1
    reconnecting = setTimeout(() => void connect(), waitMs)
    if (!keepsAlive) reconnecting.unref()
  }

  function stopWaiting(): void {
    if (reconnecting !== null) clearTimeout(reconnecting)
    reconnecting = null
  }

  function close(): Session | null {
    stopped = true
    ignoreUp()
    stopWaiting()
    return forget()
  }

  function lose(which: Session, error: Error): void {
    if (session !== which || stopped) return
    log('lost: %s', error.message)
    forget()
    which.destroy()
    onLost()
    reconnectSoon()
  }

  function forget(): Session | null {
    const former = session
    session = null
    presentAs = null
    held.clear()
    return former
  }

  /** @throws PostgreSQL's refusal; any other failure is the session's end. */
  function query<Row extends object>(
    name: StatementName,
    parameters: readonly SqlValue[],
    withinMs: number,
    importance: number,
  ): Promise<{ rows: Row[]; session: Session }> {
    const turn = turns.add(
      async () => {
        const current = session
        if (current === null) throw new SessionLostError()
        try {
          const asked = current.client.query<Row>({ name, text: statements[name], values: [...parameters] })
          const { rows } = await deadline(asked, withinMs, name)
          // Unless it was lost in the very moment: then the back-off, and the word that it is back, are owed.
          if (session === current) failures = 0
          return { rows, session: current }
        } catch (error) {
          // Refused by a server that goes on serving: a lock time-out, no more shared memory.
          if (isRefusal(error)) throw error
          lose(current, toError(error))
          throw new SessionLostError()
        }
      },
      { priority: importance },
    )
    return turn
  }

  async function bePresent(): Promise<void> {
    const id = workerId()
    if (session === null || presentAs === id) return
    try {
      const by = await query('presence_take', [id], answerMs, priority.presence)
      // Still the session that answered? If not, `lose` has run and the lock went with it.
      if (session !== by.session) return
      presentAs = id
      if (lastPresentAs === id) await query('presence_terminate', [id], answerMs, priority.presence)
      lastPresentAs = id
    } catch (error) {
      // The right to end sessions of one's own role may be taken away: then the server must miss the predecessor
      // itself.
      log('%s: %s', id, toError(error).message)
    }
  }

  function lock(queue: string): QueueLock {
    const own: QueueLock = {
      holds: () => held.has(own),
      async take() {
        if (held.has(own)) return 'held'
        if (held.size + taking >= mostLocks) return 'limit'
        taking += 1
        try {
          const by = await query('asleep_take', [queue], answerMs, priority.sleep)
          // Still the session that answered? If not, `lose` has run and K went with it.
          if (session !== by.session) return 'down'
          held.add(own)
          return 'held'
        } catch (error) {
          return error instanceof SessionLostError ? 'down' : 'blocked'
        } finally {
          taking -= 1
        }
      },
      release() {
        const by = session
        if (!held.delete(own) || by === null) return
        // A session that cannot say it has given K up is ended, and K with it: otherwise writers would notify for ever.
        query('asleep_release', [queue], answerMs, priority.sleep).catch((error) => lose(by, toError(error)))
      },
      async others() {
        const asked = query<{ pid: number; mode: string }>('asleep_others', [queue], answerMs, priority.sleep)
        const { rows } = await asked.catch(() => ({ rows: [] }))
        return {
          asleep: rows.filter((row) => row.mode === 'ShareLock').length,
          blocker: rows.find((row) => row.mode === 'ExclusiveLock')?.pid ?? null,
        }
      },
    }
    return own
  }

  return {
    start: connect,
    get isConnected() {
      return session !== null
    },
    get isPresent() {
      return presentAs === workerId()
    },
    bePresent,
    lock,
    async query<Row extends object>(name: StatementName, parameters: readonly SqlValue[], withinMs = answerMs) {
      const { rows } = await query<Record<string, unknown>>(name, parameters, withinMs, priority.presence)
      return namedAsByPool<Row>(rows)
    },
    unref() {
      keepsAlive = false
      reconnecting?.unref()
      session?.unref()
    },
    async stop() {
      await close()?.end()
    },
    destroy() {
      close()?.destroy()
    },
  }
}

/** The server goes on serving us; except as a standby, to which it has become: then there is another to find. */
function isRefusal(error: unknown): boolean {
  return sqlState(error) !== null && sqlState(error) !== '25006' && databaseFault(error) !== 'unknown'
}

export class SessionLostError extends Error {
  override name = 'SessionLostError'
  // A statement that was on its way may have been carried out; one that was not may be sent again all the same.
  readonly code = 'CONNECTION_CLOSED'
  constructor() {
    super('the control session is lost')
  }
}
