import createDebug from 'debug'
import { isJobId } from '../checks.js'
import { toError } from '../errors.js'

const log = createDebug('bugle:cancels')

/**
 * Cancels of running jobs, as notifications name them. A notification is a hint: NOTIFY knows no privileges, so anybody
 * may send one. The rows say what is cancelled. They are asked by a statement of its own, since a heartbeat may have to
 * wait.
 *
 * One statement at a time; jobs that are named meanwhile go with the next. One that fails is not repeated: the next
 * heartbeat tells of whatever is to be cancelled.
 */
interface Cancels {
  /** The job is said to be cancelled. */
  hinted(jobId: string): void
}

interface CancelsParts {
  /** Which of these running jobs of ours are to be cancelled. */
  readonly look: (jobIds: readonly string[]) => Promise<readonly string[]>
  readonly cancel: (jobId: string) => void
}

/** Who sends more at once than this is not one of ours, or the heartbeat must do. */
const mostHinted = 1_000

export function createCancels({ look, cancel }: CancelsParts): Cancels {
  const hinted = new Set<string>()
  let isLooking = false

  async function lookAtAll(): Promise<void> {
    if (isLooking) return
    isLooking = true
    while (hinted.size > 0) {
      const ids = [...hinted]
      hinted.clear()
      try {
        for (const id of await look(ids)) cancel(id)
      } catch (error) {
        log('left to the heartbeat: %s', toError(error).message)
      }
    }
    isLooking = false
  }

  return {
    hinted(jobId) {
      if (!isJobId(jobId) || hinted.size >= mostHinted) return
      hinted.add(jobId)
      void lookAtAll()
    },
  }
}
