import createDebug from 'debug'
import { isRefusal, type Refused, sendInParts } from '../../database/halving.js'
import { databaseFault, isTimeOut, sqlState } from '../../database/verdict.js'
import { BugleError, toError } from '../../errors.js'
import type { Settled, Settlement } from './ending.js'
import { settleInPart } from './lesser.js'
import { createLine } from './line.js'
import { createPauses } from './pauses.js'
import { end, isOutdated, type Pending, pendingOf, tell } from './pending.js'
import type { SettlerParts } from './settler-parts.js'

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
 * - the statement failed and was rolled back: it is sent again after a pause. The pauses grow, and end at once when
 *   somebody else gets through to the database: then `hurry` is called. One that has ended is cut no more, so each
 *   call makes one try sooner, and nothing twice;
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
 * - the ack is of an express lane whose commit is not known: it goes as if its answer had been lost, by a statement of
 *   its own, as there is no worker in the row to hold it against;
 * - the worker was given up meanwhile and goes on under a new id: outcomes of both ids go in two statements, each held
 *   against the id it was claimed under. The outcomes of the old id may still match, if nobody has collected their jobs
 *   yet;
 * - the instance is closed while a handler goes on: `write` finds another way, or refuses as CLOSED for good. Then the
 *   outcome is given up, and the job rescued once this worker is gone;
 * - somebody holds a lock that one outcome needs (a row that psql has in an open transaction, the handler's own
 *   transaction that is not committed yet, a key that an open transaction has put), or a batch is too much for one
 *   statement: when the server's time-out ends it, the whole batch steps aside. Those outcomes go one at a time, round
 *   after round, on one connection at most, until each is through; all others go on meanwhile;
 * - the server refuses the statement (an SQLSTATE that will come again: a trigger or a constraint of the application's,
 *   data that the server cannot hold, a damaged row). It is sent for no job: refused as well, it is no outcome's fault,
 *   and the line waits and tries again. Otherwise the batch goes in parts (database/halving.ts) until those at fault
 *   stand alone, and all others are settled.
 *
 * **An outcome that is refused alone.** Only data can make an outcome unwritable for good, and what carries no data (an
 * ack, a release, a job that only goes back) never is. So one with data is sent once more with its text in ASCII, which
 * any server can hold (a database in LATIN1 has no '€'), and then as the same ending without its data. If that goes
 * through, the data was at fault, and the job ends like that: an archived job without its result, a waiting one without
 * its new progress, a failed one with an error that says so (`refused`). If it does not, the reason lies elsewhere: the
 * outcome stays as it was, holds its slot, is reported, and steps aside, to be sent again with the next round. Its
 * lesser forms are tried at once and then seldom (after 8 rounds, 16, 32, ...): should the trouble end between two of
 * these statements, data is left out that could have been stored. That is reported too, and the job's end is right.
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
  /** Somebody got through to the database: no pause is worth waiting for. */
  hurry(): void
}

/** Acks on their way with a claim. One of the two must follow. */
export interface Carried {
  readonly acks: readonly Settlement[]
  /** `acked`: the ids of those that matched; null: all. The others go once more, alone, and hear why. */
  arrived(acked: readonly string[] | null): void
  failed(error: unknown): void
}

export function createSettler(parts: SettlerParts): Settler {
  const { write, isHeld, onError } = parts
  const pauses = createPauses(parts.random)
  const acks = createLine({ isHeld, settleAll })
  const others = createLine({ isHeld: () => false, settleAll })
  let aside: Pending[] = []
  let goingOneByOne = false

  /** Resolves when each of them is over or has stepped aside, or goes on by itself. */
  async function settleAll(all: readonly Pending[]): Promise<void> {
    // Not waited for: it is only their own slots that stay taken.
    void settleEach(await settleTogether(all))
  }

  /** @returns those that are at fault alone */
  async function settleTogether(all: readonly Pending[]): Promise<readonly Refused<Pending>[]> {
    for (let tries = 1; ; tries += 1) {
      const batch = all.filter(isOpen)
      const [first] = batch
      if (first === undefined) return []
      try {
        await send(batch)
        return []
      } catch (refusal) {
        log('%d outcomes are refused: %s', batch.length, toError(refusal).message)
        try {
          return await sendInParts(batch.filter(isOpen), {
            send: (part) => send(part.filter(isOpen)),
            sendNone: () => parts.writeNone(first.settlement),
          })
        } catch (error) {
          if (isRefusal(error)) onError(toError(refusal))
        }
      }
      if (await pauses.after(tries)) tries = 0
    }
  }

  /**
   * One statement for all of them, sent again until each is over or has stepped aside.
   *
   * @throws the server's refusal: those that are not over by then are as they were
   */
  async function send(all: readonly Pending[]): Promise<void> {
    let batch = all
    for (let tries = 1; batch.length > 0; tries += 1) {
      try {
        batch = await settleOnce(batch, batch === all)
      } catch (error) {
        if (error instanceof BugleError && error.code === 'CLOSED') {
          for (const outcome of batch) end(outcome, { is: 'given-up' })
          return
        }
        const fault = databaseFault(error)
        log('%d outcomes, try %d: %s: %s', batch.length, tries, fault, toError(error).message)
        if (fault === 'unknown') for (const outcome of batch) outcome.answerLost = true
        if (isTimeOut(error)) return stepAside(batch)
        if (isRefusal(error)) throw error
        if (fault !== 'unknown' && fault !== 'down' && fault !== 'passing') onError(toError(error))
        if (await pauses.after(tries)) tries = 0
      }
    }
  }

  /** @returns those to look at once more: somebody else settled them, and committed in the middle of the statement */
  async function settleOnce(batch: readonly Pending[], again: boolean): Promise<Pending[]> {
    const answers = await write(batch.map(({ settlement }) => settlement))
    const outdated = again ? batch.filter((outcome) => isOutdated(outcome, answers)) : []
    tell(outdated.length === 0 ? batch : batch.filter((outcome) => !outdated.includes(outcome)), answers)
    return outdated
  }

  async function settleEach(refused: readonly Refused<Pending>[]): Promise<void> {
    for (const { member, error } of refused) {
      if (isDueForLess(member.refusals) && (await settleInPart(parts, member, error))) continue
      member.refusals += 1
      if (isPowerOfTwo(member.refusals)) parts.onRefused(member.settlement, error, 'kept')
      aside.push(member)
      void pauses.after(member.refusals).then(settleOneByOne)
    }
  }

  function stepAside(batch: readonly Pending[]): void {
    aside.push(...batch)
    void settleOneByOne()
  }

  async function settleOneByOne(): Promise<void> {
    if (goingOneByOne) return
    goingOneByOne = true
    for (let round = 1; aside.length > 0; round += 1) {
      const all = aside
      aside = []
      for (const outcome of all) await settleEach(await settleTogether([outcome]))
      // Whatever was blocked or refused again has stepped aside again.
      if (aside.length > 0 && (await pauses.after(round))) round = 0
    }
    goingOneByOne = false
  }

  return {
    settle(settlement) {
      return new Promise((done) => {
        const { is } = settlement.ending
        const line = is === 'acked' ? acks : others
        line.push(pendingOf(settlement, done, is === 'acked-on-lane'))
      })
    },
    ack(settlement, done) {
      // One that the handler has acked itself matches nothing, or waits for the handler's transaction: no claim should.
      const line = settlement.ackedInTransaction ? others : acks
      line.push(pendingOf(settlement, done))
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
          if (acked === null) return tell(batch, [])
          const ids = new Set(acked)
          tell(
            batch.filter(({ settlement }) => ids.has(settlement.id)),
            [],
          )
          void settleAll(batch)
        },
        failed(error) {
          if (mayHaveCommitted(error)) for (const outcome of batch) outcome.answerLost = true
          void settleAll(batch)
        },
      }
    },
    flush: () => void acks.flush(),
    hurry: pauses.cutShort,
  }
}

function isPowerOfTwo(count: number): boolean {
  return Number.isInteger(Math.log2(count))
}

/** Whether an outcome that was refused so often is tried without its data. */
function isDueForLess(refusals: number): boolean {
  return refusals === 0 || (refusals >= 8 && isPowerOfTwo(refusals))
}

function isOpen({ isOver }: Pending): boolean {
  return !isOver
}

/** Whether the claim may have committed: also when our own code threw, since it throws over an answer that has come. */
function mayHaveCommitted(error: unknown): boolean {
  const fault = databaseFault(error)
  return fault === 'unknown' || (fault === 'other' && sqlState(error) === null)
}
