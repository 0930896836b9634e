import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'
import createDebug from 'debug'
import PQueue from 'p-queue'
import { toError } from '../../errors.js'
import { createWaiters } from '../../wakeup.js'
import type { Gate } from '../gate.js'
import { createHeldJobs, type Held } from './held-jobs.js'

const log = createDebug('bugle:slots')

/**
 * The places where handlers run, `concurrency` of them, and the jobs that are held until one is free.
 *
 * A slot is a task of a p-queue, which begins when the slot is first needed and then stays. It runs held jobs one after
 * the other until none is left, and waits, parked, for the next ones: a task for each job would cost more than a short
 * handler does. Held jobs begin in the order in which they came.
 *
 * - Jobs whose handlers make no promise run in a row, without a promise of ours. A row is short, so that what waits for
 *   a microtask (the next claim above all) comes in between.
 * - None begins while the gate is closed; when it opens again, they do. It is looked at before each row.
 * - Slots give the event loop a turn every `sliceMs`, so that a row of handlers that never wait for anything does not
 *   keep answers, timers and signals out.
 * - What has been held for `patienceMs` (handlers have turned slow) is given back, all of it: others may be idle.
 * - So is, at once, what would make the held jobs weigh more than `mostHeldBytes`: a claim of light jobs may have met
 *   heavy ones (claim-size.ts).
 */
export interface Slots<Job extends Held> {
  /** Jobs that were claimed: they begin as soon as there are slots. */
  start(jobs: readonly Job[]): void
  /** Whatever is held, and has not begun: it never will. */
  takeBack(isMeant?: (job: Job) => boolean): Job[]
  /** How many have not begun. */
  readonly held: number
  /** How many slots are not free. */
  readonly taken: number
  /** How many will be when what is held has begun; 0 or less: none. */
  readonly free: number
  /** For how long slots have been taken, one at least, in ms. */
  readonly busyMs: number
  /** For how long all of them have been taken, in ms. */
  readonly fullMs: number
  /** Resolves when no slot is taken. */
  onIdle(): Promise<void>
}

export interface SlotsParts<Job> {
  readonly concurrency: number
  /** Never throws or rejects. @returns when the slot is free for the next one, on `now`; a promise: not yet */
  readonly run: (job: Job) => number | Promise<number>
  /** A job has run. */
  readonly onRan: () => void
  readonly giveBack: (jobs: readonly Job[]) => void
  /** What is held was given back, since no slot came free. */
  readonly onImpatience: () => void
  readonly gate: Gate
  /** ms */
  readonly patienceMs: number
  /** Of all that is held beyond the slots. */
  readonly mostHeldBytes: number
  /** A slot is free, and nothing is held. */
  readonly onFree: () => void
  readonly now: () => number
}

const sliceMs = 5
/** Jobs. A promise costs as much as all else that is done here for one, and so does a look at the gate. */
const mostInRow = 32

export function createSlots<Job extends Held>(parts: SlotsParts<Job>): Slots<Job> {
  const { concurrency, gate, giveBack, patienceMs, mostHeldBytes, now } = parts
  const queue = new PQueue({ concurrency })
  const held = createHeldJobs<Job>()
  /** Slots that are taken. */
  let taken = 0
  /** Those that have begun and are free; each goes on when it is called. Its slot is taken then. */
  const parked: (() => void)[] = []
  const awaitingIdle = createWaiters()
  let sliceEndsAt = 0
  /** Whether a slot is taken. */
  const busy = createStopwatch(now)
  /** Whether all of them are. */
  const full = createStopwatch(now)
  let isAwaitingGate = false
  let isWatching = false

  async function runHeld(): Promise<void> {
    while (held.first !== undefined) {
      if (!gate.isOpen) return void awaitGate()
      const ran = runRow()
      const at = await ran
      if (typeof ran !== 'number') parts.onRan()
      if (at < sliceEndsAt) continue
      await nextTurn()
      sliceEndsAt = now() + sliceMs
    }
  }

  /**
   * Jobs that end at once, in a row, until one does not, or the slice is over.
   *
   * @returns when the last one has run; a promise: it has not
   */
  function runRow(): number | Promise<number> {
    let at = 0
    for (let left = mostInRow; left > 0 && at < sliceEndsAt; left -= 1) {
      const job = held.take()
      if (job === undefined) break
      const ran = parts.run(job)
      if (typeof ran !== 'number') return ran
      at = ran
      parts.onRan()
    }
    return at
  }

  async function awaitGate(): Promise<void> {
    if (isAwaitingGate) return
    isAwaitingGate = true
    while (!gate.isOpen && held.count > 0) {
      await gate.opened()
      // It is told of the worker's stop as well, and may have closed again.
      if (!gate.isOpen) await sleep(10, undefined, { ref: false })
    }
    isAwaitingGate = false
    begin()
  }

  function begin(): void {
    if (freeSlots() <= 0 || held.count === 0) return
    sliceEndsAt = now() + sliceMs
    busy.is(true)
    // While one slot runs jobs in a row, the others can run none: if there are enough for them, they are taken.
    full.is(held.count >= freeSlots())
    // The jobs may all have run by the time when the next slot would begin.
    while (freeSlots() > 0 && held.count > 0) {
      taken += 1
      const goOn = parked.pop() ?? newSlot()
      goOn()
    }
    full.is(taken === concurrency)
  }

  /** @returns takes the slot, until nothing is held */
  function newSlot(): () => void {
    const goOn = (): void =>
      void runHeld()
        .catch((error) => log('%s', toError(error).message))
        .then(() => {
          parked.push(goOn)
          freed()
        })
    // No more tasks go on than there are slots, and a parked one goes on as well.
    return () => void queue.add(() => new Promise<never>(goOn))
  }

  function freed(): void {
    taken -= 1
    busy.is(taken > 0)
    full.is(taken === concurrency)
    if (taken === 0) awaitingIdle.tellAll()
    parts.onFree()
  }

  function freeSlots(): number {
    return concurrency - taken
  }

  function freeLeft(): number {
    return freeSlots() - held.count
  }

  /** One timer for all of them. */
  function watch(): void {
    const oldest = held.first
    if (isWatching || oldest === undefined || patienceMs === Number.POSITIVE_INFINITY) return
    isWatching = true
    const leftMs = oldest.claimedAt + patienceMs - now()
    const inMs = leftMs > 0 ? Math.ceil(leftMs) : patienceMs
    setTimeout(() => {
      isWatching = false
      const { first } = held
      // Who waits for the gate is not waiting for a slot.
      if (first === undefined || !gate.isOpen || now() < first.claimedAt + patienceMs) return watch()
      log('%d jobs were held for too long', held.count)
      parts.onImpatience()
      giveBack(held.takeAll())
    }, inMs).unref()
  }

  /** Those that begin or may be held; the others are given back. */
  function keep(jobs: readonly Job[]): readonly Job[] {
    let { bytes } = held
    for (let kept = Math.max(0, freeLeft()); kept < jobs.length; kept += 1) {
      bytes += jobs[kept]?.bytes ?? 0
      if (bytes <= mostHeldBytes) continue
      // With all that come after it: they are younger, and must not overtake it.
      giveBack(jobs.slice(kept))
      return jobs.slice(0, kept)
    }
    return jobs
  }

  return {
    start(jobs) {
      for (const job of keep(jobs)) held.push(job)
      // After what was asked for in this turn: the next claim goes out before handlers take the event loop.
      process.nextTick(() => {
        begin()
        watch()
      })
    },
    takeBack: held.takeAll,
    get held() {
      return held.count
    },
    get taken() {
      return taken
    },
    get free() {
      return freeLeft()
    },
    get busyMs() {
      return busy.ms
    },
    get fullMs() {
      return full.ms
    },
    onIdle: () => (taken === 0 ? Promise.resolve() : awaitingIdle.wait()),
  }
}

/** For how long something has been so, in all, in ms. */
function createStopwatch(now: () => number) {
  let since: number | null = null
  let beforeMs = 0
  return {
    is(isSo: boolean): void {
      if (isSo === (since !== null)) return
      if (since !== null) beforeMs += now() - since
      since = isSo ? now() : null
    },
    get ms(): number {
      return beforeMs + (since === null ? 0 : now() - since)
    },
  }
}
