import type { Consumers } from './consume/consumers.js'
import { closeMs, tidyUpBy } from './consume/stop.js'
import { closedError, type Database } from './database/database.js'
import { createMoment, type Moment } from './moment.js'
import { noTimes, type ResolvedStopTimes, resolveStopTimes, type StopOptions } from './options.js'
import { listenToSignals } from './signals.js'
import type { Worker } from './worker/worker.js'

/**
 * How an instance is closed: every consumer stops, then every connection is ended. Phases, each entered once:
 *
 * 1. **Closing**, from the first call on. No consumer begins any more, and those that are there stop. Handlers still
 *    run, and they and others may put; where there is no consumer, nobody may.
 * 2. **Shut**: all consumers have stopped. No call is taken any more. A consumer whose start was aborted in the middle
 *    tidies up after itself, and needs the database for it.
 * 3. **Ending**: what waits for a result is told, and connections end. Where a handler had to be abandoned, the worker
 *    lingers.
 * 4. **Closed**: event streams end, signals do again what they did before, and the log says what it had held back.
 *
 * **Why it ends.** Phase 1 ends by the consumers' deadlines, and every wait after it by a moment that comes a little
 * after them: see `tidyUpBy`.
 *
 * **Later calls** join the first, and can only make it shorter, in whatever phase they come: each moves the moments of
 * what is still to come (moment.ts), and the end of the database, once that has begun, is told the new one.
 */
export interface Closing {
  /** @throws BugleError `INVALID_OPTION` */
  close(options?: StopOptions): Promise<void>
  /** From now on SIGINT and SIGTERM close the instance, until it is closed. */
  heedSignals(): void
  /** Phase 1 has begun: no consumer may begin. */
  readonly isClosing: boolean
  /**
   * A signal has closed the instance, or is closing it. It comes at any moment: a program that goes on to its next
   * `consume` finds a stopped consumer, and no error.
   */
  readonly isSignalled: boolean
  /** Puts and operators' calls are refused as well. */
  readonly isShut: boolean
}

interface ClosingParts {
  /** Of the instance, for the first call. */
  readonly times: ResolvedStopTimes
  readonly consumers: Pick<Consumers, 'isEmpty' | 'isAnyPresent' | 'stop'>
  readonly worker: Pick<Worker, 'settled' | 'linger'>
  readonly database: Pick<Database, 'end'>
  /** Phase 3 begins. */
  readonly onEnding: (error: Error) => void
  /** All is ended. */
  readonly onEnded: (error: Error) => void
  /** The last of all, whatever has failed. */
  readonly onOver: () => void
}

export function createClosing({ times, consumers, worker, database, ...parts }: ClosingParts): Closing {
  const now = (): number => performance.now()
  let closing: Promise<void> | null = null
  /** When the last stop is to be over, as far as the calls of `close` say. */
  const stopBy = createMoment(now)
  /** When all is to be over; null: consumers are still being stopped, or nothing is. */
  let endBy: Moment | null = null
  let isShut = false
  let isEnding = false
  let isSignalled = false
  let ignoreSignals: (() => void) | null = null

  async function close(options?: StopOptions): Promise<void> {
    const { graceMs, abortMs } = resolveStopTimes(options, closing === null ? times : noTimes)
    stopBy.sooner(now() + graceMs + abortMs)
    isShut ||= consumers.isEmpty
    const stopped = consumers.stop(options)
    // What comes after the last stop is made shorter as well.
    endBy?.sooner(tidyUpBy(stopBy.at, now(), closeMs))
    if (endBy !== null && isEnding) void database.end(endBy.at)
    closing ??= stopped.then(end)
    return closing
  }

  /** @param lastStopBy - the latest deadline of the consumers that were stopped */
  async function end(lastStopBy: number): Promise<void> {
    isShut = true
    endBy = createMoment(now, tidyUpBy(Math.max(stopBy.at, lastStopBy), now(), closeMs))
    await endBy.before(worker.settled())
    isEnding = true
    parts.onEnding(closedError())
    try {
      await Promise.all([consumers.isAnyPresent ? worker.linger(endBy.at) : undefined, database.end(endBy.at)])
      parts.onEnded(closedError())
    } finally {
      ignoreSignals?.()
      parts.onOver()
    }
  }

  return {
    close,
    heedSignals() {
      ignoreSignals ??= listenToSignals((shorter) => {
        isSignalled = true
        return close(shorter)
      })
    },
    get isClosing() {
      return closing !== null
    },
    get isSignalled() {
      return isSignalled
    },
    get isShut() {
      return isShut
    },
  }
}
