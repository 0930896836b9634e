import { setImmediate as nextTurn } from 'node:timers/promises'
import { databaseFault, isTimeOut } from '../../database/verdict.js'
import type { Worker } from '../../worker/worker.js'
import type { ClaimedJob } from '../claimed-job.js'
import type { InFlight } from '../in-flight.js'
import type { Run, Runs } from '../run/runs.js'
import type { Slots } from '../run/slots.js'
import type { Carried, Settler } from '../settle/settler.js'
import type { ClaimSize } from './claim-size.js'
import type { Claimer } from './claimer.js'
import type { DueTimer } from './due.js'
import type { Floor } from './floor.js'
import { type LookAhead, roundTripMs } from './look-ahead.js'
import type { ClaimAnswer } from './loop-parts.js'
import type { Quota } from './quota.js'

/**
 * One claim, from its sending to its answer: the acks that it takes along, what is learned from it, and its jobs, which
 * are counted and known (in-flight.ts, runs.ts) from the very turn of its answer.
 *
 * A claim that carries acks and fails is sent once more without them, and they go alone: they may be at fault, and the
 * next error of a claim is the claim's own then.
 */
export interface Claims {
  /**
   * @param limit - jobs that it asks for
   * @param proves - whether it matters if ready jobs are left behind
   * @throws as `Claimer.claim`
   */
  claim(limit: number, proves: boolean): Promise<ClaimAnswer<Run>>
  /** The queue was seen paused. What a claim in flight brings begins only where a slot is free. */
  queuePaused(): void
}

interface ClaimsParts {
  readonly durable: boolean
  readonly worker: Worker
  readonly claimer: Claimer
  readonly settler: Settler
  readonly inFlight: InFlight
  readonly runs: Runs
  readonly slots: Slots<Run>
  readonly floor: Floor
  readonly due: DueTimer
  readonly claimSize: ClaimSize
  readonly lookAhead: LookAhead
  readonly quota: Quota
  /** A claim was answered, with these jobs. */
  readonly onAnswered: (asked: number, jobs: readonly ClaimedJob[]) => void
  /** What is held, and has not begun, goes back. */
  readonly giveBackHeld: () => void
  readonly now: () => number
}

export function createClaims(parts: ClaimsParts): Claims {
  const { worker, claimer, settler, inFlight, runs, slots, floor, due, claimSize, lookAhead, quota, now } = parts
  /** How often the queue was seen to be paused for all processes. */
  let pauses = 0

  async function claim(limit: number, proves: boolean): Promise<ClaimAnswer<Run>> {
    const workerId = worker.id
    const carried = settler.carry(workerId)
    if (carried === null) return send(limit, workerId, proves, null)
    try {
      return await send(limit, workerId, proves, carried)
    } catch (error) {
      carried.failed(error)
      const fault = databaseFault(error)
      if (fault === 'down' || fault === 'unknown') throw error
    }
    return send(Math.min(limit, claimSize.most), workerId, proves, null)
  }

  async function send(
    limit: number,
    workerId: string,
    proves: boolean,
    carried: Carried | null,
  ): Promise<ClaimAnswer<Run>> {
    const acks = carried?.acks ?? []
    const from = floor.next(proves)
    const before = { sentAt: now(), promotions: due.promotions, pauses, fullMs: slots.fullMs }
    const flight = inFlight.claimSent(limit, acks.length, before.sentAt)
    try {
      const mayBeForgotten = !parts.durable && worker.isTrusted
      const { claimed, acked, tookMs } = await claimer.claim(limit, workerId, { acks, from, proves, mayBeForgotten })
      carried?.arrived(acked)
      const { jobs, paused } = claimed
      const measuredMs = now() - before.sentAt
      const tripMs = roundTripMs(measuredMs, tookMs)
      if (!paused) due.claimed(claimed)
      const isFull = claimed.found === claimed.asked
      floor.answered({ from, tripMs, jobs, isFull })
      claimSize.answered({ asked: limit, jobs, tookMs: measuredMs })
      const emptyMs = measuredMs - (slots.fullMs - before.fullMs)
      lookAhead.answered({ tripMs, emptyMs, isFull, busyMs: slots.busyMs })
      // Due rows that are promoted in this moment are left behind as well: they are ready in the next.
      const leftBehind = claimed.leftBehind || due.isPromoting || due.promotions !== before.promotions
      const added = runs.add(jobs)
      flight.answered(jobs.length)
      // A claim that was sent before the pause: what finds a slot begins, and the rest goes back.
      if (paused || pauses !== before.pauses) void nextTurn().then(parts.giveBackHeld)
      quota.claimed(jobs)
      parts.onAnswered(claimed.asked, jobs)
      return { ...claimed, leftBehind, jobs: added, tripMs: measuredMs }
    } catch (error) {
      if (isTimeOut(error)) claimSize.timedOut(limit)
      throw error
    } finally {
      flight.over()
    }
  }

  return {
    claim,
    queuePaused() {
      pauses += 1
    },
  }
}
