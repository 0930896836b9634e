import { setImmediate as nextTurn } from 'node:timers/promises'
import createDebug from 'debug'
import { type Dozers, noDozers, type TakeResult } from '../../database/control.js'
import { toError } from '../../errors.js'
import type { UnprotectedReason } from '../../events.js'
import { withResolvers } from '../../with-resolvers.js'
import { createDoze } from './doze.js'
import { asleep, type ClaimSigns, claimNow, createSleepProtocol, type Step } from './sleep.js'

const log = createDebug('bugle:dispatcher')

/**
 * When to claim: one loop per queue. One claim asks for all free slots, and for the jobs that may be held beyond them.
 *
 * - One flag, `raised`. Each reason to claim raises it. It is cleared *before* a claim is sent, so a notification that
 *   lands during the claim leaves it up, and one more claim follows.
 * - One claim in flight: a second one would find the first one's rows locked, and prove nothing. But when handlers are
 *   short (`overlaps`) and claims come back full, a second one goes beside the first. It asks for as many jobs as have
 *   ended since the first was sent, so the server does not wait while an answer is read here. The second claim proves
 *   nothing: whether it is full or not, the loop goes on by its own claims alone. Those see the jobs that it has taken
 *   and not committed as left behind.
 * - A claim asks for as many jobs as are wanted: free slots and look-ahead (look-ahead.ts). While none is wanted the
 *   loop holds no K, so that writers are silent, and waits for a slot.
 * - A claim takes waiting acks along, so they wait while one is in flight or about to be sent (`isAboutToClaim`), and
 *   only then. Where the answer calls for one more claim at once, that one is sent before the jobs of this one begin
 *   (slots.ts): the server works while handlers do.
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
interface Dispatcher {
  /** There may be jobs: a sweep found some, or a session is back. */
  raise(): void
  /** The way to the database is free again: a claim that failed is repeated at once. */
  hurry(): void
  /** A job may be wanted again: a slot is free, or will be with the next claim. */
  slotFreed(): void
  /** A claim is in flight, or will be sent in this turn of the event loop or the next: acks had better go with it. */
  readonly isAboutToClaim: boolean
  /** A notification named this queue. @returns whether it waited, and is woken by this one */
  notified(): boolean
  /** Whether it waits, asleep or for its next claim: then, and only then, a sweep is of use to it. */
  readonly isWaiting: boolean
  /** Whether it waits for a wake-up, and for nothing else. */
  readonly isAsleep: boolean
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
  /** The last claim found the queue paused. */
  readonly isQueuePaused: boolean
  /** Claim no more until `resume`. Resolves when no claim is in flight, and K is given up. */
  pause(): Promise<void>
  resume(): void
  readonly isPaused: boolean
  /** Resolves with the first claim that was answered. */
  readonly firstClaim: Promise<void>
  /** Claim no more. Resolves when no claim is in flight, and K is given up. */
  stop(): Promise<void>
}

export interface ClaimAnswer<Job> extends ClaimSigns {
  readonly jobs: readonly Job[]
  /** The queue is, for all processes: nothing was taken, whatever is there. */
  readonly paused: boolean
}

/** Whether something may be claimed, and begin, in this process. */
export interface Gate {
  readonly isOpen: boolean
  /** Resolves when it is open, or will not be any more. */
  opened(): Promise<void>
}

export interface DispatcherParts<Job> {
  /** `proves`: whether it matters if ready jobs are left behind; otherwise `leftBehind` is false. */
  readonly claim: (limit: number, proves: boolean) => Promise<ClaimAnswer<Job>>
  readonly start: (jobs: readonly Job[]) => void
  /** Jobs that were claimed and shall not run: the consumer has stopped meanwhile. */
  readonly giveBack: (jobs: readonly Job[]) => void
  readonly gate: Gate
  /** How many jobs the next claim should ask for, whatever is in flight. 0 or less: none. */
  readonly wanted: () => number
  /** Whether a second claim may be in flight: one that only takes. */
  readonly overlaps: () => boolean
  /** No claim is about to be sent any more: what waited for one need not wait. */
  readonly onRest: () => void
  /** The queue's sleep lock; null where nothing is listened to. */
  readonly lock: SleepLock | null
  /** Whether it may leave a wake-up to others that sleep: not if it takes some jobs only. */
  readonly dozes: boolean
  /**
   * A claim for so many jobs was full: there may be more than those who are awake can take. Wake those who doze, if so.
   */
  readonly callOthers: (asked: number) => void
  /** Whether a transaction with an id below `target` holds ROW EXCLUSIVE on the job table. */
  readonly writing: (target: bigint) => Promise<boolean>
  readonly onError: (error: Error) => void
  readonly onUnprotected: (reason: UnprotectedReason, pid: number | null) => void
  /** It waits for a wake-up without K: sweeps must come often now. */
  readonly onWaitingUnprotected: () => void
  readonly now: () => number
  readonly random: () => number
}

interface SleepLock {
  holds(): boolean
  take(): Promise<TakeResult>
  release(): void
  /** Say that we doze. @returns the others that do */
  doze(): Promise<Dozers>
  /** Who has it exclusively. */
  blocker(): Promise<number | null>
}

const noop = (): void => {}
/** How long a lock that somebody holds exclusively is left alone. */
const blockedMs = 5_000

export function createDispatcher<Job>(parts: DispatcherParts<Job>): Dispatcher {
  const { lock, now, random } = parts
  const protocol = createSleepProtocol(now, random, parts.dozes)
  const doze = createDoze({ count: async () => (await lock?.doze()) ?? noDozers, claim: wakeUp, now, random })
  let raised = false
  /** Raised by something else than a notification. */
  let isCalled = false
  let stopping = false
  let paused = false
  let isQueuePaused = false
  /** Resolves the pauses that wait for the claim in flight. */
  const awaitingPark: (() => void)[] = []
  let isWaiting = false
  let isAsleep = false
  let isClaiming = false
  let beside: Promise<void> | null = null
  let isBesideComing = false
  /** The last answer, of either. */
  let wasFull = false
  let isAwaitingSlot = false
  let errors = 0
  let takeNotBefore = 0
  /** After this K is tried again, where it could not be had. Otherwise its return is a wake-up itself. */
  let retakeMs = Number.POSITIVE_INFINITY
  let told: UnprotectedReason | null = null
  let wake = (): void => {}
  /** Ends a rest of whatever kind, also the pause after a failure. */
  let isHurried = false
  let wakeSlot = noop
  let wakeGate = (): void => {}
  let awaitingEmpty: AwaitingEmpty[] = []
  const first = withResolvers<void>()

  const holds = (): boolean => lock?.holds() ?? false

  async function loop(): Promise<void> {
    let step: Step = claimNow
    while (!stopping) {
      if (!mayClaim()) {
        lock?.release()
        parts.onRest()
        await beside
        for (const tell of awaitingPark.splice(0)) tell()
        await gateOpened()
        step = claimNow
        continue
      }
      if (parts.wanted() <= 0) {
        lock?.release()
        parts.onRest()
        await slotFreed()
        step = claimNow
        continue
      }
      step = await carryOut(step)
    }
  }

  async function carryOut(step: Step): Promise<Step> {
    switch (step.do) {
      case 'claim':
        await rest(step.inMs, step.wakeable ? 'notification' : 'stop')
        return claim()
      case 'linger':
        lock?.release()
        await rest(step.inMs, 'call')
        return claim()
      case 'take':
        return take()
      case 'look':
        // This may go on for as long as an old writer stays open, with K held.
        await sleep(step.inMs)
        return raised ? claim() : look(step.target)
      case 'doze':
        await doze.begin()
        return asleep
      case 'sleep':
        await sleep(holds() ? Number.POSITIVE_INFINITY : retakeMs)
        return claim()
    }
  }

  async function claim(): Promise<Step> {
    for (;;) {
      const asked = parts.wanted()
      // The loop looks again before anything else.
      if (stopping || !mayClaim() || asked <= 0) {
        parts.onRest()
        return claimNow
      }
      // Before the claim: what lands during it must leave the flag up.
      raised = false
      isCalled = false
      doze.answered()
      const toTell = awaitingEmpty
      awaitingEmpty = []
      let answer: ClaimAnswer<Job>
      isClaiming = true
      try {
        const answering = parts.claim(asked, holds() || toTell.length > 0)
        claimBeside()
        answer = await answering
      } catch (error) {
        awaitingEmpty.push(...toTell)
        return failed(error)
      } finally {
        isClaiming = false
      }
      errors = 0
      if (log.enabled) log('claimed %d of %d', answer.found, answer.asked)
      begin(answer.jobs)
      first.resolve()
      const isEmpty = answer.found < answer.asked && !answer.leftBehind && !answer.paused
      for (const awaiting of toTell) {
        if (isEmpty || (answer.paused && awaiting.orPaused)) awaiting.tell()
        else awaitingEmpty.push(awaiting)
      }
      wasFull = answer.found === answer.asked
      if (wasFull && doze.isDozing) parts.callOthers(answer.asked)
      if (answer.found > 0) doze.end()
      const step = answer.paused ? null : protocol.claimed(answer, holds())
      if (step === claimNow) continue
      parts.onRest()
      return step ?? waitForResume()
    }
  }

  function begin(jobs: readonly Job[]): void {
    if (stopping) parts.giveBack(jobs)
    else if (jobs.length > 0) parts.start(jobs)
  }

  /** While the loop's own claim is in flight. */
  function claimBeside(): void {
    if (beside !== null || !isClaiming || !wasFull || stopping || !mayClaim() || !parts.overlaps()) return
    const asked = parts.wanted()
    if (asked <= 0) return
    beside = takeBeside(asked).finally(() => {
      beside = null
      // The jobs that it asked for and did not find are wanted again. No other event may wake the loop for them.
      wakeSlot()
    })
  }

  async function takeBeside(asked: number): Promise<void> {
    try {
      const { jobs, found } = await parts.claim(asked, false)
      wasFull = found === asked
      begin(jobs)
    } catch (error) {
      // The loop's own claims meet the same error, and report it.
      log('a claim beside failed: %s', toError(error).message)
      wasFull = false
    }
  }

  async function waitForResume(): Promise<Step> {
    lock?.release()
    isQueuePaused = true
    await rest(Number.POSITIVE_INFINITY, 'notification')
    isQueuePaused = false
    return claimNow
  }

  async function take(): Promise<Step> {
    if (lock === null || now() < takeNotBefore) return asleep
    const taken = await lock.take()
    retakeMs = taken === 'blocked' || taken === 'limit' ? blockedMs : Number.POSITIVE_INFINITY
    if (taken === 'held') {
      told = null
      protocol.taken()
      doze.end()
      return claimNow
    }
    // Nothing of this consumer's own: the listener's health is reported, and its return is a wake-up.
    if (taken === 'deaf') return asleep
    // Sweeps come every second while a consumer waits without K.
    takeNotBefore = now() + (taken === 'down' ? 0 : blockedMs)
    if (told !== taken) {
      told = taken
      parts.onUnprotected(taken, taken === 'blocked' ? await lock.blocker() : null)
    }
    return asleep
  }

  async function look(target: bigint): Promise<Step> {
    try {
      return protocol.looked(await parts.writing(target))
    } catch (error) {
      return failed(error)
    }
  }

  function failed(error: unknown): Step {
    parts.onRest()
    parts.onError(toError(error))
    errors += 1
    const inMs = Math.min(50 * 2 ** errors, 2_000) * (0.5 + random())
    log('failed %d times, again in %d ms', errors, inMs)
    return { do: 'claim', inMs, wakeable: false }
  }

  async function sleep(ms: number): Promise<void> {
    isAsleep = true
    if (!holds()) parts.onWaitingUnprotected()
    await rest(ms, 'notification')
    isAsleep = false
  }

  async function rest(ms: number, endsWith: EndOfRest): Promise<void> {
    isWaiting = endsWith !== 'stop' && !isQueuePaused
    isHurried = false
    await restUntil(ms, () => {
      if (stopping || paused || isHurried) return true
      return endsWith === 'notification' ? raised : endsWith === 'call' && isCalled
    })
    isWaiting = false
  }

  /** Wait, unless or until it is over: asked whenever something may have changed that. */
  function restUntil(ms: number, isOver: () => boolean): Promise<void> {
    if (ms <= 0 || isOver()) return Promise.resolve()
    return new Promise((resolve) => {
      const timer = ms === Number.POSITIVE_INFINITY ? undefined : setTimeout(done, ms)
      function done(): void {
        clearTimeout(timer)
        wake = () => {}
        resolve()
      }
      wake = () => {
        if (isOver()) done()
      }
    })
  }

  /** One promise at a time, and none that lives on: this runs with every batch of jobs. */
  async function slotFreed(): Promise<void> {
    isAwaitingSlot = true
    await new Promise<void>((resolve) => {
      wakeSlot = () => {
        // This is called with each job, and a promise that is resolved twice makes Node look for a `multipleResolves`
        // listener.
        wakeSlot = noop
        resolve()
      }
    })
    // Handlers that end in the same turn of the event loop free their slots together: one claim for all of them.
    await nextTurn()
    isAwaitingSlot = false
  }

  function mayClaim(): boolean {
    return !paused && parts.gate.isOpen
  }

  /** Resolves when the gate opens, or at the stop: the caller looks again. */
  function gateOpened(): Promise<void> {
    return new Promise((resolve) => {
      wakeGate = resolve
      if (!parts.gate.isOpen) void parts.gate.opened().then(resolve)
    })
  }

  function raise(): void {
    isCalled = true
    wakeUp()
  }

  function wakeUp(): void {
    raised = true
    wake()
  }

  const running = loop()

  return {
    raise,
    hurry() {
      errors = 0
      isHurried = true
      raise()
    },
    slotFreed() {
      wakeSlot()
      if (!isClaiming || isBesideComing || beside !== null || !parts.overlaps()) return
      // Later in this turn, so that one claim serves all handlers that end in it.
      isBesideComing = true
      setImmediate(() => {
        isBesideComing = false
        claimBeside()
      })
    },
    get isAboutToClaim() {
      return !stopping && (isClaiming || (isAwaitingSlot && mayClaim() && parts.wanted() > 0))
    },
    notified() {
      const isWoken = isAsleep && !raised && !doze.owesAnswer
      if (protocol.notified() || !isAsleep) wakeUp()
      else doze.notified()
      return isWoken
    },
    get isWaiting() {
      return isWaiting
    },
    get isAsleep() {
      return isAsleep
    },
    get isUnprotected() {
      return isAsleep && !holds()
    },
    get countsDozers() {
      return doze.hasBegun
    },
    dozersSeen: doze.seen,
    seenEmpty(orPaused) {
      if (stopping) return Promise.resolve()
      return new Promise((tell) => {
        awaitingEmpty.push({ tell, orPaused: orPaused !== undefined })
        raise()
      })
    },
    get isQueuePaused() {
      return isQueuePaused
    },
    pause() {
      if (stopping) return Promise.resolve()
      paused = true
      return new Promise((resolve) => {
        awaitingPark.push(resolve)
        wakeGate()
        wakeSlot()
        wake()
      })
    },
    resume() {
      paused = false
      for (const tell of awaitingPark.splice(0)) tell()
      wakeGate()
    },
    get isPaused() {
      return paused
    },
    get besideAnswered() {
      return beside ?? Promise.resolve()
    },
    firstClaim: first.promise,
    async stop() {
      stopping = true
      doze.answered()
      parts.onRest()
      wakeSlot()
      wakeGate()
      wake()
      await Promise.all([running, beside])
      lock?.release()
      for (const { tell } of awaitingEmpty.splice(0)) tell()
      for (const tell of awaitingPark.splice(0)) tell()
      first.resolve()
    },
  }
}

/** What ends a wait before its time. */
type EndOfRest =
  /** Any reason to claim. */
  | 'notification'
  /** Any but a notification. */
  | 'call'
  /** The stop, or a pause in this process; or that the way to the database is free. These end the others as well. */
  | 'stop'

interface AwaitingEmpty {
  readonly tell: () => void
  /** A paused queue will do. */
  readonly orPaused: boolean
}
