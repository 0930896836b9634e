import createDebug from 'debug'
import { deadline } from '../deadline.js'
import { databaseFault, sqlState, toError } from '../errors.js'
import type { Session } from './session.js'
import type { Statements } from './statements.js'

const log = createDebug('bugle:control')

/** The lock table is shared with the application: no worker takes more of it than this. */
const mostLocks = 200
/** A K that somebody holds exclusively is waited for this long, and no other consumer's longer. */
export const controlSettings = { lock_timeout: '1s' } as const
const answerMs = 3_000

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
 * The worker's control session: a plain `pg` client that holds the sleep locks K(queue).
 *
 * Advisory locks of a session live and die with its connection, so they are on one that runs nothing else, above all
 * nothing that makes a row ready: the trigger's test does not see its own session's K.
 *
 * Lost means that every K is void at that moment. Nothing is lost with them: whoever slept is told by `onLost`, sweeps
 * until `onRegained`, takes K again, and with it owes a new debt (see consume/sleep.ts).
 */
export interface ControlSession {
  /** Resolves after the first try to connect, whatever came of it; further ones go on by themselves. */
  start(): Promise<void>
  holds(queue: string): boolean
  /** Take K(queue) shared, waiting for it up to a second. */
  take(queue: string): Promise<TakeResult>
  release(queue: string): void
  /** Other sessions that hold K(queue): those that sleep, and the pid of one that is in the way. */
  others(queue: string): Promise<{ asleep: number; blocker: number | null }>
  stop(): Promise<void>
}

export interface ControlOptions {
  readonly open: () => Promise<Session>
  readonly statements: Statements
  readonly onLost: () => void
  readonly onRegained: () => void
}

export function createControlSession({ open, statements, onLost, onRegained }: ControlOptions): ControlSession {
  const held = new Set<string>()
  let taking = 0
  /** Losses and failed connects since a query last succeeded: what the back-off goes by. */
  let failures = 0
  let session: Session | null = null
  let stopped = false
  let reconnecting: NodeJS.Timeout | undefined
  // pg wants one query at a time: each waits for the one before.
  let last: Promise<unknown> = Promise.resolve()

  async function connect(): Promise<void> {
    try {
      const opened = await open()
      if (stopped) return void opened.destroy()
      session = opened
      opened.client.once('end', () => lose(opened, new Error('the connection ended')))
      opened.client.once('error', (error) => lose(opened, error))
      log('connected')
      if (failures > 0) onRegained()
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
  }

  function lose(which: Session, error: Error): void {
    if (session !== which || stopped) return
    log('lost: %s', error.message)
    session = null
    held.clear()
    which.destroy()
    onLost()
    reconnectSoon()
  }

  /** @throws PostgreSQL's refusal; any other failure is the session's end. */
  function query<Row extends object>(
    name: keyof Statements,
    queue: string,
  ): Promise<{ rows: Row[]; session: Session }> {
    const turn = last.then(async () => {
      const current = session
      if (current === null) throw new SessionLost()
      try {
        const asked = current.client.query<Row>({ name, text: statements[name], values: [queue] })
        const { rows } = await deadline(asked, answerMs, name)
        // Unless it was lost in the very moment: then the back-off, and the word that it is back, are owed.
        if (session === current) failures = 0
        return { rows, session: current }
      } catch (error) {
        // Refused by a server that goes on serving: a lock time-out, no more shared memory.
        if (sqlState(error) !== null && databaseFault(error) !== 'unknown') throw error
        lose(current, toError(error))
        throw new SessionLost()
      }
    })
    last = turn.catch(() => {})
    return turn
  }

  return {
    start: connect,
    holds: (queue) => held.has(queue),
    async take(queue) {
      if (held.has(queue)) return 'held'
      if (held.size + taking >= mostLocks) return 'limit'
      taking += 1
      try {
        const by = await query('asleep_take', queue)
        // Still the session that answered? If not, `lose` has run and K went with it.
        if (session !== by.session) return 'down'
        held.add(queue)
        return 'held'
      } catch (error) {
        return error instanceof SessionLost ? 'down' : 'blocked'
      } finally {
        taking -= 1
      }
    },
    release(queue) {
      const by = session
      if (!held.delete(queue) || by === null) return
      // A session that cannot say it has given K up is ended, and K with it: otherwise writers would notify for ever.
      query('asleep_release', queue).catch((error) => lose(by, toError(error)))
    },
    async others(queue) {
      const { rows } = await query<{ pid: number; mode: string }>('asleep_others', queue).catch(() => ({ rows: [] }))
      return {
        asleep: rows.filter((row) => row.mode === 'ShareLock').length,
        blocker: rows.find((row) => row.mode === 'ExclusiveLock')?.pid ?? null,
      }
    },
    async stop() {
      stopped = true
      clearTimeout(reconnecting)
      held.clear()
      const ending = session
      session = null
      await ending?.end()
    },
  }
}

class SessionLost extends Error {
  override name = 'SessionLost'
  constructor() {
    super('the control session is lost')
  }
}
