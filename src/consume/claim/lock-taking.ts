import type { Dozers, TakeResult } from '../../database/control.js'
import type { UnprotectedReason } from '../../events.js'

/** The queue's sleep lock, K. */
export interface SleepLock {
  holds(): boolean
  take(): Promise<TakeResult>
  release(): void
  /** Say that we doze. @returns the others that do */
  doze(): Promise<Dozers>
  /** Who has it exclusively. */
  blocker(): Promise<number | null>
}

/** How a consumer takes K, and what it does where it cannot. */
interface LockTaking {
  /** @returns whether it is held */
  take(): Promise<boolean>
  /** After this K is tried again, where it could not be had. Otherwise its return is a wake-up itself. */
  readonly retakeMs: number
}

interface LockTakingParts {
  /** null where nothing is listened to. */
  readonly lock: SleepLock | null
  readonly onUnprotected: (reason: UnprotectedReason, pid: number | null) => void
  readonly now: () => number
}

/** How long a lock that somebody holds exclusively is left alone. */
const blockedMs = 5_000

export function createLockTaking({ lock, onUnprotected, now }: LockTakingParts): LockTaking {
  let notBefore = 0
  let retakeMs = Number.POSITIVE_INFINITY
  let told: UnprotectedReason | null = null
  return {
    async take() {
      if (lock === null || now() < notBefore) return false
      const taken = await lock.take()
      retakeMs = taken === 'blocked' || taken === 'limit' ? blockedMs : Number.POSITIVE_INFINITY
      if (taken === 'held') {
        told = null
        return true
      }
      // Nothing of this consumer's own: the listener's health is reported, and its return is a wake-up.
      if (taken === 'deaf') return false
      // Sweeps come every second while a consumer waits without K.
      notBefore = now() + (taken === 'down' ? 0 : blockedMs)
      if (told !== taken) {
        told = taken
        onUnprotected(taken, taken === 'blocked' ? await lock.blocker() : null)
      }
      return false
    },
    get retakeMs() {
      return retakeMs
    },
  }
}
