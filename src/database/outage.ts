import { DeadlineError } from '../deadline.js'
import { toError } from '../errors.js'
import type { Events } from '../events.js'
import { databaseFault, NotSentError } from './verdict.js'

/** The ways to the database, of which one may be refused while others go on: the pools, and sessions. */
export type Way = PoolName | 'sessions'

export type PoolName =
  | 'puts'
  /** An operator's calls. */
  | 'admin'
  /** Statistics. */
  | 'looks'
  /** What consumers need. */
  | 'rest'

/**
 * Whether the database can be reached: an outage is a state with two events, not an exception for everybody.
 *
 * **What counts.** A statement that reached no server which could have run it is an outage. That some other statement
 * is answered does not end it: a connection that is open goes on answering where nobody else is let in (all slots are
 * taken, log-ins are refused), and one to a server that has become read only answers whatever only reads. Such answers
 * and refusals may come in turns for hours, and are one outage. So there is one rule, of what each connection has shown
 * when it was opened, that the server lets us in and takes our writes:
 *
 * *A way is up again when it is answered by a connection that was opened after the statement that it was refused last
 * had been asked for.* The outage begins with the first way that is down, and ends when none is.
 *
 * Each way that is down has such a connection sooner or later, whoever needs it. Where a pool was refused, it has no
 * open connection, or replaces all that it has (see Healing); and what nobody asks for is asked by who knocks (see
 * Database).
 *
 * By the same evidence a refusal is old news, and begins no outage, where a connection of any way that was opened after
 * its statement had been asked for has answered: each connection finds out by itself that the server is back. And a
 * statement that no connection had time for until its deadline tells of silence only if nothing else was answered by
 * its way meanwhile: otherwise the pool is busy.
 *
 * **Pauses.** Many parts wait for the end, each with a pause of its own that grows. The first that gets through to a
 * server ends the pauses of all (`onWayFree`), and each tries again at once. It is no loop: it happens in an outage,
 * when a session or another connection was opened, and when a way is up again; and when the instance moves to another
 * server.
 */
export interface Outage {
  /**
   * Something was answered.
   *
   * @param openedAt - the moment at which the connection was opened, by the same clock as `now`
   */
  answered(way: Way, openedAt: number): void
  /**
   * A statement failed; only one that reached no server which could have run it counts.
   *
   * @param askedAt - by the same clock as `now`
   */
  failed(way: Way, error: unknown, askedAt: number): void
  /** The server could not be reached, whatever the reason. */
  down(way: Way, error: unknown): void
  readonly isDown: boolean
  /** Those that are. */
  readonly waysDown: readonly Way[]
  /** A session was opened. It ends no outage of pools, but nobody need wait to try. */
  gotThrough(): void
  /** The instance has moved to another server: nobody need wait for the former one. */
  moved(): void
  /**
   * Called when statements get through again. For sessions, which would be in the way of the first statements before:
   * each costs the server a process, and a process of ours has several.
   *
   * @returns to be called when nobody waits any more
   */
  onEnd(listener: () => void): () => void
  /** Called when a try is worth more than a pause. @returns to be called when nobody waits any more */
  onWayFree(listener: () => void): () => void
}

export function createOutage(events: Pick<Events, 'emit'>, now: () => number): Outage {
  /** The ways that are down, each with the moment after which a connection must have been opened to end that. */
  const waysDown = new Map<Way, number>()
  let downAt = 0
  /** When each way was answered last, by whatever connection. */
  const answeredAt = new Map<Way, number>()
  /** Of the connections that have answered, when the latest was opened. */
  let newestOpenedAt = Number.NEGATIVE_INFINITY
  const listeners = new Set<() => void>()
  const endListeners = new Set<() => void>()

  function down(way: Way, error: unknown, askedAt: number): void {
    const isFirst = waysDown.size === 0
    waysDown.set(way, Math.max(askedAt, waysDown.get(way) ?? askedAt))
    if (!isFirst) return
    downAt = now()
    events.emit('database:down', { queue: null, error: toError(error) })
  }

  function tellFree(): void {
    for (const listener of listeners) listener()
  }

  function areStatementsFree(): boolean {
    return waysDown.size === 0 || (waysDown.size === 1 && waysDown.has('sessions'))
  }

  return {
    answered(way, openedAt) {
      answeredAt.set(way, now())
      const isNewest = openedAt > newestOpenedAt
      if (isNewest) newestOpenedAt = openedAt
      if (waysDown.size === 0) return
      const isUp = openedAt >= (waysDown.get(way) ?? Number.POSITIVE_INFINITY)
      if (!isUp && !isNewest) return
      if (isUp) waysDown.delete(way)
      if (waysDown.size === 0) events.emit('database:up', { queue: null, downMs: now() - downAt })
      tellFree()
      if (areStatementsFree()) for (const listener of endListeners) listener()
    },
    failed(way, error, askedAt) {
      if (askedAt < newestOpenedAt || databaseFault(error) !== 'down') return
      const cause = error instanceof NotSentError ? error.cause : error
      if (cause instanceof DeadlineError && askedAt < (answeredAt.get(way) ?? askedAt)) return
      down(way, cause, askedAt)
    },
    down: (way, error) => down(way, error, now()),
    get isDown() {
      return waysDown.size > 0
    },
    get waysDown() {
      return [...waysDown.keys()]
    },
    gotThrough() {
      if (waysDown.size > 0) tellFree()
    },
    moved: tellFree,
    onEnd(listener) {
      endListeners.add(listener)
      return () => void endListeners.delete(listener)
    },
    onWayFree(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
  }
}
