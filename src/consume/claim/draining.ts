import { setTimeout as sleep } from 'node:timers/promises'
import { toError } from '../../errors.js'
import type { InFlight } from '../in-flight.js'
import type { Quota } from './quota.js'

/**
 * When a consumer that drains its queue is done: of the jobs that were there, and of those that its own runs put or
 * gave back, none is ready.
 *
 * A claim that comes back short, with nothing left behind, proves that its snapshot showed no ready job but those it
 * took. Its answer comes later, and it has not seen what happens in between. So a claim proves that the queue has run
 * dry if
 *
 * - it was asked for while this consumer was **still**: no outcome waits to be durable, and no slot is taken, not even
 *   by a hook;
 * - **nothing was claimed** here from the moment it was asked for until its answer: not by itself, not by a claim that
 *   was in flight then, and not by a claim beside it, whose answer we wait for as well (beside.ts).
 *
 * Otherwise, wait until what was claimed is over, and claim again.
 *
 * **Why none is left.** Such a claim began and ended without a run of ours. What was ready before it, ours or not, its
 * snapshot showed, unless others had it; what our runs made ready was committed before it was sent: a run is over when
 * its outcome is durable, and a handler or hook that has ended has put what it puts. After it nothing of ours ran that
 * could make more. What may interleave:
 *
 * - a job runs while a claim takes its snapshot, and goes back without a delay, or puts another and is settled, before
 *   that claim's answer is here. Nothing runs then, and the claim saw nothing. But this consumer was not still when the
 *   claim was asked for, or the job was claimed since;
 * - due jobs become ready by this consumer's own promotion, which commits after the claim's snapshot: a claim during
 *   which one was in flight, or has ended, counts as one that left jobs behind (claims.ts);
 * - a claim beside the loop's own takes jobs before the loop's claim looks, and is answered after it;
 * - a job of others, locked by a transaction of theirs: it is left behind, so the claim proves nothing;
 * - a put of others that commits after the snapshot: nobody is promised that it runs.
 *
 * **Until 'scheduled'** nothing may be scheduled either. One that was when the claim looked may have become ready (any
 * worker promotes what is due) when we look for scheduled ones; so, when none is left, the queue must run dry once
 * more, without a job that might have scheduled another.
 *
 * It may never come to an end: while claims fail, others go on putting, or somebody holds a due or ready row locked.
 * Stop ends it.
 *
 * What it cannot know: what a handler does after it has ended, and jobs that were taken by a claim whose answer was
 * lost. Those go back when the worker leaves, or a heartbeat finds them. It does not count jobs that the database
 * refuses to claim, or to make ready though they are due: they are passed over (claimer.ts), each for longer than the
 * time before, so a drain finds a moment in which all of them are. It waits for an outcome that the database refuses.
 */
interface Draining {
  /**
   * Resolves once nothing runs and nothing is ready (with 'scheduled': nothing is ready or scheduled). It resolves
   * earlier when the queue is paused for all processes, or when the limit is reached and what was claimed has run. At a
   * stop it may never resolve.
   */
  drained(until: 'ready' | 'scheduled'): Promise<void>
}

export interface DrainingParts {
  readonly quota: Pick<Quota, 'used'>
  readonly inFlight: Pick<InFlight, 'everClaimed'>
  /**
   * Resolves when a claim that began after this call has proven the queue empty, or has found it paused; or at the
   * stop.
   */
  readonly seenEmpty: () => Promise<void>
  /** Resolves when the claims beside the loop's own are answered. */
  readonly besideAnswered: () => Promise<void>
  /** The last claim found the queue paused. */
  readonly isQueuePaused: () => boolean
  /** No run is left, and no slot taken. */
  readonly isStill: () => boolean
  /** Resolves when the runs of all jobs claimed before this call are over, with their events and hooks. */
  readonly runsOver: () => Promise<void>
  readonly isStopping: () => boolean
  /** In how many ms the next scheduled job is due that it may take and does not pass over; null: there is none. */
  readonly nextScheduled: () => Promise<number | null>
  readonly onError: (error: Error) => void
}

/** How often a drain that waits for scheduled jobs looks whether there are any left. */
const scheduledLookMs = 1_000

export function createDraining(parts: DrainingParts): Draining {
  const { quota, inFlight, isStopping } = parts

  /** Resolves also where the queue is found paused, and at the stop. */
  async function ranDry(): Promise<void> {
    for (;;) {
      const wasStill = parts.isStill()
      const before = inFlight.everClaimed
      await parts.seenEmpty()
      await parts.besideAnswered()
      if (isStopping() || (wasStill && inFlight.everClaimed === before)) return
      await parts.runsOver()
    }
  }

  async function nothingLeft(until: 'ready' | 'scheduled'): Promise<void> {
    let overdueWaitMs = 1
    let before = inFlight.everClaimed
    for (;;) {
      await ranDry()
      if (until === 'ready' || parts.isQueuePaused() || isStopping()) return
      const hasClaimed = inFlight.everClaimed > before
      before = inFlight.everClaimed
      const dueInMs = await parts.nextScheduled().catch((error) => {
        parts.onError(toError(error))
        return scheduledLookMs
      })
      if (dueInMs === null) {
        await ranDry()
        if (inFlight.everClaimed === before) return
        continue
      }
      // One that is due and does not become ready is locked by somebody.
      overdueWaitMs = dueInMs > 0 || hasClaimed ? 1 : Math.min(overdueWaitMs * 2, scheduledLookMs)
      // Its own timer starts it. Others may take it meanwhile, or cancel it, and nobody tells.
      await sleep(Math.min(Math.max(dueInMs, 0) + overdueWaitMs, scheduledLookMs), undefined, { ref: false })
    }
  }

  return {
    drained: (until) => Promise.race([nothingLeft(until), quota.used.then(parts.runsOver)]),
  }
}
