/**
 * Which rows the database says we run, and we do not: their claim's answer was lost, or a failover brought them back.
 *
 * A claim whose answer was lost may commit after any single look of ours, so a look proves nothing about the rows that
 * it does not show; but each heartbeat looks again. A row (id, lease) that it shows is explained by a run of this
 * process (`knows`: claimed, its outcome not durable), or by a claim whose answer is still on its way.
 *
 * **Why two heartbeats.** One shows what was committed when its snapshot was taken, and we read it later. Meanwhile
 * - the claim's answer may be behind it: a claim is in flight at that moment, and may explain the row. But a busy
 *   consumer has one in flight at nearly every moment, so "none is" would never be true. What was shown before by a
 *   heartbeat that was answered at t, a claim sent after t cannot have taken: with a second heartbeat the claim in
 *   flight then is asked when it was sent. t is the time of the answer, since a claim that was sent between heartbeat
 *   and answer may come first;
 * - its run may have ended: settled after the snapshot, and durable before the answer was read. A second heartbeat
 *   does not show it any more. (Giving it back would change nothing, as the fence holds; it would be said all the
 *   same.)
 *
 * So a row is given back which two heartbeats in a row show, which no run explains at the second, and no claim in
 * flight that was sent before the answer to the first. A claim that was answered in between is among the runs, or was
 * settled in between; in the latter case the fence (id, worker, lease) does not match any more.
 */
interface Reconciler<Row extends OwnedLease> {
  /**
   * @param rows - all running rows of this worker, by one heartbeat
   * @param answeredAt - when its answer was read
   * @returns those that are to be given back
   */
  look(rows: readonly Row[], answeredAt: number): Row[]
  /** The rows of before were another worker id's. */
  restart(): void
}

interface OwnedLease {
  readonly id: string
  readonly lease: string
}

interface ReconcilerOptions {
  readonly knows: (id: string, lease: string) => boolean
  /** When the oldest claim that is in flight was sent; null: none is. */
  readonly claimingSince: () => number | null
}

export function createReconciler<Row extends OwnedLease>({ knows, claimingSince }: ReconcilerOptions): Reconciler<Row> {
  /** When each row of the last look was first seen, by the looks in a row that have shown it. */
  let seenAt = new Map<string, number>()

  return {
    look(rows, answeredAt) {
      const before = seenAt
      seenAt = new Map(rows.map((row) => [keyOf(row), before.get(keyOf(row)) ?? answeredAt]))
      const claimedAt = claimingSince() ?? Number.POSITIVE_INFINITY
      return rows.filter((row) => {
        const firstAt = before.get(keyOf(row))
        return firstAt !== undefined && firstAt <= claimedAt && !knows(row.id, row.lease)
      })
    },
    restart() {
      seenAt = new Map()
    },
  }
}

function keyOf({ id, lease }: OwnedLease): string {
  return `${id} ${lease}`
}
