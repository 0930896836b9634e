import { setImmediate as nextTurn } from 'node:timers/promises'
import createDebug from 'debug'
import type { TakeResult } from '../database/control.js'
import { toError } from '../errors.js'
import type { UnprotectedReason } from '../events.js'
import { type ClaimSigns, claimNow, createSleepProtocol, type Step } from './sleep.js'

const log = createDebug('bugle:dispatcher')

/**
 * When to claim, and how many: one loop a queue, which claims for all free slots at once.
 *
 * - One flag, `raised`. Whoever knows a reason to claim raises it; it is cleared *before* a claim is sent, so a
 *   notification that lands during the claim leaves it up, and one more claim follows.
 * - One claim in flight: a second one would find the first one's rows locked, and prove nothing.
 * - A claim asks for as many jobs as there are free slots. Without a free slot the loop holds no K, so that writers
 *   are silent, and waits for a slot.
 * - What comes after a claim, the sleep protocol decides.
 * - An error is told, and the claim repeated with back-off; no error ends the loop.
 */
export interface Dispatcher {
  /** There may be jobs: a sweep found some, or a session is back. */
  raise(): void
  /** A slot is free again. */
  slotFreed(): void
  /** A notification named this queue. */
  notified(): void
  /** Whether it waits for a wake-up: then, and only then, a sweep is of use to it. */
  readonly isWaiting: boolean
  /** Waiting without K: writers do not know of it. */
  readonly isUnprotected: boolean
  /** Resolves when a claim that began after this call has proven the queue empty; or at the stop. */
  seenEmpty(): Promise<void>
  /** Resolves with the first claim that was answered. */
  readonly firstClaim: Promise<void>
  /** Claim no more. Resolves when no claim is in flight, and K is given up. */
  stop(): Promise<void>
}

export interface ClaimAnswer<Job> extends ClaimSigns {
  readonly jobs: readonly Job[]
}

export interface DispatcherParts<Job> {
  readonly claim: (limit: number) => Promise<ClaimAnswer<Job>>
  readonly start: (job: Job) => void
  readonly freeSlots: () => number
  /** The queue's sleep lock; null where nothing is listened to. */
  readonly lock: SleepLock | null
  /** Whether it may leave a wake-up to others that sleep: not if it takes jobs that they do not. */
  readonly naps: boolean
  /** Whether a transaction with an id holds ROW EXCLUSIVE on the job table. */
  readonly writing: () => Promise<boolean>
  readonly onError: (error: Error) => void
  readonly onUnprotected: (reason: UnprotectedReason, pid: number | null) => void
  /** It waits for a wake-up without K: sweeps must come often now. */
  readonly onWaitingUnprotected: () => void
  readonly now: () => number
  readonly random: () => number
}

export interface SleepLock {
  holds(): boolean
  take(): Promise<TakeResult>
  release(): void
  others(): Promise<{ asleep: number; blocker: number | null }>
}

/** How long a lock that somebody holds exclusively is left alone. */
const blockedMs = 5_000

export function createDispatcher<Job>(parts: DispatcherParts<Job>): Dispatcher {
  const { lock, now, random } = parts
  const protocol = createSleepProtocol(now, random, parts.naps)
  let raised = false
  let stopping = false
  let isWaiting = false
  let errors = 0
  let takeNotBefore = 0
  let told: UnprotectedReason | null = null
  let wake = (): void => {}
  let wakeSlot = (): void => {}
  let awaitingEmpty: (() => void)[] = []
  const first = withResolvers()

  const holds = (): boolean => lock?.holds() ?? false

  async function loop(): Promise<void> {
    let step: Step = claimNow
    while (!stopping) {
      if (parts.freeSlots() <= 0) {
        lock?.release()
        await slotFreed()
        // Outcomes become durable together, and so do their slots become free: one claim for all of them.
        await nextTurn()
        step = claimNow
        continue
      }
      step = await carryOut(step)
    }
  }

  async function carryOut(step: Step): Promise<Step> {
    switch (step.do) {
      case 'claim':
        await rest(step.inMs, step.wakeable)
        return claim()
      case 'linger':
        lock?.release()
        await rest(step.inMs, false)
        return claim()
      case 'take':
        return take()
      case 'look':
        // This may go on for as long as somebody writes, with K held: what is silent, sweeps find meanwhile.
        await restWaiting(step.inMs)
        return raised ? claim() : look()
      case 'nap':
        if ((await lock?.others())?.asleep) {
          lock?.release()
          await rest(step.inMs, false)
          return claim()
        }
        return { do: 'sleep' }
      case 'sleep':
        await restWaiting(sleepMs())
        return claim()
    }
  }

  async function claim(): Promise<Step> {
    if (stopping) return { do: 'sleep' }
    // Before the claim: what lands during it must leave the flag up.
    raised = false
    const toTell = awaitingEmpty
    awaitingEmpty = []
    const asked = parts.freeSlots()
    let answer: ClaimAnswer<Job>
    try {
      answer = await parts.claim(asked)
    } catch (error) {
      awaitingEmpty.push(...toTell)
      return failed(error)
    }
    errors = 0
    if (log.enabled) log('claimed %d of %d', answer.found, answer.asked)
    first.resolve()
    for (const job of answer.jobs) parts.start(job)
    if (answer.found < answer.asked && !answer.leftBehind) for (const tell of toTell) tell()
    else awaitingEmpty.push(...toTell)
    return protocol.claimed(answer, holds())
  }

  async function take(): Promise<Step> {
    if (lock === null || now() < takeNotBefore) return { do: 'sleep' }
    const taken = await lock.take()
    if (taken === 'held') {
      told = null
      protocol.taken()
      return claimNow
    }
    // Sweeps come every second for whoever waits without K.
    if (taken !== 'down') takeNotBefore = now() + blockedMs
    if (told !== taken) {
      told = taken
      parts.onUnprotected(taken, taken === 'blocked' ? (await lock.others()).blocker : null)
    }
    return { do: 'sleep' }
  }

  async function look(): Promise<Step> {
    try {
      return protocol.looked(await parts.writing())
    } catch (error) {
      return failed(error)
    }
  }

  function failed(error: unknown): Step {
    parts.onError(toError(error))
    errors += 1
    const inMs = Math.min(50 * 2 ** errors, 2_000) * (0.5 + random())
    log('failed %d times, again in %d ms', errors, inMs)
    return { do: 'claim', inMs, wakeable: false }
  }

  /** Without a K that could be had it is tried for again. The return of a lost control session is a wake-up itself. */
  function sleepMs(): number {
    return lock === null || holds() || told === 'down' ? Number.POSITIVE_INFINITY : blockedMs
  }

  async function restWaiting(ms: number): Promise<void> {
    isWaiting = true
    if (!holds()) parts.onWaitingUnprotected()
    await rest(ms, true)
    isWaiting = false
  }

  /** Wait, unless or until the flag is up; with `wakeable` false, for the stop only. */
  function rest(ms: number, wakeable: boolean): Promise<void> {
    if (ms <= 0 || stopping || (wakeable && raised)) return Promise.resolve()
    return new Promise((resolve) => {
      const timer = ms === Number.POSITIVE_INFINITY ? undefined : setTimeout(done, ms)
      function done(): void {
        clearTimeout(timer)
        wake = () => {}
        resolve()
      }
      wake = () => {
        if (stopping || (wakeable && raised)) done()
      }
    })
  }

  /** One promise at a time, and none that lives on: this runs with every batch of jobs. */
  function slotFreed(): Promise<void> {
    return new Promise((resolve) => {
      wakeSlot = resolve
    })
  }

  function raise(): void {
    raised = true
    wake()
  }

  const running = loop()

  return {
    raise,
    slotFreed: () => wakeSlot(),
    notified() {
      protocol.notified()
      raise()
    },
    get isWaiting() {
      return isWaiting
    },
    get isUnprotected() {
      return isWaiting && !holds()
    },
    seenEmpty() {
      if (stopping) return Promise.resolve()
      return new Promise((resolve) => {
        awaitingEmpty.push(resolve)
        raise()
      })
    },
    firstClaim: first.promise,
    async stop() {
      stopping = true
      wakeSlot()
      wake()
      await running
      lock?.release()
      for (const tell of awaitingEmpty.splice(0)) tell()
      first.resolve()
    },
  }
}

/** Promise.withResolvers, which Node 20 lacks. */
function withResolvers(): { promise: Promise<void>; resolve: () => void } {
  let resolve = (): void => {}
  const promise = new Promise<void>((done) => {
    resolve = done
  })
  return { promise, resolve }
}
