import { mostAtOnce } from '../most-at-once.js'
import type { ConsumerOptions } from '../options.js'

/**
 * How many jobs a consumer may hold beyond its slots: claimed, and not begun.
 *
 * A slot whose handler has ended stands empty while the next claim is on its way. So more jobs are claimed than there
 * are slots, as many as will have begun when that claim's answer comes. What is held here nobody else can run, so
 * look-ahead is earned, anew with each claim's answer:
 *
 * - **Only by a backlog.** A claim that was not full earns none: there is nothing to look ahead to, and others may be
 *   idle.
 * - **Only by what was done.** As many jobs as handlers end in the time of two round trips while slots are taken: one
 *   for the claim that is on its way, one for the jobs at hand. And at most `mostGrowth` times as many as have ended
 *   since the last answer: a few jobs tell little of the next ones. If none has ended meanwhile, nothing is earned and
 *   nothing lost: a claim may be quicker than a handler, and what is held too long is lost anyway.
 * - **A round trip is what slots stood empty for.** Handlers that compute keep a claim's answer waiting, but while they
 *   do, their slots are taken. A slot that stood empty has waited for the claim, however short the server says that it
 *   was. No more than half of `patienceMs` counts: what is held begins within that time.
 * - **Only as slots can keep up.** Taken without a gap, they end as many per ms as there are slots, divided by the mean
 *   length of a run. Handlers that began together end together: that many in one moment are not the pace. So long
 *   handlers earn none: ten slots end no job of a second within two round trips.
 *
 * Handlers that turn slow keep what is held from beginning: after `patienceMs` it is given back (slots.ts), and has to
 * be earned again.
 *
 * A number given as `prefetch` stands as it is from the first answer on, whatever handlers do, and however long a job
 * is held.
 *
 * **Not beside a crash**, either way. A job that a process has died under may end this one too, and whatever is held
 * then has a crash counted against it without having begun. So for some time after such a job was to be claimed there
 * is no look-ahead (claimer.ts); nor is there any in a consumer's first claim, as whatever killed the process before
 * this one may come first.
 */
export interface LookAhead {
  /** Jobs that may be held now beyond the slots. */
  readonly jobs: number
  /** How long one may be held, in ms. */
  readonly patienceMs: number
  /** A handler has ended. */
  ended(runMs: number): void
  /** A claim was answered. */
  answered(answer: AnswerSigns): void
  /** What was held had to wait for too long. */
  lost(): void
  /** A job that a process has died under is about to be claimed: none may be held for some time. */
  suspected(): void
}

interface AnswerSigns {
  /** The claim's round trip, as `roundTripMs` has it. */
  readonly tripMs: number
  /** For how long slots stood empty, one at least, while the claim was on its way. */
  readonly emptyMs: number
  /** It found as many jobs as it asked for. */
  readonly isFull: boolean
  /** For how long slots have been taken, one at least, since the consumer began. */
  readonly busyMs: number
}

/**
 * A claim's round trip: from sending it to its answer, but not longer than twice the time that the server says it took,
 * and a millisecond. Handlers that compute keep the answer waiting, and nothing shall be concluded from that.
 */
export function roundTripMs(measuredMs: number, tookMs: number): number {
  return Math.min(measuredMs, 2 * tookMs + 1)
}

const patienceMs = 50
const mostGrowth = 4
const calmMs = 5_000

export function createLookAhead(
  { prefetch, concurrency }: Pick<ConsumerOptions, 'prefetch' | 'concurrency'>,
  now: () => number,
): LookAhead {
  const isEarned = prefetch === 'earned'
  let jobs = 0
  let ended = 0
  let endedMs = 0
  let answeredAt = now()
  let busyBeforeMs = 0
  /** null: no such job was to be claimed for long enough. */
  let calmUntil: number | null = null

  function earned(tripMs: number, sinceMs: number): number {
    const perMs = Math.min(ended / Math.max(sinceMs, 0.001), (concurrency * ended) / Math.max(endedMs, 0.001))
    return Math.floor(Math.min(perMs * 2 * tripMs, mostGrowth * ended, 2 * mostAtOnce))
  }

  return {
    get jobs() {
      // Asked for with each job that ends: the clock is read only if need be.
      if (calmUntil !== null && now() >= calmUntil) calmUntil = null
      return calmUntil === null ? jobs : 0
    },
    patienceMs: isEarned ? patienceMs : Number.POSITIVE_INFINITY,
    ended(runMs) {
      ended += 1
      endedMs += runMs
    },
    answered({ tripMs: leastMs, emptyMs, isFull, busyMs }) {
      const at = now()
      const tripMs = Math.max(leastMs, Math.min(emptyMs, patienceMs / 2))
      if (!isEarned) jobs = prefetch
      else if (!isFull) jobs = 0
      // Two claims were in flight: so soon after the other one's answer nothing can be told of the pace.
      if (at - answeredAt < tripMs / 2 || ended === 0) return
      if (isEarned && isFull) jobs = earned(tripMs, busyMs - busyBeforeMs)
      ended = 0
      endedMs = 0
      answeredAt = at
      busyBeforeMs = busyMs
    },
    lost() {
      if (isEarned) jobs = 0
    },
    suspected() {
      calmUntil = now() + calmMs
    },
  }
}
