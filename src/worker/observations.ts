/**
 * Which workers are dead, judged by one that watches them: by what it saw itself, on its own monotonic clock.
 *
 * Seen means that `seen_at` has changed between two heartbeats of ours, or that the presence lock is held. The
 * value itself is never read as a time: clocks of machines differ, and the database's own may jump.
 *
 * - **alive**: seen within its `rescueAfterMs` (its own word: it stops claiming when it cannot confirm its presence for
 *   so long). Nothing is asked about such a worker.
 * - **suspect**: not seen to change for that long. Only then pg_locks is asked.
 *   - its lock is held: its connection lives, so it does, and its event loop is blocked or its process is stopped. It
 *     is left alone, so that a handler that computes for long is not run twice; until `hungAfterMs` without a change:
 *     **hung**
 *   - its lock is not held: **dead**.
 *
 * How long something has not changed is counted cautiously: from the moment the answer that showed the change was
 * read, to the moment the look that shows no further change was sent. So a watcher that was stopped itself, and finds
 * an old answer in its socket, does not take its own absence for somebody else's.
 *
 * **After a reconnect** of ours everything is counted afresh, and nobody is judged for three times its `rescueAfterMs`:
 * a server's restart ends every session and so frees every lock, and nobody could confirm anything meanwhile. Those who
 * are back first must not rob the others. One that has just started judges after the suspect's `rescueAfterMs` of its
 * own watching: it has lost no session, and those who have lost theirs are back within a second or two. So a process
 * that is started again in place of one that was killed need not wait longer than any other for its jobs.
 */
interface Observations {
  /** @returns the suspects, of whose locks one must ask */
  look(seen: Look): OtherWorker[]
  /** @param isLockHeld - asked for a suspect of that look */
  judge(worker: OtherWorker, isLockHeld: boolean, look: Look): Verdict
  /** We are back after having been away. */
  restart(at: number): void
}

export type Verdict = 'alive' | 'dead' | 'hung'

export interface OtherWorker {
  readonly id: string
  /** Changes with each of its heartbeats; compared, and never read. */
  readonly seenAt: string
  readonly rescueAfterMs: number
  readonly hungAfterMs: number
}

/** A heartbeat's view of the other workers; times on performance.now(). */
export interface Look {
  readonly others: readonly OtherWorker[]
  readonly sentAt: number
  readonly answeredAt: number
}

const quietFactor = 3

/** @param rescueAfterMs - our own: we may have been back for longer than others, whose word is shorter */
export function createObservations(rescueAfterMs: number): Observations {
  let changes = new Map<string, { readonly seenAt: string; readonly at: number }>()
  let restartedAt = Number.NEGATIVE_INFINITY

  /** For how long, at least, it has not changed. */
  function unchangedMs(worker: OtherWorker, { sentAt }: Look): number {
    const change = changes.get(worker.id)
    return change?.seenAt === worker.seenAt ? sentAt - change.at : 0
  }

  return {
    look(look) {
      const { others, sentAt, answeredAt } = look
      const before = changes
      changes = new Map(
        others.map(({ id, seenAt }) => {
          const known = before.get(id)
          return [id, known?.seenAt === seenAt ? known : { seenAt, at: answeredAt }]
        }),
      )
      return others.filter(
        (other) =>
          unchangedMs(other, look) >= other.rescueAfterMs &&
          sentAt - restartedAt >= quietFactor * Math.max(rescueAfterMs, other.rescueAfterMs),
      )
    },
    judge(worker, isLockHeld, look) {
      if (!isLockHeld) return 'dead'
      return unchangedMs(worker, look) >= worker.hungAfterMs ? 'hung' : 'alive'
    },
    restart(at) {
      changes = new Map()
      restartedAt = at
    },
  }
}
