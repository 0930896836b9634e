import type { ClaimedJob } from '../claimed-job.js'

/**
 * The turn in which one job runs that a process has died under: a suspect. One worker has one turn, whatever its
 * queues.
 *
 * **Why one at a time.** When a process dies, all jobs that it had claimed have a crash counted, and nobody knows which
 * of them has killed it. Run together again, they would die together again: after `maxCrashes` deaths one job has taken
 * all the others along. So a suspect is never claimed together with another one, and none is claimed in a process in
 * which one has its turn. The next death is then counted against one suspect only, the one that was there both times;
 * an innocent one runs to its end. And none is claimed before a slot is free for it, and nothing is held behind it
 * (claimer.ts).
 *
 * Jobs without a crash run beside it. The death of the process makes suspects of them, once: from then on they have
 * turns of their own.
 *
 * **When it ends.** The turn is taken before the suspect is claimed, and over when its outcome is durable: until then a
 * death would be counted. But a handler may never end, and then no other suspect would ever run in this process. So it
 * is over sooner
 *
 * - when the run counts as stuck: some seconds after its abort (a time-out, a cancel, a stop) its handler goes on,
 *   perhaps for ever;
 * - after `longestMs`, whatever the run does. One that nobody aborts (no `timeoutMs`) cannot be told from one that
 *   hangs. Whoever kills its process mostly does so early in its run: it cannot read its payload, or takes all memory.
 *   One that has run for so long is likely to be innocent, or to hang; and long innocent jobs, of which a death may
 *   leave many, need not wait for each other's ends.
 *
 * **What that costs.** A suspect that kills its process later than that takes those along that have begun behind it:
 * one per `longestMs`, and not the whole process's. That is one more crash of theirs, and they have turns again.
 *
 * Who has left its turn may end much later, in another suspect's turn. So whoever takes it gets the only way to end it,
 * which does nothing once it is over.
 */
export interface SuspectTurn {
  /**
   * @param onLate - called where the turn ends by its time
   * @returns ends it; null: it is another suspect's, which runs, or is being claimed
   */
  take(onLate: () => void): (() => void) | null
}

const longestMs = 600_000

export function createSuspectTurn(): SuspectTurn {
  let owner: symbol | null = null
  return {
    take(onLate) {
      if (owner !== null) return null
      const own = Symbol('turn')
      owner = own
      const timer = setTimeout(() => {
        over()
        onLate()
      }, longestMs).unref()
      function over(): void {
        clearTimeout(timer)
        if (owner === own) owner = null
      }
      return over
    },
  }
}

/** The turns that suspects of one consumer have. */
export interface Turns {
  /** @param end - ends its turn */
  began(suspect: ClaimedJob, end: () => void): void
  /** The outcome of a job is durable, or will never be; or its run is stuck. */
  ended(claimed: ClaimedJob): void
}

/** @param wake - there may be jobs: another suspect may be claimed */
export function createTurns(wake: () => void): Turns {
  const turns = new Map<ClaimedJob, () => void>()
  return {
    began: (suspect, end) => void turns.set(suspect, end),
    ended(claimed) {
      if (claimed.job.crashes === 0) return
      turns.get(claimed)?.()
      turns.delete(claimed)
      wake()
    },
  }
}
