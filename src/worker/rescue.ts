import createDebug from 'debug'
import { jitter } from '../backoff.js'
import type { Database } from '../database/database.js'
import { despiteDeadlocks } from '../database/fault.js'
import { isRefusalOrTimeOut, sendInParts } from '../database/halving.js'
import { BugleError, jobRefused, toError } from '../errors.js'
import type { Events, FailureCause } from '../events.js'
import { createObservations, type Look, type OtherWorker } from './observations.js'

const log = createDebug('bugle:rescue')

/**
 * Gives the jobs of dead workers back to their queues. There is no leader: every worker does it, and two at once are
 * harmless.
 *
 * **Bury**: a worker that was found dead (see observations.ts) loses its row. The delete is guarded by the very
 * `seen_at` that was observed, so one that has confirmed its presence since, even a moment before, keeps it. From then
 * on it can claim nothing (claim.sql looks for the row), and its next heartbeat tells it that it was given up.
 *
 * **Collect**: running rows whose worker has no row go back, their lease raised, so that whatever their former owner
 * still writes does not match. It is done after an own burial; a few times, `rescueAfterMs` apart, after any worker's
 * row has gone; and else every third of those times, in case that was missed: because the worker that buried may have
 * died before it collected; because a worker may leave with a claim in flight; and because
 *
 * **a claim that was in flight at the burial** may have seen the worker's row in its snapshot and commit after the
 * burial, and after the collect that followed it. Its rows are then running, and their owner has no row: some
 * later collect sees just that. No burial can be too early for it, as nobody ever inserts that id again: a worker that
 * was given up, or that comes back after it had left, takes a new one. So "has no row" is final, and no row that is
 * collected can have a living owner; in a collect's own snapshot either the worker's row is still there, or
 * none of its rows has come after its insert.
 *
 * **Running rows without a worker** go back in the same way, as those of worker '0'. Nothing of ours writes such a row:
 * somebody has set its state by hand. Nobody can settle it, so nobody loses anything by it.
 *
 * Two collects at once skip what the other has locked. What is locked is read again: a row that another has given back
 * since, and a third has claimed, has another owner and is left alone.
 *
 * **One that cannot go back** does not keep the others: a put in an open transaction has its key, and the server's
 * time-out ends the wait for it; or a trigger of the application's refuses it. Then the orphans are listed and go back
 * in parts (database/halving.ts), until those at fault stand alone. These go back without their keys, as a job does
 * whose key waits again. What is refused even so is reported, stays as it is, and is tried again with the next collect.
 */
interface Rescue {
  start(): void
  /** A heartbeat was answered. `isBack`: after one that was not, or after a loss of the control session. */
  look(look: Look, isBack: boolean): void
  /** A session of ours was lost: perhaps everybody's was, and with it every lock. */
  disturbed(): void
  /** Resolves when nothing is in flight any more. */
  stop(): Promise<void>
}

interface RescueOptions {
  readonly database: Pick<Database, 'query'>
  readonly events: Pick<Events, 'emit'>
  readonly rescueAfterMs: number
  readonly maxCrashes: number
  readonly random: () => number
}

interface RescuedRow {
  /** '0': it named none. */
  readonly owner: string
  readonly id: string
  readonly queue: string
  readonly kind: string | null
  readonly attempt: number
  /** null: it waits again. */
  readonly cause: FailureCause | null
  readonly message: string | null
}

interface Orphan {
  readonly id: string
  readonly queue: string
  readonly hasKey: boolean
}

/** Jobs per statement; each is a transaction of its own. */
const batchSize = 500
/** Collects at the closer distance: at the start, and after a worker has gone. */
const closeLooksAtStart = 1
const closeLooksAfterLoss = 3

export function createRescue(options: RescueOptions): Rescue {
  const { database, events, rescueAfterMs, maxCrashes, random } = options
  const observations = createObservations(rescueAfterMs)
  let timer: NodeJS.Timeout | undefined
  let running: Promise<void> = Promise.resolve()
  let isJudging = false
  /** How often we have been away, or come back: a look of before says nothing after it. */
  let returns = 0
  let isCollecting = false
  /** Of the last heartbeat. */
  let others: ReadonlySet<string> = new Set()
  let closeLooks = closeLooksAtStart
  let looksAt = Number.POSITIVE_INFINITY
  let stopped = true

  function schedule(): void {
    if (stopped) return
    const inMs = jitter(rescueAfterMs * (closeLooks > 0 ? 1 : 3), 0.8, 1.2, random)
    const at = performance.now() + inMs
    // Only sooner: where workers come and go, the next look must not be put off with each.
    if (at >= looksAt) return
    looksAt = at
    clearTimeout(timer)
    timer = setTimeout(() => {
      looksAt = Number.POSITIVE_INFINITY
      if (!isCollecting) {
        isCollecting = true
        void inTurn(() => collect([])).finally(() => {
          isCollecting = false
        })
      }
      closeLooks = Math.max(0, closeLooks - 1)
      schedule()
    }, inMs)
  }

  /** One after the other; what fails is tried again with the next heartbeat, or the next collect. */
  function inTurn(work: () => Promise<void>): Promise<void> {
    running = running
      .then(() => (stopped ? undefined : work()))
      .catch((error) => log('failed: %s', toError(error).message))
    return running
  }

  async function judge(suspects: readonly OtherWorker[], look: Look, asked: number): Promise<void> {
    const ids = `{${suspects.map(({ id }) => id).join()}}`
    const holders = await database.query<{ id: string; pid: number }>('presence_holders', [ids])
    // An answer of after a restart says nothing of those whose locks were held before it.
    if (asked !== returns) return
    const buried: string[] = []
    for (const suspect of suspects) {
      const isLockHeld = holders.some(({ id }) => id === suspect.id)
      const verdict = observations.judge(suspect, isLockHeld, look)
      if (verdict === 'alive') continue
      const removed = await database.query('worker_bury', [suspect.id, suspect.seenAt])
      log('%s is %s: %s', suspect.id, verdict, removed.length > 0 ? 'buried' : 'it has moved, or another was first')
      if (removed.length > 0) buried.push(suspect.id)
      // A hung process may still hold the locks by which writers believe that somebody listens.
      if (removed.length > 0 && verdict === 'hung') await terminate(suspect.id)
    }
    if (buried.length > 0) await collect(buried)
  }

  async function terminate(id: string): Promise<void> {
    try {
      await database.query('presence_terminate', [id])
    } catch (error) {
      // The right may be missing. The jobs come back all the same.
      log('sessions of %s not ended: %s', id, toError(error).message)
    }
  }

  /** @param buried - told of even if none of their jobs was running */
  async function collect(buried: readonly string[]): Promise<void> {
    const jobsOf = new Map(buried.map((id) => [id, 0]))
    const failed: RescuedRow[] = []
    /** @returns how many jobs are given back */
    async function giveBack(ids: readonly string[] | null, keys: 'kept' | 'given up'): Promise<number> {
      const given = [maxCrashes, batchSize, ids && `{${ids.join()}}`, String(keys === 'kept')]
      const rows = await despiteDeadlocks(() => database.query<RescuedRow>('rescue', given))
      for (const { owner } of rows) jobsOf.set(owner, (jobsOf.get(owner) ?? 0) + 1)
      failed.push(...rows.filter(({ cause }) => cause !== null))
      return rows.length
    }
    try {
      for (let found = batchSize; found === batchSize && !stopped; ) found = await giveBack(null, 'kept')
    } catch (refusal) {
      if (!isRefusalOrTimeOut(refusal)) throw refusal
      log('in parts: %s', toError(refusal).message)
      await collectApart(giveBack)
    } finally {
      // What was done before one failed counts too: each batch is committed.
      for (const [deadWorkerId, jobs] of jobsOf) {
        log('%d jobs of %s', jobs, deadWorkerId)
        events.emit('worker:rescued', { queue: null, deadWorkerId, jobs })
      }
      for (const row of failed) tellFailed(row)
    }
  }

  async function collectApart(
    giveBack: (ids: readonly string[], keys: 'kept' | 'given up') => Promise<number>,
  ): Promise<void> {
    /** In this collect. */
    const tried: string[] = []
    while (!stopped) {
      const orphans = await database.query<Orphan>('orphans', [batchSize, `{${tried.join()}}`])
      if (orphans.length === 0) return
      const refused = await sendInParts(orphans, {
        send: (part) =>
          giveBack(
            part.map(({ id }) => id),
            'kept',
          ),
        sendNone: () => giveBack([], 'kept'),
        splits: isRefusalOrTimeOut,
      })
      for (const { member, error } of refused) await giveBackAlone(member, error, giveBack)
      // Another rescuer may have locked some.
      tried.push(...orphans.map(({ id }) => id))
    }
  }

  async function giveBackAlone(
    { id, queue, hasKey }: Orphan,
    refusal: Error,
    giveBack: (ids: readonly string[], keys: 'given up') => Promise<number>,
  ): Promise<void> {
    let error = jobRefused(id, 'of a dead worker cannot be given back; it is tried again', refusal)
    if (hasKey) {
      try {
        if ((await giveBack([id], 'given up')) === 0) return
        error = jobRefused(id, 'of a dead worker is given back without its key', refusal)
      } catch (again) {
        if (!isRefusalOrTimeOut(again)) throw again
      }
    }
    events.emit('claim:error', { queue, error })
  }

  function tellFailed({ owner, id, queue, kind, attempt, cause, message }: RescuedRow): void {
    if (cause === null) return
    const text = message ?? cause
    const error = cause === 'cancelled' ? new BugleError('CANCELLED', text) : new BugleError('CRASHED', text)
    events.emit('job:failed', { queue, id, kind, attempt, workerId: owner, error, cause, runMs: null })
  }

  return {
    start() {
      stopped = false
      schedule()
    },
    look(look, isBack) {
      if (isBack) {
        returns += 1
        observations.restart(look.answeredAt)
      }
      const before = others
      others = new Set(look.others.map(({ id }) => id))
      if ([...before].some((id) => !others.has(id))) {
        closeLooks = closeLooksAfterLoss
        schedule()
      }
      const suspects = observations.look(look)
      // Each look judges by itself: one that is missed while the former is at work is followed by the next.
      if (suspects.length === 0 || isJudging || stopped) return
      isJudging = true
      const asked = returns
      void inTurn(() => judge(suspects, look, asked)).finally(() => {
        isJudging = false
      })
    },
    disturbed() {
      returns += 1
    },
    async stop() {
      stopped = true
      clearTimeout(timer)
      looksAt = Number.POSITIVE_INFINITY
      await running
    },
  }
}
