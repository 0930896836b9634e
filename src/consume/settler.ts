import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'
import createDebug from 'debug'
import { databaseFault, isTimeOut, sqlState } from '../database/verdict.js'
import { BugleError, toError } from '../errors.js'
import type { Ending, Settled, Settlement } from './ending.js'

const log = createDebug('bugle:settler')

/**
 * Writes outcomes, many in one statement, each fenced by (id, worker, lease).
 *
 * There are two lines: one for plain acks, which are nearly all outcomes and are deleted by two arrays, and one for all
 * others. Each line sends one statement at a time; outcomes that come meanwhile gather and go with the next one. So no
 * outcome waits when the line is idle, and many share a commit when it is busy. (What has failed is sent again beside
 * that.)
 *
 * Acks travel with claims: while a claim is in flight or will be sent (`isHeld`), they wait for the next one, which
 * takes them along (`carry`) and saves a statement and a commit. When the hold ends without a claim, the consumer calls
 * `flush`, and they go alone. When a claim that carried them has failed, they go alone as well, never with another
 * claim: a claim's fault must not stop acks, and an ack's fault must not stop claims.
 *
 * An outcome is held until it is durable or refused by the fence. What may interleave:
 * - the statement failed and was rolled back: it is sent again after a pause;
 * - its answer, or that of the claim it went with, was lost, and it may have committed: it is sent again **alone**. If
 *   our outcome removes the row, a missing row was settled by the first statement. If it keeps the row, a row that has
 *   our lease and does not run was: the lease changes with every claim and every rescue, so nobody has had the job
 *   since;
 * - the job was taken over meanwhile: the fence does not match, nothing is changed, and the outcome is `stale`;
 * - the handler acked the job in its own transaction: a row that is missing then is that ack, committed;
 * - a put took the key of a job that goes back, and committed at that very moment (23505): the statement is sent again,
 *   and sees the put;
 * - the same worker claims a job again while its former handler still runs: the two outcomes go in two statements, so
 *   that each is held against its own lease;
 * - the worker was given up meanwhile and goes on under a new id: outcomes of both ids go in two statements, each held
 *   against the id it was claimed under. The outcomes of the old id may still match, if nobody has collected their jobs
 *   yet;
 * - the instance is closed while a handler goes on: `write` finds another way, or refuses as CLOSED for good. Then the
 *   outcome is given up, and the job rescued once this worker is gone;
 * - the server refuses the data of one outcome (SQLSTATE class 22, 23, 54): the batch is halved until that one
 *   stands alone; it becomes a failure that says so, sent by itself, and the others are settled;
 * - somebody holds a lock that one outcome needs (a row that psql has in an open transaction, the handler's own
 *   transaction that is not committed yet, a key that an open transaction has put), or a batch is too much for one
 *   statement: when the server's time-out ends it, the whole batch steps aside. Those outcomes go one at a time, round
 *   after round, on one connection at most, until each is through; all others go on meanwhile.
 */
export interface Settler {
  /** Never rejects. A `stale` outcome changed nothing; `lease` is the row's now, null if there is no row. */
  settle(settlement: Settlement): Promise<Settled>
  /**
   * The same for plain acks, with a callback instead of a promise, since it runs once per job. The callback must not
   * throw.
   */
  ack(settlement: Settlement, done: (settled: Settled) => void): void
  /** Acks that are not on their way. */
  readonly waitingAcks: number
  /** That worker's acks, for a claim to take along; null: none waits. */
  carry(workerId: string): Carried | null
  /** Acks need no longer wait for a claim. */
  flush(): void
}

/** Acks on their way with a claim. One of the two must follow. */
export interface Carried {
  readonly acks: readonly Settlement[]
  /** `acked`: the ids of those that matched; null: all. The others go once more, alone, and hear why. */
  arrived(acked: readonly string[] | null): void
  failed(error: unknown): void
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

interface SettlerParts {
  /**
   * One autocommit statement for all of them, of one worker id: either all are plain acks, or none is.
   *
   * @throws BugleError `CLOSED`: it will never be written; any other failure is tried again
   */
  readonly write: (batch: readonly Settlement[]) => Promise<Answers>
  /** Whether a claim is about to take acks along. */
  readonly isHeld: () => boolean
  /** A failure other than the connection's, such as a privilege that is missing. It is tried again. */
  readonly onError: (error: Error) => void
  readonly random: () => number
}

/**
 * Outcomes per statement. More gain little (`npm run bench -- throughput`), and each one takes time in which the
 * server's other statements, and this process's other work, wait.
 */
export const mostAtOnce = 500
/**
 * Length of results, progress and errors per statement, in UTF-16 units: the statement reads its list again for each
 * one.
 */
const mostCharsAtOnce = 1_000_000
const durable: Settled = { is: 'durable', runAt: null }

interface Pending {
  readonly settlement: Settlement
  readonly refusedBy: Error | null
  readonly done: (settled: Settled) => void
}

export function createSettler({ write, isHeld, onError, random }: SettlerParts): Settler {
  const acks = createLine(isHeld)
  const others = createLine(() => false)
  let aside: { readonly outcome: Pending; readonly answerLost: boolean }[] = []
  let goingOneByOne = false

  function createLine(isLineHeld: () => boolean) {
    let pending: Pending[] = []
    let isFlushing = false
    return {
      get length() {
        return pending.length
      },
      push(outcome: Pending): void {
        pending.push(outcome)
        if (!isFlushing && !isLineHeld()) void this.flush()
      },
      async flush(): Promise<void> {
        if (isFlushing) return
        isFlushing = true
        while (pending.length > 0 && !isLineHeld()) {
          // Handlers that end in the same turn of the event loop share a statement.
          await nextTurn()
          if (!isLineHeld()) await settleAll(this.take(), false)
        }
        isFlushing = false
      },
      take(): Pending[] {
        const [batch, later] = firstBatch(pending)
        pending = later
        return batch
      },
      /** What is not of that worker goes to the other line. */
      moveOthersOf(workerId: string, line: { push(outcome: Pending): void }): void {
        if (pending.every(({ settlement }) => settlement.workerId === workerId)) return
        for (const outcome of pending) if (outcome.settlement.workerId !== workerId) line.push(outcome)
        pending = pending.filter(({ settlement }) => settlement.workerId === workerId)
      },
    }
  }

  async function settleAll(all: readonly Pending[], answerWasLost: boolean): Promise<void> {
    if (all.length === 0) return
    let batch = all
    let answerLost = answerWasLost
    for (let tries = 1; ; tries += 1) {
      try {
        const left = await settleOnce(batch, answerLost, batch === all)
        if (left.length === 0) return
        batch = left
        continue
      } catch (error) {
        if (error instanceof BugleError && error.code === 'CLOSED') {
          for (const { done } of batch) done({ is: 'given-up' })
          return
        }
        const fault = databaseFault(error)
        log('%d outcomes, try %d: %s: %s', batch.length, tries, fault, toError(error).message)
        if (fault === 'unknown') answerLost = true
        if (isTimeOut(error)) return stepAside(batch, answerLost)
        if (fault === 'data' && !isHopeless(batch)) return settleApart(batch, toError(error), answerLost)
        if (fault !== 'unknown' && fault !== 'down' && fault !== 'passing') onError(toError(error))
      }
      await pause(tries)
    }
  }

  /**
   * @returns those to be looked at once more: somebody else settled them, and committed in the middle of the statement
   */
  async function settleOnce(batch: readonly Pending[], answerLost: boolean, again: boolean): Promise<Pending[]> {
    const answers = await write(batch.map(({ settlement }) => settlement))
    const outdated = again ? batch.filter((outcome) => isOutdated(outcome, answers)) : []
    tell(outdated.length === 0 ? batch : batch.filter((outcome) => !outdated.includes(outcome)), answers, answerLost)
    return outdated
  }

  async function settleApart(batch: readonly Pending[], error: Error, answerLost: boolean): Promise<void> {
    const [only] = batch
    // Not waited for: should even this be refused, it is only its own slot that stays taken.
    if (batch.length === 1 && only !== undefined) return void settleAll([asFailure(only, error)], answerLost)
    const middle = Math.ceil(batch.length / 2)
    await settleAll(batch.slice(0, middle), answerLost)
    await settleAll(batch.slice(middle), answerLost)
  }

  function stepAside(batch: readonly Pending[], answerLost: boolean): void {
    aside.push(...batch.map((outcome) => ({ outcome, answerLost })))
    void settleOneByOne()
  }

  async function settleOneByOne(): Promise<void> {
    if (goingOneByOne) return
    goingOneByOne = true
    for (let round = 1; aside.length > 0; round += 1) {
      const all = aside
      aside = []
      for (const { outcome, answerLost } of all) await settleAll([outcome], answerLost)
      // Whatever was blocked again has stepped aside again.
      if (aside.length > 0) await pause(round)
    }
    goingOneByOne = false
  }

  /** Does not keep the process alive: once the instance is closed, it may end before the database is back. */
  function pause(tries: number): Promise<void> {
    return sleep(Math.min(25 * 2 ** tries, 1_000) * (0.5 + random()), undefined, { ref: false })
  }

  return {
    settle(settlement) {
      return new Promise((done) => {
        const line = settlement.ending.is === 'acked' ? acks : others
        line.push({ settlement, refusedBy: null, done })
      })
    },
    ack(settlement, done) {
      // One that the handler has acked itself matches nothing, or waits for the handler's transaction: no claim should.
      const line = settlement.ackedInTransaction ? others : acks
      line.push({ settlement, refusedBy: null, done })
    },
    get waitingAcks() {
      return acks.length
    },
    carry(workerId) {
      // The claim is made under the worker's new id. Acks of the id that was given up go alone.
      acks.moveOthersOf(workerId, others)
      if (acks.length === 0) return null
      const batch = acks.take()
      return {
        acks: batch.map(({ settlement }) => settlement),
        arrived(acked) {
          if (acked === null) return tell(batch, [], false)
          const ids = new Set(acked)
          const hasMatched = ({ settlement }: Pending): boolean => ids.has(settlement.id)
          tell(batch.filter(hasMatched), [], false)
          void settleAll(
            batch.filter((outcome) => !hasMatched(outcome)),
            false,
          )
        },
        failed: (error) => void settleAll(batch, mayHaveCommitted(error)),
      }
    },
    flush: () => void acks.flush(),
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
      return 0
    case 'archived':
      return ending.result.length
    case 'failed':
      return (ending.error.stack?.length ?? 0) + ending.error.message.length
    case 'waiting':
      return (ending.progress?.length ?? 0) + (ending.error?.stack?.length ?? 0) + (ending.error?.message.length ?? 0)
  }
}

/** Whether one statement can hold both: plain acks have their own, and each is of one worker. */
function goTogether({ settlement }: Pending, first: Pending | undefined): boolean {
  if (first === undefined) return true
  const { workerId, ending } = first.settlement
  return settlement.workerId === workerId && (settlement.ending.is === 'acked') === (ending.is === 'acked')
}

/** Even the failure that takes a refused outcome's place was refused: then it is not the data. */
function isHopeless(batch: readonly Pending[]): boolean {
  return batch.length === 1 && batch[0]?.refusedBy !== null
}

function asFailure(pending: Pending, error: Error): Pending {
  const { settlement, done } = pending
  const ending: Ending = {
    is: 'failed',
    error: {
      name: 'BugleError',
      message: 'the database refused to store the outcome of this run',
      failedBy: 'invalid',
      attempt: settlement.attempt,
    },
  }
  return { settlement: { ...settlement, ending }, refusedBy: error, done }
}

function tell(batch: readonly Pending[], answers: Answers, answerLost: boolean): void {
  if (answers.length === 0 && batch.every(({ refusedBy }) => refusedBy === null)) {
    for (const { done } of batch) done(durable)
    return
  }
  const rows = new Map(answers.map((row) => [row.id, row]))
  for (const { settlement, refusedBy, done } of batch) {
    const row = rows.get(settlement.id)
    if (row !== undefined && row.matched !== true) done(missed(settlement, row, answerLost))
    else if (refusedBy !== null) done({ is: 'refused', error: refusedBy })
    else if (row === undefined) done(durable)
    else done(row.runAt == null ? { is: 'cancelled' } : { is: 'durable', runAt: row.runAt })
  }
}

function missed({ lease, ending, ackedInTransaction }: Settlement, row: Answer, answerLost: boolean): Settled {
  if (row.lease === null && ackedInTransaction) return { is: 'acked-before' }
  const wouldRemove = ending.is === 'acked' || ending.is === 'archived'
  const wasOurs = wouldRemove ? row.lease === null : row.lease === lease && row.state !== 'running'
  return answerLost && wasOurs ? durable : { is: 'stale', lease: row.lease }
}

/** Whether the claim may have committed: also when our own code threw, since it throws over an answer that has come. */
function mayHaveCommitted(error: unknown): boolean {
  const fault = databaseFault(error)
  return fault === 'unknown' || (fault === 'other' && sqlState(error) === null)
}

/** A row still running under the very lease that did not match: it was seen as it was before the statement. */
function isOutdated({ settlement }: Pending, answers: Answers): boolean {
  return answers.some(
    ({ id, lease, state, matched }) =>
      id === settlement.id && matched !== true && state === 'running' && lease === settlement.lease,
  )
}
