import createDebug from 'debug'
import { sqlState } from '../database/verdict.js'
import { toError } from '../errors.js'

const log = createDebug('bugle:worker')

/**
 * Who keeps our heartbeats waiting: somebody holds a lock on the worker's row or on its table (a `for update` in psql,
 * a script). It is reported once, until a heartbeat is answered again.
 *
 * The server says only while a statement waits whom it waits for. So a heartbeat that has no answer for some time is
 * asked after by another connection, before its own lock time-out ends it.
 */
interface Blocked {
  /** Watch a heartbeat. Resolves and rejects as it does. */
  watch<T>(beat: Promise<T>): Promise<T>
}

interface BlockedOptions {
  /** Of the backend that runs heartbeats; null: not known. */
  readonly ownPid: () => number | null
  /** The pids of those who keep that backend waiting for a lock. */
  readonly blockers: (pid: number) => Promise<readonly number[]>
  /** `pid` null: it was not seen. */
  readonly onBlocked: (pid: number | null) => void
}

/** Longer than a heartbeat takes, and half of the lock time-out that ends it. */
const patienceMs = 500
const lockNotAvailable = '55P03'

export function createBlocked({ ownPid, blockers, onBlocked }: BlockedOptions): Blocked {
  let isReported = false

  function report(pid: number | null): void {
    if (isReported) return
    isReported = true
    onBlocked(pid)
  }

  async function look(pid: number): Promise<void> {
    try {
      const [blocker] = await blockers(pid)
      if (blocker !== undefined) report(blocker)
    } catch (error) {
      log('blockers of %d: %s', pid, toError(error).message)
    }
  }

  return {
    async watch(beat) {
      let looking = Promise.resolve()
      const timer = setTimeout(() => {
        const pid = ownPid()
        if (pid !== null) looking = look(pid)
      }, patienceMs).unref()
      try {
        const answer = await beat
        isReported = false
        return answer
      } catch (error) {
        if (sqlState(error) === lockNotAvailable) void looking.then(() => report(null))
        throw error
      } finally {
        clearTimeout(timer)
      }
    },
  }
}
