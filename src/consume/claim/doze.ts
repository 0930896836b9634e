import createDebug from 'debug'
import type { Dozers } from '../../database/control.js'
import { deafMs } from './sleep.js'

const log = createDebug('bugle:doze')

/**
 * The doze: how a sleeping consumer leaves a wake-up to others, and when it does not.
 *
 * A NOTIFY wakes all consumers of a fleet, and one of them finds the job. One that woke for nothing several times in a
 * row, because others were faster, dozes (sleep.ts says when): it keeps K, and claims after a notification as ever, but
 * at a random moment within `dozeMs`, once for all notifications until then. `dozeMs` grows with the number of those
 * that doze (each says so by a lock of its own, beside K). So however large the fleet, about one of them claims every
 * `dozeMsEach / 2`, and those who found something lately claim at once.
 * - **Reserves.** Those who found something may be busy or gone. Then a random moment comes late, or would have to come
 *   often. So all that doze are in an order that each of them knows, and the first `reserves` answer every notification
 *   soon: the first within `reserveMs`, the next within twice that. One of them finds what is left. It is awake then,
 *   and stays it while it finds jobs. Where they are gone as well, the first of all others comes within about
 *   `dozeMsEach`. (64 processes and an insert every 400 ms: two claims at once, two of reserves and five at random
 *   moments. All at random moments within half the time are eight, and the job waits for 50 ms, often for 200.)
 * - A few claims for nothing cost less than a late one, so the first `fewDozers` count for nothing: small fleets never
 *   doze, nor does a single consumer.
 * - One that dozes and whose claim comes back full has found more than those who are awake can take: it calls the
 *   others (a notification that makes them claim at once), and dozes no more itself. A claim for one job is full
 *   whenever it finds one, so then it looks first whether others are ready. (64 processes with one slot each, and 64
 *   jobs put at once: without this half of the jobs began 1.8 s late, and the last one 3.3 s.)
 * - A consumer of some kinds only, or without some flags, does not doze, and is not counted: what it leaves alone the
 *   others can take, but not the other way round.
 * - What fast notifications call for is to linger, so they end a doze as well.
 *
 * **Counting costs nothing.** Heartbeats bring the count and the place in that order, three in `rescueAfterMs`. So a
 * place that was left is taken within moments, and those that began to doze together, who saw few others, see all.
 *
 * **The others may be gone.** Processes that stop or die tell nobody, so a count may be of any age, and who trusts it
 * leaves a wake-up to nobody: with 60 of 64 gone, up to six seconds late. So a wait that lasts longer than about
 * `deafMs` does not rest on the count of before: the others are counted again, and the wait ends as if their number had
 * always been that. If the fleet is there, it is one more statement for those who drew a long wait. If it is gone, the
 * first of those who are left learns it within about `deafMs`.
 * - A wait that is under way answers later notifications too, and the fleet may go meanwhile. So while it lasts, the
 *   others are counted again whenever the last count is older than a quarter of `dozeMs`, and older than `deafMs`. So
 *   no notification is late by much more than that quarter. In a large fleet heartbeats come sooner, and nobody has to
 *   ask. In a smaller one there are about two counts for each claim.
 * - All of a fleet hear a notification at the same time, so the first count comes at a moment of its own, between half
 *   and one and a half `deafMs`: who drew a shorter wait counts earlier.
 * - A count can only bring the answer nearer: others that have come since make no wait longer that is under way.
 * - A count that fails is one of nobody: the control session has lost K with its locks, or is about to.
 */
export interface Doze {
  /** Whether notifications may be answered late. */
  readonly isDozing: boolean
  /** Whether a notification waits for its answer. */
  readonly owesAnswer: boolean
  /** It has counted the others, and would know if their number changes. */
  readonly hasBegun: boolean
  /** Count the others, and doze if they are many. */
  begin(): Promise<void>
  /** A heartbeat has counted the others. */
  seen(dozers: Dozers): void
  /** A notification came to a consumer that sleeps: `claim` is called, at once or later. */
  notified(): void
  /** A claim is about to be sent: for all notifications until now. */
  answered(): void
  /** It has found jobs, or takes K anew. */
  end(): void
}

interface DozeParts {
  /** Say that this consumer dozes. @returns the others that do */
  readonly count: () => Promise<Dozers>
  readonly claim: () => void
  readonly now: () => number
  readonly random: () => number
}

/** A notification that is answered late. */
interface Late {
  readonly since: number
  /** Of the time in which the answer may come, 0 to 1. */
  readonly share: number
  dueAt: number
}

const fewDozers = 3
const dozeMsEach = 200
const dozeMsMost = 10_000
const reserves = 2
const reserveMs = 50

export function createDoze({ count, claim, now, random }: DozeParts): Doze {
  /** 0: it does not doze. */
  let dozeMs = 0
  let before = 0
  let hasBegun = false
  let countedAt = Number.NEGATIVE_INFINITY
  let late: Late | null = null
  let timer: NodeJS.Timeout | undefined

  function counted(dozers: Dozers): void {
    log('%d others doze, %d of them before this one', dozers.others, dozers.before)
    dozeMs = Math.min(Math.max(0, dozers.others - fewDozers) * dozeMsEach, dozeMsMost)
    before = dozers.before
    countedAt = now()
  }

  function lateMs(share: number): number {
    const anyMs = share * dozeMs
    // Not at once, not even the luckiest: those who are awake come first.
    return before < reserves ? Math.min(anyMs, reserveMs * 2 ** before * (0.5 + share / 2)) : anyMs
  }

  function wait(answer: Late): void {
    clearTimeout(timer)
    answer.dueAt = Math.min(answer.dueAt, answer.since + lateMs(answer.share))
    const firstCountAt = answer.since + deafMs * (0.5 + answer.share)
    const countAt = Math.max(firstCountAt, countedAt + Math.max(deafMs, dozeMs / 4))
    if (answer.dueAt <= now()) claim()
    else if (answer.dueAt <= countAt) timer = setTimeout(claim, Math.ceil(answer.dueAt - now()))
    else timer = setTimeout(() => void countAgain(answer), Math.ceil(countAt - now()))
  }

  async function countAgain(answer: Late): Promise<void> {
    const dozers = await count()
    // A claim was sent meanwhile: what it has found says more.
    if (late !== answer) return
    counted(dozers)
    wait(answer)
  }

  return {
    get isDozing() {
      return dozeMs > 0
    },
    get owesAnswer() {
      return late !== null
    },
    get hasBegun() {
      return hasBegun
    },
    async begin() {
      hasBegun = true
      counted(await count())
    },
    seen(dozers) {
      if (!hasBegun) return
      counted(dozers)
      if (late !== null) wait(late)
    },
    notified() {
      if (dozeMs === 0) return claim()
      if (late !== null) return
      late = { since: now(), share: random(), dueAt: Number.POSITIVE_INFINITY }
      wait(late)
    },
    answered() {
      clearTimeout(timer)
      late = null
    },
    end() {
      dozeMs = 0
      hasBegun = false
    },
  }
}
