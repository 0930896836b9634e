import { createMoment } from '../moment.js'
import type { ResolvedStopTimes } from '../options.js'

/**
 * How a consumer stops: always, and by its deadline.
 *
 * Four phases, each entered once and never left for an earlier one:
 * 1. **Claiming ends.** At once: no claim is sent any more. One that is in flight may still bring jobs; they are given
 *    back, attempt included, without being run. So is whatever was claimed and has not begun.
 * 2. **Grace.** Until `graceMs` after the call, handlers may end as if nothing had happened.
 * 3. **Abort.** Then the signal of every run that is left is aborted with the reason `SHUTDOWN`. A handler that throws
 *    now is interrupted: its job goes back, attempt included. One that returns all the same is settled as ever.
 * 4. **Over**, when no run and no claim is left, or at the deadline, `abortMs` after the abort, whichever comes first.
 *    What is left then is abandoned, and the report names it.
 *
 * **Why it ends.** Every wait in here is for a clock as well as for what it waits for: neither a handler that never
 * returns nor a database that never answers can make it longer. When there is nothing left to wait for it is over at
 * once, in any phase.
 *
 * **Why nothing is lost.** An outcome that is not durable at the deadline belongs to a run that counts as left. An
 * abandoned run keeps its lease: its consumer stays with the worker (presence, heartbeat) until the run has ended, and
 * its outcome is settled then; if the process ends first, the job is rescued. A claim whose answer comes after the
 * deadline finds the dispatcher stopped, and its jobs are given back as in phase 1; if the answer never comes, the
 * heartbeat's comparison finds the rows, or, when the worker leaves, its leave.
 *
 * **Two calls.** The second joins the first. Times can only become shorter: the grace ends at the earliest moment that
 * any call asked for, and the shortest `abortMs` counts from then; a time that a later call leaves out (Infinity)
 * stays. A call that comes in phase 3 cannot bring the grace back. That a wait hears of each call: see moment.ts.
 */
interface Stop {
  /**
   * Begin, or make shorter.
   *
   * @returns resolves in phase 4
   */
  request(times: ResolvedStopTimes): Promise<void>
  readonly isStopping: boolean
  /** performance.now() ms; Infinity: without one, or not stopping. */
  readonly deadlineAt: number
}

interface StopParts {
  /** Resolves when no claim is in flight, and what the last one brought is given back or run. */
  readonly endClaiming: () => Promise<unknown>
  /** Resolves when no run is left. Called after `endClaiming`. */
  readonly runsOver: () => Promise<unknown>
  readonly abortRuns: () => void
  /** Called for each request that changed something. `forced`: nothing is waited for. */
  readonly onRequest: (graceMs: number, forced: boolean) => void
  readonly now: () => number
}

/** After a stop's deadline: for leaving the worker; and, when the instance is closed, for ending what is left. */
export const leaveMs = 300
export const closeMs = 500

/**
 * Until when the rest may take. A little also where the stop took all its time; of time that is left, as much as
 * statements may take that are on their way.
 *
 * @param deadlineAt - of the stop
 * @param afterMs - `leaveMs` or `closeMs`
 */
export function tidyUpBy(deadlineAt: number, now: number, afterMs: number): number {
  return Math.max(Math.min(deadlineAt, now + 15_000) + afterMs, now + 50)
}

export function createStop(parts: StopParts): Stop {
  const { now } = parts
  const graceEnd = createMoment(now)
  const deadline = createMoment(now)
  let abortMs = Number.POSITIVE_INFINITY
  let stopping: Promise<void> | null = null

  async function carryOut(): Promise<void> {
    const over = endAndWait()
    if (await graceEnd.before(over)) return
    parts.abortRuns()
    await deadline.before(over)
  }

  async function endAndWait(): Promise<void> {
    await parts.endClaiming()
    await parts.runsOver()
  }

  return {
    request(times) {
      const at = now()
      abortMs = Math.min(abortMs, times.abortMs)
      const isGraceShorter = graceEnd.sooner(at + times.graceMs)
      const isSooner = deadline.sooner(graceEnd.at + abortMs)
      if (stopping === null || isGraceShorter || isSooner) {
        parts.onRequest(Math.max(0, Math.round(graceEnd.at - at)), deadline.at <= at)
      }
      stopping ??= carryOut()
      return stopping
    },
    get isStopping() {
      return stopping !== null
    },
    get deadlineAt() {
      return deadline.at
    },
  }
}
