import { toError } from '../errors.js'
import type { Events } from '../events.js'
import { databaseFault, NotSentError } from './verdict.js'

/**
 * Whether the database can be reached, as the last statement saw it: an outage is a state with two events,
 * not an exception for everybody.
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
}

export function createOutage(events: Pick<Events, 'emit'>, now: () => number): Outage {
  let downAt: number | null = null
  let answeredAt = Number.NEGATIVE_INFINITY

  function down(error: unknown): void {
    if (downAt !== null) return
    downAt = now()
    events.emit('database:down', { queue: null, error: toError(error) })
  }

  return {
    answered() {
      answeredAt = now()
      if (downAt === null) return
      const downMs = answeredAt - downAt
      downAt = null
      events.emit('database:up', { queue: null, downMs })
    },
    failed(error, askedAt) {
      if (askedAt < answeredAt || databaseFault(error) !== 'down') return
      down(error instanceof NotSentError ? error.cause : error)
    },
    down,
  }
}
