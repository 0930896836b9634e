import { noDozers, type QueueLock } from '../database/control.js'
import { callOf } from '../worker/call.js'
import { createClaimer } from './claim/claimer.js'
import { createClaims } from './claim/claims.js'
import { createDispatcher } from './claim/dispatcher.js'
import { createDraining } from './claim/draining.js'
import { createDueTimer } from './claim/due.js'
import { createFloor } from './claim/floor.js'
import type { SleepLock } from './claim/lock-taking.js'
import type { ConsumerParts } from './consumer-parts.js'
import type { Core } from './core.js'
import { createExpress } from './express/express.js'
import { isFit } from './express/when.js'
import type { Run } from './run/runs.js'
import type { Running } from './running.js'
import type { Choice } from './statements.js'

/** From what calls for a claim to the claim's answer. */
export type Claiming = ReturnType<typeof createClaiming>

export function createClaiming(parts: ConsumerParts, core: Core, running: Running) {
  const { queue, handlers, options, database, worker, events, random } = parts
  const { now, state, reasons, inFlight, lookAhead, claimSize, quota, demand, turns, claimError } = core
  const { settler, runs, slots } = running
  const choice: Choice = { queue, kinds: handlers.kinds, withoutFlags: options.withoutFlags }

  const claimer = createClaimer({
    database,
    choice,
    turn: parts.suspectTurn,
    turns,
    freeFor: (limit) => slots.free - (inFlight.asked - limit),
    onTurn: lookAhead.suspected,
    onSuspects: () => {
      state.suspectsSeenAt = now()
    },
    wake: reasons.raise,
    onError: claimError,
    now,
  })

  const due = createDueTimer({
    isWaiting: () => state.isWaiting,
    wake: reasons.raise,
    promote: claimer.promote,
    onError: claimError,
    now,
  })

  const lanes = createExpress(parts, core, running, choice)

  const claims = createClaims({
    durable: options.durableClaims,
    worker,
    claimer,
    settler,
    inFlight,
    runs,
    slots,
    floor: createFloor(now),
    due,
    claimSize,
    lookAhead,
    quota,
    onAnswered: (asked, jobs) => {
      const found = jobs.length
      const fit = found === asked ? jobs.filter(isFit).length : found
      state.leastBeside = fit < found ? Math.min(2 * state.leastBeside, options.concurrency) : 1
      if (found === asked) lanes.answered({ asked, found, fit, ahead: lookAhead.jobs })
    },
    giveBackHeld: running.giveBackHeld,
    now,
  })

  /** A claim for one job is full whenever it finds one: that says nothing of others, so they are looked for. */
  async function callOthers(asked: number): Promise<void> {
    if (asked === 1 && !(await hasReady())) return
    await database.query('call', [callOf(queue)])
  }

  async function hasReady(): Promise<boolean> {
    const seen = await database.query<{ ready: boolean }>('sweep', [JSON.stringify([queue])])
    return seen.some(({ ready }) => ready)
  }

  const dispatcher = createDispatcher<Run>({
    state,
    reasons,
    claim: claims.claim,
    start: slots.start,
    giveBack: running.giveBack,
    gate: worker,
    wanted: () => demand.jobs(settler.waitingAcks),
    overlaps: () => demand.overlaps,
    onRest: settler.flush,
    lock: parts.listens ? lockOf(parts) : null,
    dozes: choice.kinds === null && choice.withoutFlags.length === 0,
    // What cannot be sent is not missed: each of them comes by itself, a little later.
    callOthers: (asked) => void callOthers(asked).catch(() => {}),
    writing: async (target) =>
      (await database.query<{ writing: boolean }>('writers', [String(target)]))[0]?.writing ?? true,
    onError: claimError,
    onUnprotected: (reason, pid) => events.emit('consumer:unprotected', { queue, reason, pid }),
    onWaitingUnprotected: worker.hurrySweep,
    now,
    random,
  })

  const draining = createDraining({
    quota,
    inFlight,
    seenEmpty: () => dispatcher.seenEmpty('orPaused'),
    besideAnswered: () => dispatcher.besideAnswered,
    isQueuePaused: () => state.mode === 'queue-paused',
    isStill: () => inFlight.claimed === 0 && slots.taken === 0,
    // Wait for the runs first: those of the last claim may not have reached their slots yet. Then wait for their events
    // and hooks, which keep the slots.
    runsOver: () => inFlight.empty().then(slots.onIdle),
    isStopping: () => state.isStopping,
    nextScheduled: claimer.nextScheduled,
    onError: claimError,
  })

  /** Handlers may put further jobs into their own queue: look again until both hold at once. */
  async function quiet(): Promise<void> {
    do {
      await dispatcher.seenEmpty()
      await dispatcher.besideAnswered
      await running.over()
      if (state.isStopping) return
      await dispatcher.seenEmpty()
    } while (inFlight.claimed > 0)
  }

  return {
    due,
    dispatcher,
    lanes,
    quiet,
    drained: draining.drained,
    queuePaused(): void {
      claims.queuePaused()
      void lanes.close()
      if (slots.held > 0) running.giveBackHeld()
    },
  }
}

/** The queue's K, by whatever control session the worker has. There is none before the listener has been proven. */
function lockOf({ queue, worker }: ConsumerParts): SleepLock {
  let lock: QueueLock | null = null
  return {
    holds: () => lock?.holds() ?? false,
    take: async () => {
      lock ??= worker.control?.lock(queue) ?? null
      return lock?.take() ?? 'down'
    },
    release: () => lock?.release(),
    doze: async () => lock?.doze() ?? noDozers,
    blocker: async () => lock?.blocker() ?? null,
  }
}
