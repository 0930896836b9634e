/**
 * The turn in which one job runs that a process has died under: a suspect. One worker has one turn, whatever its
 * queues.
 *
 * **Why one at a time.** When a process dies, all jobs that it had claimed have a crash counted, and nobody knows which
 * of them has killed it. Run together again, they would die together again: after `maxCrashes` deaths one job has taken
 * all the others along. So a suspect is never claimed together with another one, and none is claimed in a process in
 * which one runs. The next death is then counted against one suspect only, the one that was there both times; an
 * innocent one runs to its end.
 *
 * Jobs without a crash run beside it. The death of the process makes suspects of them, once: from then on they have
 * turns of their own.
 *
 * The turn is taken before the suspect is claimed, and over when its outcome is durable: until then a death would be
 * counted. A handler that was abandoned at a stop may still kill the process, so it keeps its turn.
 */
export interface SuspectTurn {
  /** @returns false: a suspect runs, or is being claimed */
  take(): boolean
  over(): void
}

export function createSuspectTurn(): SuspectTurn {
  let isTaken = false
  return {
    take() {
      if (isTaken) return false
      isTaken = true
      return true
    },
    over() {
      isTaken = false
    },
  }
}
