import createDebug from 'debug'
import PQueue from 'p-queue'
import { backoff, jitter } from '../backoff.js'
import { deadline } from '../deadline.js'
import { toError } from '../errors.js'
import type { Link } from './link.js'
import type { SqlValue } from './pool.js'
import { namedAsByPool, type Session } from './session.js'
import type { StatementName, Statements } from './statements.js'
import { databaseFault, sqlState, takesNoWrites } from './verdict.js'

const log = createDebug('bugle:control')

/** The lock table is shared with the application: no worker takes more of it than this. */
const mostLocks = 200
/** A K that somebody holds exclusively is waited for this long, and no other consumer's longer. */
export const controlSettings = { lock_timeout: '1s' } as const
const answerMs = 3_000
const reconnectMs = { least: 50, most: 1_000 } as const
/** In an outage, which `onUp` ends: whoever tries beside the one who tries for all is in the way of a busy server. */
const downMs = 5_000
/** Statements wait for each other: those that take K come last, as each of them may take a second. */
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
  /** Nobody would hear what K makes writers say; the listener's return will tell. */
  | 'deaf'

/**
 * The worker's control session: a plain `pg` client that holds the worker's presence lock and the sleep locks K(queue),
 * and carries the heartbeat, which is its probe.
 *
 * Advisory locks of a session live and die with its connection, so they are on one that runs nothing else, above all
 * nothing that makes a row ready: the trigger's test does not see its own session's K.
 *
 * **K says "somebody will hear".** So it is taken while the listener is live, and given up at once when it is not:
 * writers would notify for nobody, and fail with a NOTIFY queue that is full. `isHeard` is asked before K is asked for,
 * and again when it is had, as the listener may have been lost in between (and if it was lost and is back by then, its
 * return makes everybody claim, and nothing that it missed is lost). What was given up is taken again after that
 * return, and a new debt with it.
 *
 * **All locks of a session are under the oids of the same tables**, which may be made anew under a running process
 * (dropped and migrated, restored). Then no trigger tests the old K any more. Whatever takes a lock therefore reads
 * which tables they were, and so does each heartbeat; the first answer that names others ends the session.
 *
 * **A failed take may have got K** all the same: a cancel, or the lock time-out, can hit a statement that has it. Such
 * a K nobody would ever give up, so the session is ended, unless pg_locks says that it holds none.
 *
 * Lost means that every lock is void at that moment. Nothing is lost with them: a consumer that slept hears it by
 * `onLost`, sweeps until `onRegained`, takes K again, and with it owes a new debt (see consume/claim/sleep.ts). The
 * presence lock is taken right after connecting, shared, and so beside that of a predecessor that the server has not
 * yet missed (a half-open connection), which is ended then: its K would make every writer notify for nobody.
 */
export interface ControlSession {
  /** Resolves after the first try to connect, whatever came of it; further ones go on by themselves. */
  start(): Promise<void>
  readonly isConnected: boolean
  /**
   * Its connection, by which others know where the server is; made at once if it waits for its pause. The listener goes
   * this way as well, so a process whose server was away opens one connection and not two.
   *
   * @throws SessionLostError: it cannot be connected now
   */
  opened(): Promise<Session>
  /** Of its backend; null: not known, as it has not been present yet. */
  readonly pid: number | null
  /** Whether this session holds the presence lock of the worker's id of now. */
  readonly isPresent: boolean
  /** Hold it, unless that is so; after the worker's id has changed, or a refusal. Never rejects. */
  bePresent(): Promise<void>
  /** A share of K(queue), not held yet. */
  lock(queue: string): QueueLock
  /** Give up every K: nobody would hear. Those who sleep under one are not told. */
  releaseAll(): void
  /** These are the tables now, by the name of their channel; null: there are none. Its locks may be those of others. */
  tablesAre(channel: string | null): void
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
  /** Say that this consumer dozes, as long as it holds K. @returns the others that do; none if that cannot be known */
  doze(): Promise<Dozers>
  /** The pid of another session that holds K exclusively. */
  blocker(): Promise<number | null>
}

/** The other sessions that doze on a queue. */
export interface Dozers {
  readonly others: number
  /** Those of them that come before this one, in an order that all of them know. */
  readonly before: number
}

export const noDozers: Dozers = { others: 0, before: 0 }

interface ControlOptions {
  readonly open: () => Promise<Session>
  readonly link: Link
  readonly statements: Statements
  readonly workerId: () => string
  /** Whether notifications arrive. */
  readonly isHeard: () => boolean
  readonly onLost: () => void
  readonly onRegained: () => void
  /** It has the presence lock. @param serverUpMs - for how long its server had run then without a crash, in ms */
  readonly onPresent: (serverUpMs: number) => void
  /** It is an outage, in which somebody tries for all. */
  readonly isDown: () => boolean
  /** Called when an outage has ended. @returns to be called at one's own end */
  readonly onUp: (listener: () => void) => () => void
}

export function createControlSession(options: ControlOptions): ControlSession {
  const { open, link, statements, workerId, isHeard, onLost, onRegained } = options
  /** Each share that is held, and its queue. */
  const held = new Map<QueueLock, string>()
  /** Of those, who has said that it dozes. */
  const dozing = new Set<QueueLock>()
  let taking = 0
  /** Losses and failed connects since a query last succeeded: what the back-off goes by. */
  let failures = 0
  let session: Session | null = null
  /** The channel of the tables under whose oids its locks are; null: it has taken none yet. */
  let tables: string | null = null
  let pid: number | null = null
  /** As whom the session is present. */
  let presentAs: string | null = null
  /** As whom a session of ours, this one or a former one, was present before. */
  let lastPresentAs: string | null = null
  let keepsAlive = true
  let reconnecting: NodeJS.Timeout | null = null
  /** Whatever came of it. */
  let lastTry: Promise<Session> | null = null
  let stopped = false
  const ignoreUp = options.onUp(() => {
    if (reconnecting !== null) void connect()
  })
  // pg wants one query at a time.
  const turns = new PQueue({ concurrency: 1 })

  async function connect(): Promise<void> {
    stopWaiting()
    try {
      lastTry = open()
      const opened = await lastTry
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
    reconnectIn(backoff(reconnectMs, failures, Math.random))
    failures += 1
  }

  function reconnectIn(ms: number): void {
    const again = (): void => {
      if (options.isDown()) reconnectIn(jitter(downMs, 0.5, 1.5, Math.random))
      else void connect()
    }
    reconnecting = setTimeout(again, ms)
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
    tables = null
    pid = null
    presentAs = null
    held.clear()
    dozing.clear()
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
          const askedAt = performance.now()
          const asked = current.client.query<Row>({ name, text: statements[name], values: [...parameters] })
          const { rows } = await deadline(asked, link.patienceMs(withinMs), name)
          link.answered(performance.now() - askedAt)
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
      const by = await query<PresentRow>('presence_take', [id], answerMs, priority.presence)
      if (!hasLocked(by)) return
      const { pid: ownPid = null, up_ms: serverUpMs = 0 } = by.rows[0] ?? {}
      pid = ownPid
      presentAs = id
      options.onPresent(serverUpMs)
      if (lastPresentAs === id) await query('presence_terminate', [id], answerMs, priority.presence)
      lastPresentAs = id
    } catch (error) {
      // The right to end sessions of one's own role may be taken away: then the server must miss the predecessor
      // itself.
      log('%s: %s', id, toError(error).message)
    }
  }

  /** @returns false: the lock went with its session, which was lost since, or is now: its tables are others */
  function hasLocked({ rows, session: by }: { rows: LockedRow[]; session: Session }): boolean {
    if (session !== by) return false
    const channel = rows[0]?.channel ?? null
    tables ??= channel
    return demandTables(channel)
  }

  function demandTables(channel: string | null): boolean {
    if (channel === null || tables === null || channel === tables) return true
    if (session !== null) lose(session, new Error(`the tables were made anew: ${tables} is now ${channel}`))
    return false
  }

  function release(asleep: readonly string[], dozed: readonly string[], by: Session): void {
    const named = [JSON.stringify(asleep), JSON.stringify(dozed)]
    // A session that cannot say it has given K up is ended, and K with it: otherwise writers would notify for ever.
    query('asleep_release', named, answerMs, priority.presence).catch((error) => lose(by, toError(error)))
  }

  /** After a take that the server has refused. @returns whether the session is still there, and without that K */
  async function isWithout(queue: string): Promise<boolean> {
    const by = session
    if (by === null) return false
    try {
      // Of two shares of one K pg_locks tells nothing.
      if ([...held.values()].includes(queue)) throw new Error('another consumer holds the same K')
      const { rows } = await query<HolderRow>('asleep_holders', [queue], answerMs, priority.presence)
      if (rows.some((row) => row.is_own)) throw new Error('K was taken all the same')
      return session === by
    } catch (error) {
      lose(by, toError(error))
      return false
    }
  }

  const locks = (): number => held.size + dozing.size + taking

  function lock(queue: string): QueueLock {
    const own: QueueLock = {
      holds: () => held.has(own),
      async take() {
        if (held.has(own)) return 'held'
        if (!isHeard()) return 'deaf'
        if (locks() >= mostLocks) return 'limit'
        taking += 1
        try {
          const by = await query<LockedRow>('asleep_take', [queue], answerMs, priority.sleep)
          if (!hasLocked(by)) return 'down'
          if (!isHeard()) {
            release([queue], [], by.session)
            return 'deaf'
          }
          held.set(own, queue)
          return 'held'
        } catch (error) {
          if (error instanceof SessionLostError) return 'down'
          log('K of %s: %s', queue, toError(error).message)
          return (await isWithout(queue)) ? 'blocked' : 'down'
        } finally {
          taking -= 1
        }
      },
      release() {
        const hasDozed = dozing.delete(own)
        if (held.delete(own) && session !== null) release([queue], hasDozed ? [queue] : [], session)
      },
      async doze() {
        const takes = !dozing.has(own)
        if (!held.has(own) || (takes && locks() >= mostLocks)) return noDozers
        try {
          const by = await query<DozeRow>('doze', [queue, String(takes)], answerMs, priority.presence)
          if (!hasLocked(by)) return noDozers
          const { taken, others, before } = by.rows[0] ?? { ...noDozers, taken: false }
          if (taken && held.has(own)) dozing.add(own)
          // K was given up meanwhile.
          else if (taken) release([], [queue], by.session)
          return { others, before }
        } catch (error) {
          // It may have got its lock, which nobody would give up.
          if (session !== null && !(error instanceof SessionLostError)) lose(session, toError(error))
          return noDozers
        }
      },
      async blocker() {
        const asked = query<HolderRow>('asleep_holders', [queue], answerMs, priority.sleep)
        const { rows } = await asked.catch(() => ({ rows: [] }))
        return rows.find((row) => row.mode === 'ExclusiveLock' && !row.is_own)?.pid ?? null
      },
    }
    return own
  }

  return {
    start: connect,
    get isConnected() {
      return session !== null
    },
    async opened() {
      if (reconnecting !== null) void connect()
      await lastTry?.catch(() => {})
      if (session === null) throw new SessionLostError()
      return session
    },
    get pid() {
      return pid
    },
    get isPresent() {
      return presentAs === workerId()
    },
    bePresent,
    lock,
    releaseAll() {
      const asleep = [...held.values()]
      const dozed = [...dozing].flatMap((one) => held.get(one) ?? [])
      held.clear()
      dozing.clear()
      if (asleep.length > 0 && session !== null) release(asleep, dozed, session)
    },
    tablesAre: (channel) => void demandTables(channel),
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

/** Of a statement that takes a lock. */
interface LockedRow {
  readonly channel: string
}

interface PresentRow extends LockedRow {
  readonly pid: number
  readonly up_ms: number
}

/** A session that holds K. */
interface HolderRow {
  readonly pid: number
  readonly mode: string
  readonly is_own: boolean
}

interface DozeRow extends LockedRow, Dozers {
  readonly taken: boolean
}

/** The server goes on serving us; except as a standby, to which it has become: then there is another to find. */
function isRefusal(error: unknown): boolean {
  return sqlState(error) !== null && !takesNoWrites(error) && databaseFault(error) !== 'unknown'
}

export class SessionLostError extends Error {
  override name = 'SessionLostError'
  // A statement that was on its way may have been carried out; one that was not may be sent again all the same.
  readonly code = 'CONNECTION_CLOSED'
  constructor() {
    super('the control session is lost')
  }
}
