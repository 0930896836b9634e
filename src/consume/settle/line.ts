import { setImmediate as nextTurn } from 'node:timers/promises'
import { mostAtOnce } from '../most-at-once.js'
import type { Ending } from './ending.js'
import type { Pending } from './pending.js'

/**
 * Outcomes that wait for a statement. One at a time is sent; what comes meanwhile gathers and goes with the next one.
 * While the line is held, they wait for a claim that takes them along (`take`), or for `flush` after that.
 */
interface Line {
  readonly length: number
  push(outcome: Pending): void
  flush(): Promise<void>
  /** What one statement may take. */
  take(): Pending[]
  /** What is not of that worker goes to the other line. */
  moveOthersOf(workerId: string, line: Pick<Line, 'push'>): void
}

interface LineParts {
  /** Whether so many outcomes had better wait. */
  readonly isHeld: (length: number) => boolean
  readonly settleAll: (batch: readonly Pending[]) => Promise<void>
}

/**
 * Length of results, progress and errors per statement, in UTF-16 units: the statement reads its list again for each
 * one.
 */
const mostCharsAtOnce = 1_000_000

export function createLine({ isHeld, settleAll }: LineParts): Line {
  let pending: Pending[] = []
  let isFlushing = false

  async function flush(): Promise<void> {
    if (isFlushing) return
    isFlushing = true
    while (pending.length > 0 && !isHeld(pending.length)) {
      // Handlers that end in the same turn of the event loop share a statement.
      await nextTurn()
      if (!isHeld(pending.length)) await settleAll(take())
    }
    isFlushing = false
  }

  function take(): Pending[] {
    const [batch, later] = firstBatch(pending)
    pending = later
    return batch
  }

  return {
    get length() {
      return pending.length
    },
    push(outcome) {
      pending.push(outcome)
      if (!isFlushing && !isHeld(pending.length)) void flush()
    },
    flush,
    take,
    moveOthersOf(workerId, line) {
      if (pending.every(({ settlement }) => settlement.workerId === workerId)) return
      for (const outcome of pending) if (outcome.settlement.workerId !== workerId) line.push(outcome)
      pending = pending.filter(({ settlement }) => settlement.workerId === workerId)
    },
  }
}

/** The first of them that can go in one statement, and the others. */
function firstBatch(pending: readonly Pending[]): [batch: Pending[], later: Pending[]] {
  const ids = new Set<string>()
  const batch: Pending[] = []
  const later: Pending[] = []
  const first = pending[0]
  let chars = 0
  for (const outcome of pending) {
    const { id, ending } = outcome.settlement
    const isFull = batch.length === mostAtOnce || (batch.length > 0 && chars + charsOf(ending) > mostCharsAtOnce)
    if (isFull || ids.has(id) || !goTogether(outcome, first)) {
      later.push(outcome)
    } else {
      batch.push(outcome)
      chars += charsOf(ending)
    }
    ids.add(id)
  }
  return [batch, later]
}

function charsOf(ending: Ending): number {
  switch (ending.is) {
    case 'acked':
    case 'acked-on-lane':
      return 0
    case 'archived':
      return ending.result.length
    case 'failed':
      return (ending.error.stack?.length ?? 0) + ending.error.message.length
    case 'waiting':
      return (ending.progress?.length ?? 0) + (ending.error?.stack?.length ?? 0) + (ending.error?.message.length ?? 0)
  }
}

/** Whether one statement can hold both: plain acks have their own, those of lanes too, and each is of one worker. */
function goTogether({ settlement }: Pending, first: Pending | undefined): boolean {
  if (first === undefined) return true
  const { workerId, ending } = first.settlement
  if (settlement.workerId !== workerId) return false
  if (ending.is === 'acked' || ending.is === 'acked-on-lane') return settlement.ending.is === ending.is
  return settlement.ending.is !== 'acked' && settlement.ending.is !== 'acked-on-lane'
}
