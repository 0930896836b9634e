import { createWaiters } from '../wakeup.js'

/**
 * Where this consumer's jobs are: the only counters of it.
 *
 * A job is in exactly one place, from the claim that asks for it until its outcome is durable, or refused by the fence:
 *
 *     asked for -> held -> begun -> gone
 *
 * - **asked for**: a claim in flight may bring it. The claim's answer says how many are held from then on; the others
 *   were none.
 * - **held**: claimed, and waits for a slot.
 * - **begun**: it runs, or its outcome is on its way or waits for that. One that is given back has begun, too.
 *
 * Each step is made by the one part that makes it happen, in that very turn of the event loop: claims.ts (asked for,
 * held), the slots (begun), the run's outcome (gone). So whoever reads several counters at once sees them agree. A step
 * is an addition, and three are made per job.
 */
export interface InFlight extends Where {
  /** Since the start, by whatever claim. */
  readonly everClaimed: number
  /** When the oldest claim in flight was sent, on performance.now(); null: none is in flight. */
  readonly oldestClaimAt: number | null
  /** @param acks - that it takes along */
  claimSent(jobs: number, acks: number, at: number): ClaimInFlight
  /** So many that were held run now, or are given back. */
  begun(jobs: number): void
  /** One is gone. */
  settled(): void
  /** Resolves when none is claimed. */
  empty(): Promise<void>
}

/** The counters. */
export interface Where {
  /** By claims in flight. */
  readonly asked: number
  readonly held: number
  /** Held or begun. */
  readonly claimed: number
  /** Acks on their way with claims in flight. */
  readonly travelling: number
}

export interface ClaimInFlight {
  /** It has brought so many. */
  answered(jobs: number): void
  /** It is over, with an answer or without. */
  over(): void
}

export function createInFlight(): InFlight {
  let asked = 0
  let held = 0
  let claimed = 0
  let travelling = 0
  let everClaimed = 0
  /** Of the claims in flight, when each was sent; the oldest first. */
  const sentAt: number[] = []
  const awaitingEmpty = createWaiters()

  return {
    get asked() {
      return asked
    },
    get held() {
      return held
    },
    get claimed() {
      return claimed
    },
    get travelling() {
      return travelling
    },
    get everClaimed() {
      return everClaimed
    },
    get oldestClaimAt() {
      return sentAt[0] ?? null
    },
    claimSent(jobs, acks, at) {
      asked += jobs
      travelling += acks
      sentAt.push(at)
      return {
        answered(found) {
          held += found
          claimed += found
          everClaimed += found
        },
        over() {
          asked -= jobs
          travelling -= acks
          sentAt.splice(sentAt.indexOf(at), 1)
        },
      }
    },
    begun(jobs) {
      held -= jobs
    },
    settled() {
      claimed -= 1
      if (claimed === 0) awaitingEmpty.tellAll()
    },
    empty: () => (claimed === 0 ? Promise.resolve() : awaitingEmpty.wait()),
  }
}
