import type { ClaimedJob } from '../claimed-job.js'

/**
 * When a consumer has an express lane. It pays where a backlog of short jobs waits that are for it, so:
 *
 * - **It opens** after a durable claim that came back full, while look-ahead is large (handlers have been short), and
 *   whose rows were nearly all fit for it: a lane must not walk over a backlog of others at each claim.
 * - **It ends** after a claim that was short or slow, after a batch of which a quarter was kept, and when it fails.
 * - **Then there is none** for a second; and for twice as long as the last time, up to a minute, if it was open for
 *   less than that. After its session was lost there is none for a minute: a job may have ended the server, and on a
 *   lane nobody counts that.
 *
 * What else speaks against a lane (options, a pause, a crash that was seen) is for its consumer to say.
 */
export interface LaneTimes {
  /** Asked when a durable claim was answered. */
  mayOpen(claim: DurableClaim): boolean
  opened(): void
  /** The lane's claim was answered. @returns whether it goes on after this batch */
  claimed(claim: LaneClaim): boolean
  /** A batch is to be written. @returns whether it goes on after it */
  written(batch: { readonly jobs: number; readonly kept: number; readonly free: number }): boolean
  /** `wasAsked`: it was closed by its consumer, and would have gone on. */
  ended(how: 'closed' | 'refused' | 'failed' | 'lost', wasAsked: boolean): void
}

export interface LaneClaim {
  readonly asked: number
  readonly found: number
  /** On the server. */
  readonly tookMs: number
  /** It looked at higher ids only; null: at all. */
  readonly from: string | null
  /** Of its lane: the server has nothing prepared for it, so it may be slow. */
  readonly isFirst: boolean
}

export interface DurableClaim {
  readonly asked: number
  readonly found: number
  /** Of those found, how many a lane would have taken. */
  readonly fit: number
  /** Look-ahead, in jobs. */
  readonly ahead: number
}

/** Whether a lane would have taken a job that a durable claim has taken, as far as can be told from that. */
export function isFit({ job: { key, crashes }, bytes }: ClaimedJob): boolean {
  return key === null && crashes === 0 && bytes <= mostBytes
}

/** As express_claim.sql has it, of what is stored; text is somewhat longer. */
const mostBytes = 8_192
const leastAhead = 100
const leastFit = 0.9
const slowMs = 20
const mostKept = 0.25
const pauseMs = { least: 1_000, most: 60_000 } as const

/** @param now - ms of a clock that never jumps */
export function createLaneTimes(now: () => number): LaneTimes {
  let closedUntil = Number.NEGATIVE_INFINITY
  /** The last pause. */
  let lastMs = 0
  let openedAt = 0
  return {
    mayOpen({ asked, found, fit, ahead }) {
      return found >= asked && ahead >= leastAhead && fit >= leastFit * found && now() >= closedUntil
    },
    opened() {
      openedAt = now()
    },
    // Of a short claim that did not look at all ids nothing follows: the next one does.
    claimed: ({ asked, found, tookMs, from, isFirst }) =>
      (found >= asked || (from !== null && found > 0)) && (tookMs <= slowMs || isFirst),
    // Where none has begun, slots are taken by others.
    written: ({ jobs, kept, free }) => kept < mostKept * jobs && free < jobs,
    ended(how, wasAsked) {
      if (how === 'closed' && wasAsked) return
      const at = now()
      const grownMs = at - openedAt >= lastMs ? pauseMs.least : Math.min(2 * lastMs, pauseMs.most)
      lastMs = how === 'lost' ? pauseMs.most : grownMs
      closedUntil = at + lastMs
    },
  }
}
