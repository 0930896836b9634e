import createDebug from 'debug'
import { deafMs } from './sleep.js'

const log = createDebug('bugle:doze')

/**
 * The doze: how a sleeping consumer leaves a wake-up to others, and when it does not.
 *
 * A NOTIFY wakes all consumers of a fleet, and one of them finds the job. One that woke for nothing several times in a
 * row, because others were faster, dozes (sleep.ts says when): it keeps K, and claims after a notification as ever, but
 * at a random moment within `dozeMs`, once for all notifications until then. `dozeMs` grows with the number of those
 * that doze (each says so by a lock of its own, beside K). So however large the fleet, about one of them claims every
 * `dozeMsEach / 2`, those who found something lately claim at once, and if these are busy, the first one of the others
 * comes within about `dozeMsEach`. It is awake then, and stays it while it finds jobs.
 * - A few claims for nothing cost less than a late one, so the first `fewDozers` count for nothing: small fleets never
 *   doze, nor does a single consumer.
 * - One that dozes and whose claim comes back full has found more than those who are awake can take: it calls the
 *   others (a notification that makes them claim at once), and dozes no more itself.
 * - A consumer of some kinds only, or without some flags, does not doze, and is not counted: what it leaves alone the
 *   others can take, but not the other way round.
 * - What fast notifications call for is to linger, so they end a doze as well.
 *
 * **The others may be gone.** Processes that stop or die tell nobody, so a count may be of any age, and who trusts it
 * leaves a wake-up to nobody: with 60 of 64 gone, up to six seconds late. So a wait that lasts longer than `deafMs`
 * does not rest on the count of before: the others are counted again, and the wait ends as if their number had always
 * been that. If the fleet is there, that is one more statement for those who drew a long wait. If it is gone, the first
 * of those who are left learns it within about `deafMs`.
 * - A wait that is under way answers later notifications too, and the fleet may go meanwhile. So while it lasts, the
 *   others are counted again whenever the last count is older than a quarter of `dozeMs`, and older than `deafMs`. So
 *   no notification is late by much more than that quarter; and however large the fleet, there are about two counts for
 *   each of its claims. (Counting every `deafMs` would be ten for each, in a fleet of 64.)
 * - All of a fleet hear a notification at the same time, so the first count comes at a moment of its own, between half
 *   and one and a half `deafMs`: who drew a shorter wait counts earlier.
 * - A count can only bring the answer nearer: others that have come since make no wait longer that is under way.
 * - A count that fails is one of nobody: the control session has lost K with its locks, or is about to.
 */
interface Doze {
  /** Whether notifications may be answered late. */
  readonly isDozing: boolean
  /** Whether a notification waits for its answer. */
  readonly owesAnswer: boolean
  /** Count the others, and doze if they are many. */
  begin(): Promise<void>
  /** A notification came to a consumer that sleeps: `claim` is called, at once or later. */
  notified(): void
  /** A claim is about to be sent: for all notifications until now. */
  answered(): void
  /** It has found jobs, or takes K anew. */
  end(): void
}

interface DozeParts {
  /** Say that this consumer dozes. @returns how many others do */
  readonly count: () => Promise<number>
  readonly claim: () => void
  readonly now: () => number
  readonly random: () => number
}

/** A notification that is answered late. */
interface Late {
  readonly since: number
  /** Of `dozeMs`, 0 to 1: after this much of it the answer is due. */
  readonly share: number
  dueAt: number
}

const fewDozers = 3
const dozeMsEach = 100
const dozeMsMost = 10_000

export function createDoze({ count, claim, now, random }: DozeParts): Doze {
  /** 0: it does not doze. */
  let dozeMs = 0
  let countedAt = Number.NEGATIVE_INFINITY
  let late: Late | null = null
  let timer: NodeJS.Timeout | undefined

  function counted(others: number): void {
    log('%d others doze', others)
    dozeMs = Math.min(Math.max(0, others - fewDozers) * dozeMsEach, dozeMsMost)
    countedAt = now()
  }

  function wait(answer: Late): void {
    answer.dueAt = Math.min(answer.dueAt, answer.since + answer.share * dozeMs)
    const firstCountAt = answer.since + deafMs * (0.5 + answer.share)
    const countAt = Math.max(firstCountAt, countedAt + Math.max(deafMs, dozeMs / 4))
    const isShort = answer.dueAt <= answer.since + deafMs
    if (answer.dueAt <= now()) claim()
    else if (isShort || answer.dueAt <= countAt) timer = setTimeout(claim, Math.ceil(answer.dueAt - now()))
    else timer = setTimeout(() => void countAgain(answer), Math.ceil(countAt - now()))
  }

  async function countAgain(answer: Late): Promise<void> {
    const others = await count()
    // A claim was sent meanwhile: what it has found says more.
    if (late !== answer) return
    counted(others)
    wait(answer)
  }

  return {
    get isDozing() {
      return dozeMs > 0
    },
    get owesAnswer() {
      return late !== null
    },
    async begin() {
      counted(await count())
    },
    notified() {
      if (dozeMs === 0) claim()
      else if (late === null) {
        late = { since: now(), share: random(), dueAt: Number.POSITIVE_INFINITY }
        wait(late)
      }
    },
    answered() {
      clearTimeout(timer)
      late = null
    },
    end() {
      dozeMs = 0
    },
  }
}
