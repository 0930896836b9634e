import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'
import createDebug from 'debug'
import { databaseFault, toError } from '../errors.js'
import type { StoredError } from '../payload.js'

const log = createDebug('bugle:settler')

/**
 * Writes outcomes, many in one statement, each fenced by (id, worker, lease).
 *
 * One statement is in flight at a time; outcomes that come meanwhile gather and go with the next. So none waits when
 * idle, and many share a commit when busy.
 *
 * An outcome is held until it is durable or refused by the fence. What may interleave:
 * - the statement failed and was rolled back: it is sent again after a pause;
 * - its answer was lost, and it may have committed: it is sent again **alone**. A row that is missing now was settled by
 *   the first one; so was one that is failed under our lease, if we failed it: the lease changes with every claim, so
 *   nobody has had the job since. A row with our lease in any other state was given back by others, and is not ours;
 * - the job was taken over meanwhile: the fence does not match, nothing is changed, and the outcome is `stale`;
 * - the same worker claims a job again while its former handler still runs: the two outcomes go in two statements, so
 *   that each is held against its own lease;
 * - the server refuses the data of one outcome (SQLSTATE class 22, 23, 54): the batch is halved until that one
 *   stands alone; it becomes a failure that says so, sent by itself, and the others are settled.
 */
export interface Settler {
  /** Never rejects. A `stale` outcome changed nothing; `lease` is the row's now, null if there is no row. */
  settle(settlement: Settlement): Promise<Settled>
}

export interface Settlement {
  readonly id: string
  readonly lease: string
  readonly attempt: number
  /** null: acked. */
  readonly failure: StoredFailure | null
}

/** What a failed job's `last_error` holds. */
export interface StoredFailure extends StoredError {
  /** Why the job is failed, as in the event `job:failed`. */
  readonly failedBy: string
  readonly attempt: number
}

export type Settled =
  | { readonly is: 'durable' }
  /** The database would not hold the outcome: the job is failed instead, with this error. */
  | { readonly is: 'refused'; readonly error: Error }
  | { readonly is: 'stale'; readonly lease: string | null }

/** Unmatched outcomes: id, and the row's lease and state now (null: no row). */
export type Missed = readonly { readonly id: string; readonly lease: string | null; readonly state: string | null }[]

export interface SettlerParts {
  /** One autocommit statement for all of them. */
  readonly write: (batch: readonly Settlement[]) => Promise<Missed>
  /** A failure other than the connection's, such as a privilege that is missing. It is tried again. */
  readonly onError: (error: Error) => void
  readonly random: () => number
}

/** The statement looks each id up in the list of them: its cost grows with the square, from here on noticeably. */
const mostAtOnce = 250
const durable: Settled = { is: 'durable' }

interface Pending {
  readonly settlement: Settlement
  readonly refusedBy: Error | null
  readonly done: (settled: Settled) => void
}

export function createSettler({ write, onError, random }: SettlerParts): Settler {
  let pending: Pending[] = []
  let flushing = false

  async function flush(): Promise<void> {
    if (flushing) return
    flushing = true
    while (pending.length > 0) {
      // Handlers that end in the same turn of the event loop share a statement.
      await nextTurn()
      const batch = takeBatch()
      await settleAll(batch, false)
    }
    flushing = false
  }

  function takeBatch(): Pending[] {
    const ids = new Set<string>()
    const batch: Pending[] = []
    const later: Pending[] = []
    for (const outcome of pending) {
      const { id } = outcome.settlement
      if (batch.length === mostAtOnce || ids.has(id)) later.push(outcome)
      else batch.push(outcome)
      ids.add(id)
    }
    pending = later
    return batch
  }

  async function settleAll(batch: readonly Pending[], answerWasLost: boolean): Promise<void> {
    let answerLost = answerWasLost
    let lookedTwice = false
    for (let tries = 1; ; tries += 1) {
      try {
        const missed = await write(batch.map(({ settlement }) => settlement))
        // The first statement, whose answer was lost, committed in the middle of this one: look once more.
        if (answerLost && isOutdated(batch, missed) && !lookedTwice) lookedTwice = true
        else return tell(batch, missed, answerLost)
      } catch (error) {
        const fault = databaseFault(error)
        log('%d outcomes, try %d: %s: %s', batch.length, tries, fault, toError(error).message)
        if (fault === 'data' && !isHopeless(batch)) return settleApart(batch, toError(error), answerLost)
        if (fault === 'unknown') answerLost = true
        else if (fault !== 'down' && fault !== 'passing') onError(toError(error))
      }
      await sleep(Math.min(25 * 2 ** tries, 1_000) * (0.5 + random()))
    }
  }

  async function settleApart(batch: readonly Pending[], error: Error, answerLost: boolean): Promise<void> {
    const [only] = batch
    // Not waited for: should even this be refused, it is only its own slot that stays taken.
    if (batch.length === 1 && only !== undefined) return void settleAll([asFailure(only, error)], answerLost)
    const middle = Math.ceil(batch.length / 2)
    await settleAll(batch.slice(0, middle), answerLost)
    await settleAll(batch.slice(middle), answerLost)
  }

  return {
    settle(settlement) {
      return new Promise((done) => {
        pending.push({ settlement, refusedBy: null, done })
        void flush()
      })
    },
  }
}

/** Even the failure that takes a refused outcome's place was refused: then it is not the data. */
function isHopeless(batch: readonly Pending[]): boolean {
  return batch.length === 1 && batch[0]?.refusedBy !== null
}

function asFailure(pending: Pending, error: Error): Pending {
  const { id, lease, attempt } = pending.settlement
  return {
    settlement: {
      id,
      lease,
      attempt,
      failure: {
        name: 'BugleError',
        message: 'the database refused to store the outcome of this run',
        failedBy: 'exhausted',
        attempt,
      },
    },
    refusedBy: error,
    done: pending.done,
  }
}

function tell(batch: readonly Pending[], missed: Missed, answerLost: boolean): void {
  const rows = new Map(missed.map((row) => [row.id, row]))
  for (const { settlement, refusedBy, done } of batch) {
    const row = rows.get(settlement.id)
    if (row !== undefined && !(answerLost && wasOurs(settlement, row))) done({ is: 'stale', lease: row.lease })
    else done(refusedBy === null ? durable : { is: 'refused', error: refusedBy })
  }
}

/** A row still running under the very lease that did not match: it was seen as it was before the statement. */
function isOutdated(batch: readonly Pending[], missed: Missed): boolean {
  return missed.some(({ id, lease, state }) => {
    const own = batch.find(({ settlement }) => settlement.id === id)
    return state === 'running' && lease === own?.settlement.lease
  })
}

function wasOurs({ lease, failure }: Settlement, row: Missed[number]): boolean {
  return row.lease === null || (failure !== null && row.state === 'failed' && row.lease === lease)
}
