import type { Settled, Settlement } from './ending.js'

/** An outcome that is not known to be durable, or refused by the fence. */
export interface Pending {
  readonly settlement: Settlement
  readonly done: (settled: Settled) => void
  /** A statement with it may have committed. */
  answerLost: boolean
  /** How often it was refused alone. */
  refusals: number
  /** It is told what became of it. */
  isOver: boolean
}

/**
 * Outcomes that did not match: id, and the row's lease and state now (null: no row); and, with `matched`, jobs that
 * wait, with their `runAt` (null: cancelled).
 */
export type Answers = readonly Answer[]

export interface Answer {
  readonly id: string
  readonly lease: string | null
  readonly state: string | null
  readonly matched?: boolean
  readonly runAt?: number | null
}

const durable: Settled = { is: 'durable', runAt: null }

export function pendingOf(settlement: Settlement, done: (settled: Settled) => void, answerLost = false): Pending {
  return { settlement, done, answerLost, refusals: 0, isOver: false }
}

export function end(outcome: Pending, settled: Settled): void {
  outcome.isOver = true
  outcome.done(settled)
}

/** @param refusedBy - the batch was written without its data, since this refuses it */
export function tell(batch: readonly Pending[], answers: Answers, refusedBy: Error | null = null): void {
  if (answers.length === 0 && refusedBy === null) {
    for (const outcome of batch) end(outcome, durable)
    return
  }
  const rows = new Map(answers.map((row) => [row.id, row]))
  for (const outcome of batch) {
    const row = rows.get(outcome.settlement.id)
    if (row !== undefined && row.matched !== true) end(outcome, missed(outcome, row))
    else if (refusedBy !== null) end(outcome, { is: 'refused', error: refusedBy })
    else if (row === undefined) end(outcome, durable)
    else end(outcome, row.runAt == null ? { is: 'cancelled' } : { is: 'durable', runAt: row.runAt })
  }
}

function missed({ settlement, answerLost }: Pending, row: Answer): Settled {
  const { lease, ending, ackedInTransaction } = settlement
  if (row.lease === null && ackedInTransaction) return { is: 'acked-before' }
  const wouldRemove = ending.is === 'acked' || ending.is === 'acked-on-lane' || ending.is === 'archived'
  const wasOurs = wouldRemove ? row.lease === null : row.lease === lease && row.state !== 'running'
  return answerLost && wasOurs ? durable : { is: 'stale', lease: row.lease }
}

/** A row still running under the very lease that did not match: it was seen as it was before the statement. */
export function isOutdated({ settlement }: Pending, answers: Answers): boolean {
  return answers.some(
    ({ id, lease, state, matched }) =>
      id === settlement.id && matched !== true && state === 'running' && lease === settlement.lease,
  )
}
