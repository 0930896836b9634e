import { type Dozers, noDozers } from '../../database/control.js'
import { createWaiters } from '../../wakeup.js'
import { createDoze } from './doze.js'
import { createLockTaking } from './lock-taking.js'
import { createLoopClaim } from './loop-claim.js'
import type { DispatcherParts } from './loop-parts.js'
import { mayClaim } from './loop-state.js'
import { asleep, claimNow, createSleepProtocol, type Step } from './sleep.js'

/**
 * When to claim: one loop per queue. One claim asks for all free slots, and for the jobs that may be held beyond them.
 *
 * - What calls for a claim raises a flag that is cleared before the claim is sent (reasons.ts).
 * - One claim in flight: a second one would find the first one's rows locked, and prove nothing. For short handlers one
 *   goes beside it all the same (beside.ts).
 * - A claim asks for as many jobs as are wanted: free slots and look-ahead (jobs-to-ask-for.ts). While none is wanted
 *   the loop holds no K, so that writers are silent, and waits for a slot.
 * - A claim takes waiting acks along, so they wait while one is in flight or about to be sent (demand.ts), and only
 *   then. Where the answer calls for one more claim at once, that one is sent before the jobs of this one begin
 *   (run/slots.ts): the server works while handlers do.
 * - The sleep protocol decides what comes after a claim. A wait for its next step is ended by every reason to claim;
 *   a linger by every one but notifications, and it is short (sleep.ts). So sweeps, which ask for all that wait, reach
 *   a consumer wherever it is. Only after an error, and while the queue is paused, do they not.
 * - A notification that may be answered late (doze.ts) raises the flag after that time. The claim that follows is for
 *   all that came until then, and a claim for any other reason is as well.
 * - While the gate is closed (the worker is not sure of its presence, the event loop lags, or this consumer is paused),
 *   nothing is claimed, and no K held. A claim that was in flight when it closed may bring jobs: they wait for the
 *   gate, and begin only if they are still ours.
 * - While the queue is paused, for all processes, claims find nothing, and say so. Then no K is held, and the loop
 *   waits to be woken: by the notification of the resume, or by the heartbeat, which looks whether it was missed.
 * - An error is reported, and the claim is repeated with back-off; no error ends the loop.
 */
export interface Dispatcher {
  /** The way to the database is free again: a claim that failed is repeated at once. */
  hurry(): void
  /** A notification named this queue. @returns whether it waited, and is woken by this one */
  notified(): boolean
  /** Asleep without K: writers do not know of it. */
  readonly isUnprotected: boolean
  /** It may leave wake-ups to others that doze, and would know how many they are. */
  readonly countsDozers: boolean
  /** A heartbeat has counted them. */
  dozersSeen(dozers: Dozers): void
  /**
   * Resolves when a claim that began after this call has proven the queue empty; or at the stop.
   *
   * @param orPaused - 'orPaused': or has found it paused
   */
  seenEmpty(orPaused?: 'orPaused'): Promise<void>
  /** Resolves when what the claims beside the loop's have taken is known. */
  readonly besideAnswered: Promise<void>
  /** Claim no more until `resume`. Resolves when no claim is in flight, and K is given up. */
  pause(): Promise<void>
  resume(): void
  /** Resolves with the first claim that was answered. */
  readonly firstClaim: Promise<void>
  /** Claim no more. Resolves when no claim is in flight, and K is given up. */
  stop(): Promise<void>
}

export function createDispatcher<Job>(parts: DispatcherParts<Job>): Dispatcher {
  const { state, reasons, gate, lock, now, random } = parts
  const protocol = createSleepProtocol(now, random, parts.dozes)
  const doze = createDoze({ count: async () => (await lock?.doze()) ?? noDozers, claim: reasons.wakeUp, now, random })
  const locking = createLockTaking(parts)
  const { claim, failed, forgive, beside, proofs, first } = createLoopClaim({ ...parts, protocol, doze })
  const gateChanged = createWaiters()
  /** The pauses that wait for the claim in flight. */
  const parked = createWaiters()

  const holds = (): boolean => lock?.holds() ?? false

  async function loop(): Promise<void> {
    let step: Step = claimNow
    while (!state.isStopping) {
      if (!mayClaim(state, gate)) {
        await stayClosed()
        step = claimNow
      } else if (parts.wanted() <= 0) {
        lock?.release()
        parts.onRest()
        await reasons.freeSlot()
        step = claimNow
      } else {
        step = await carryOut(step)
      }
    }
    state.enter('stopped')
  }

  /** Until something has changed: the loop looks again. */
  async function stayClosed(): Promise<void> {
    state.enter('closed')
    lock?.release()
    parts.onRest()
    await beside.answered
    parked.tellAll()
    const changed = gateChanged.wait()
    if (!gate.isOpen) void gate.opened().then(gateChanged.tellAll)
    await changed
    state.enter('awake')
  }

  async function carryOut(step: Step): Promise<Step> {
    switch (step.do) {
      case 'claim':
        if (step.wakeable) await reasons.rest('waiting', step.inMs, 'notification')
        else await reasons.rest('failing', step.inMs, 'stop')
        return claim()
      case 'linger':
        lock?.release()
        await reasons.rest('lingering', step.inMs, 'call')
        return claim()
      case 'take':
        if (!(await locking.take())) return asleep
        protocol.taken()
        doze.end()
        return claimNow
      case 'look':
        // This may go on for as long as an old writer stays open, with K held.
        await sleep('paying', step.inMs)
        return reasons.isRaised ? claim() : look(step.target)
      case 'doze':
        await doze.begin()
        return asleep
      case 'sleep':
        await sleep('asleep', Math.min(holds() ? Number.POSITIVE_INFINITY : locking.retakeMs, proofs.againMs))
        return claim()
    }
  }

  async function look(target: bigint): Promise<Step> {
    try {
      return protocol.looked(await parts.writing(target))
    } catch (error) {
      return failed(error)
    }
  }

  async function sleep(mode: 'paying' | 'asleep', ms: number): Promise<void> {
    const over = reasons.rest(mode, ms, 'notification')
    if (!holds()) parts.onWaitingUnprotected()
    await over
  }

  const running = loop()

  return {
    hurry() {
      forgive()
      reasons.hurry()
    },
    notified() {
      const { isAsleep } = state
      const isWoken = isAsleep && !reasons.isRaised && !doze.owesAnswer
      if (protocol.notified() || !isAsleep) reasons.wakeUp()
      else doze.notified()
      return isWoken
    },
    get isUnprotected() {
      return state.isAsleep && !holds()
    },
    get countsDozers() {
      return doze.hasBegun
    },
    dozersSeen: doze.seen,
    seenEmpty(orPaused) {
      if (state.isStopping) return Promise.resolve()
      const seen = proofs.wait(orPaused !== undefined)
      reasons.raise()
      return seen
    },
    get besideAnswered() {
      return beside.answered
    },
    pause() {
      if (state.isStopping) return Promise.resolve()
      state.isPaused = true
      const isParked = parked.wait()
      gateChanged.tellAll()
      reasons.look()
      return isParked
    },
    resume() {
      state.isPaused = false
      parked.tellAll()
      gateChanged.tellAll()
    },
    firstClaim: first.promise,
    async stop() {
      state.isStopping = true
      doze.answered()
      parts.onRest()
      gateChanged.tellAll()
      reasons.look()
      await Promise.all([running, beside.answered])
      lock?.release()
      proofs.end()
      parked.tellAll()
      first.resolve()
    },
  }
}
