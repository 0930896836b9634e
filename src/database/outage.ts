import { toError } from '../errors.js'
import type { Events } from '../events.js'
import { databaseFault, NotSentError } from './verdict.js'

/**
 * Whether the database can be reached, as the last statement saw it: an outage is a state with two events,
 * not an exception for everybody.
 *
 * Many parts wait for its end, each with a pause of its own that grows. The first that gets through to a server ends
 * the pauses of all (`onWayFree`), and each tries again at once. It is no loop: it happens in an outage only, which
 * begins with a failure, and ends with a statement's answer; and when the instance moves to another server.
 */
export interface Outage {
  /** A statement was answered. */
  answered(): void
  /**
   * A statement failed; only one that reached no server which could have run it counts, and only if nothing was
   * answered since the statement was asked for: each connection finds out by itself that the server is back.
   *
   * @param askedAt - by the same clock as `now`
   */
  failed(error: unknown, askedAt: number): void
  /** The server could not be reached, whatever the reason. */
  down(error: unknown): void
  readonly isDown: boolean
  /** A session was opened. It ends no outage, as statements go another way, but nobody need wait to try. */
  gotThrough(): void
  /** The instance has moved to another server: nobody need wait for the former one. */
  moved(): void
  /**
   * Called when the outage has ended. For sessions, which would be in the way of the first statements before: each
   * costs the server a process, and a process of ours has several.
   *
   * @returns to be called when nobody waits any more
   */
  onEnd(listener: () => void): () => void
  /** Called when a try is worth more than a pause. @returns to be called when nobody waits any more */
  onWayFree(listener: () => void): () => void
}

export function createOutage(events: Pick<Events, 'emit'>, now: () => number): Outage {
  let downAt: number | null = null
  let answeredAt = Number.NEGATIVE_INFINITY
  const listeners = new Set<() => void>()
  const endListeners = new Set<() => void>()

  function down(error: unknown): void {
    if (downAt !== null) return
    downAt = now()
    events.emit('database:down', { queue: null, error: toError(error) })
  }

  function tellFree(): void {
    for (const listener of listeners) listener()
  }

  return {
    answered() {
      answeredAt = now()
      if (downAt === null) return
      const downMs = answeredAt - downAt
      downAt = null
      events.emit('database:up', { queue: null, downMs })
      tellFree()
      for (const listener of endListeners) listener()
    },
    failed(error, askedAt) {
      if (askedAt < answeredAt || databaseFault(error) !== 'down') return
      down(error instanceof NotSentError ? error.cause : error)
    },
    down,
    get isDown() {
      return downAt !== null
    },
    gotThrough() {
      if (downAt !== null) tellFree()
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
