import createDebug from 'debug'
import type { Query } from '../../database/database.js'
import { databaseFault, sqlState } from '../../database/verdict.js'
import { toError } from '../../errors.js'
import type { Settled } from '../settle/ending.js'
import type { Pauses } from '../settle/pauses.js'
import type { Settler } from '../settle/settler.js'
import type { Choice } from '../statements.js'
import { Batch, type ExpressJob } from './batch.js'
import type { LaneAnswer, LaneSession, LaneStatement } from './lane-session.js'
import { recover } from './recover.js'
import {
  ackStatement,
  announceLane,
  type ClaimOfLane,
  claimStatements,
  commitStatement,
  keepStatement,
  type LaneRequest,
  readClaim,
} from './statements.js'
import type { LaneClaim, LaneTimes } from './when.js'

const log = createDebug('bugle:lane')

/**
 * The express lane: one session on which up to 500 short jobs share one transaction. The transaction locks ready rows,
 * their handlers run, and the same transaction deletes the rows of those that were acked. So a job costs no update of
 * its row: a third of the server's time, half of the log.
 *
 * A lane is used once. It has one session and never another; when either ends, both have. Whether and when a new lane
 * is made says when.ts.
 *
 * ```
 * closed -> opening -> claiming -> running -> writing -> claiming ... -> closed
 *              any of them after `opening` -> lost -> closed
 * ```
 *
 * **closed.** Nothing is held: not opened yet, or over.
 *
 * **opening.** The worker's row is made to name the queue, by a commit that is durable; then the session is opened. No
 * row is locked. A failure, or a close, ends the lane; nothing has happened.
 *
 * **claiming.** `begin`, a lock of the table against schema changes, and the claim are on their way, in one message.
 * The claim locks rows FOR UPDATE and passes over those that others have locked. Nothing runs yet. What may interleave:
 * - a close: the answer is waited for; its rows are let go of by a commit, and no handler sees them;
 * - the session is lost: the server rolls back, and the rows are as they were.
 *
 * **running.** Rows are locked and their jobs are in slots. Each is *held* (not begun), *begun*, *acked* (its handler
 * has ended with a plain ack) or *kept* (anything else: another outcome, or somebody needs its row to be free). Nothing
 * is written. It ends when every job is acked or kept, or 20 ms after the answer, or at a call of `cut` or `close`.
 * - A handler that waits for its own row (its own SQL, `ctx.ack`) waits for the write: 20 ms at most.
 * - The session is lost: see *lost*. No handler is called twice for it.
 *
 * **writing.** At the cut each job's part is fixed: held ones become *free*, begun ones kept. Then one message deletes
 * the acked rows, makes the kept ones running jobs under their new leases, and commits; it may go on with the next
 * `begin`, lock and claim. What may interleave:
 * - a job that was begun ends: it is kept, so its outcome waits until the commit is known, and is then settled like
 *   that of any other running job, under its new lease;
 * - a free job comes to its turn in a slot: `begin` refuses it;
 * - a close, while the next claim is on its way: as in *claiming*;
 * - the answer to `commit` says COMMIT: all of it is durable. The acked are told, and the kept go on;
 * - any other answer, an error before it, or none in time: *lost*.
 *
 * **lost.** The session is destroyed at once, so nothing more can be sent on it. What is known: the transaction has
 * committed as a whole, or not at all, or may still do either. So (recover.ts) the server's process is ended, if it is
 * still there; and then each part is written once more, **alone**, on the pool, where it waits for the row locks of
 * that transaction, and sees how it ended:
 * - an ack deletes the row if it is still as it was claimed. A row that is missing was deleted by the commit;
 * - a kept job's row is made running if it is still as it was claimed, or found running under this very lease, which
 *   the commit has done. In neither case is it ours any more: its handler is told LEASE_LOST;
 * - free and held jobs are not written. A claim that was on its way with the commit is void: none of its jobs begins.
 *
 * **Why nothing is lost.** A row leaves the table only by a delete for an ack. Its handler had ended by then; and the
 * delete matches only the version of the row that was claimed: on the lane that version is locked from the claim to the
 * commit, so nobody has changed it; alone, the delete names it. A job that is not deleted is ready or running, as ever.
 *
 * **Why nothing runs twice** while sessions and processes live. From the claim to the commit its row is locked, and
 * whoever takes jobs passes over locked rows or waits and looks again. With the commit the row is gone, or runs under a
 * lease that others respect. After a loss a job may run again: at least once, as after any lost claim.
 *
 * **What each guard is for.**
 * 1. *The session never reconnects*, and each delete names the transaction of its claim: on another connection, or
 *    outside that transaction, it deletes nothing. A place in the table (ctid) means nothing there: it would delete
 *    whatever job lies there by now.
 * 2. *The table is locked first*, in a mode that stops schema changes: an index that is built between claim and delete
 *    would wait for the claim, and the delete for the index.
 * 3. *Deleted rows are counted* by the server, and one that is missing aborts the transaction: a trigger, a rule or a
 *    policy of the application's may swallow the delete.
 * 4. *The tag decides.* `commit` in an aborted transaction is answered with ROLLBACK and no error.
 * 5. *Acks that go alone name created_at, lease and run_at as claimed, and the row's version (xmin).* Ids and leases
 *    come again after a failover or a restart of the sequence, the time of the insert does not. A row that somebody has
 *    edited meanwhile has another version, and is not deleted by the ack of what ran before. Its place would not tell:
 *    a second edit may move it back.
 * 6. *The transaction's own status is never asked.* After a crash of the server its number is given out again, and the
 *    status is another's.
 * 7. *A row that an aborted transaction had locked is left alone* by lanes. It may be of a lane whose process died, and
 *    one of its jobs may be why: only durable claims count crashes. (Any updated row carries such a mark, so the mark's
 *    transaction is looked up: a committed one is no reason.)
 * 8. *Others remember that this worker had a lane*, as a vacuum may wipe those marks. Whoever buries it makes the queue
 *    calm for a minute: no lane claims from it, and the next deaths are counted. The worker's row says so before the
 *    lane's first claim, and each claim asks for a row that says so: a worker that was given up has another row then.
 * 9. *A kept job's row is written only while the worker's row is there*: a running row of a worker that was given up
 *    would be nobody's. If it is not there, the transaction is aborted, acks and all, and they go alone: a commit would
 *    let go of the kept jobs without a mark, and one of them may have ended this very process.
 * 10. *The session's settings*: by tid scan, or each delete reads the whole table; a time-out for a process that sits
 *    in its transaction and does nothing.
 *
 * Given up while alive (the worker is buried): the lock still holds, so nobody else has run these jobs, and a commit of
 * acks is right. The next claim finds no worker row and takes nothing.
 */
export interface Lane {
  readonly state: LaneState
  /** Jobs that it holds, from the claim's answer until each is written, or let go of. */
  readonly jobs: number
  /** Open it, and claim. To be called once. Resolves when the lane is over. Never rejects. */
  run(): Promise<LaneEnd>
  /** Write now what there is, and go on. */
  cut(): void
  /** Write now what there is, and end. Resolves when the lane is over. */
  close(): Promise<void>
}

export type LaneState = 'closed' | 'opening' | 'claiming' | 'running' | 'writing' | 'lost'

/** How a lane has ended. */
export type LaneEnd =
  /** In order: all that it held is durable, or free. */
  | { readonly is: 'closed' }
  /** It could not be opened. */
  | { readonly is: 'refused'; readonly error: Error }
  /** The server has refused a statement. What it held was written alone, as far as it could be. */
  | { readonly is: 'failed'; readonly error: Error }
  /** Its session was lost, or the answer to its commit makes no sense. What it held was written alone, likewise. */
  | { readonly is: 'lost'; readonly error: Error }

/** What a lane tells. Nothing of it may throw. */
export interface LaneHooks {
  /** Jobs that were claimed, in claim order: each is to `begin`. */
  readonly start: (jobs: readonly ExpressJob[]) => void
  /** A claim that was answered is over, whether its jobs were started or not. These are let go of: none begins. */
  readonly takeBack: (free: readonly ExpressJob[]) => void
  /** What became of a plain ack. */
  readonly acked: (job: ExpressJob, settled: Settled) => void
  /** A kept job is not ours: others may run it. */
  readonly leaseLost: (job: ExpressJob) => void
  /**
   * How the lane has ended, before what it held is written alone: that may take as long as others lock the rows, and
   * nobody else shall wait for it.
   */
  readonly lost: (end: LaneEnd) => void
}

export interface LaneParts extends LaneHooks {
  /** @throws why it cannot be opened */
  readonly openSession: (onLost: () => void) => Promise<LaneSession>
  readonly query: Query
  readonly settler: Settler
  readonly pauses: Pauses
  readonly choice: Choice
  /** Of the worker now. A lane keeps the one of its beginning. */
  readonly workerId: string
  /** What the next claim is to ask for; null: none is to be sent, and the lane ends. */
  readonly next: () => Pick<LaneRequest, 'limit' | 'from'> | null
  readonly times: Pick<LaneTimes, 'written'> & {
    /** As `LaneTimes.claimed`. */
    readonly claimed: (claim: ClaimOfLane & Omit<LaneClaim, 'isFirst'>) => boolean
  }
  /** How many other workers may have a lane on the queue, for this one to be opened. */
  readonly mostOthers: number
  /** From the claim's answer to the cut, in ms. */
  readonly mostMs: number
  readonly random: () => number
}

/** How long rows are locked, but for a round trip: nobody waits longer for one. */
export const laneMs = 20

export function createLane(parts: LaneParts): Lane {
  const { choice, workerId, times, mostMs, random } = parts
  let state: LaneState = 'closed'
  let batch: Batch | null = null
  let jobs = 0
  let isClosing = false
  let isCut = false
  /** Ends `running`. */
  let wake: () => void = () => {}
  let ended: Promise<LaneEnd> | null = null

  /** @throws why it cannot be opened */
  async function open(): Promise<LaneSession> {
    if (!(await announceLane(parts.query, workerId, choice.queue, parts.mostOthers))) {
      throw new Error(`worker ${workerId} has no such lane: too many others have one, or it is not known any more`)
    }
    if (isClosing) throw new Error('closed while it was opened')
    return parts.openSession(() => wake())
  }

  async function runToEnd(): Promise<LaneEnd> {
    state = 'opening'
    let opened: LaneSession
    try {
      opened = await open()
    } catch (error) {
      state = 'closed'
      return { is: 'refused', error: toError(error) }
    }
    try {
      await work(opened)
      await opened.end()
      state = 'closed'
      return { is: 'closed' }
    } catch (thrown) {
      const error = toError(thrown)
      log('lost while %s: %s', state, error.message)
      state = 'lost'
      opened.destroy(error)
      const end: LaneEnd = { is: isRefused(error) ? 'failed' : 'lost', error }
      parts.lost(end)
      if (batch !== null) await recoverBatch(opened, batch)
      state = 'closed'
      return end
    }
  }

  /** Resolves when it is over, with nothing held. @throws why it is lost; then `batch` is what it held */
  async function work(on: LaneSession): Promise<void> {
    let request = nextRequest()
    let answers = request === null ? [] : on.exchange(claimStatements(request))
    while (request !== null) {
      state = 'claiming'
      const answer = await answers.at(-1)
      if (answer === undefined) throw new Error('the claim of an express lane was not sent')
      const claimed = readClaim(answer, request, random)
      const current = new Batch(claimed.rows, claimed.xid)
      batch = current
      jobs += current.jobs.length
      let goesOn = times.claimed({ ...claimed, from: request.from, found: claimed.rows.length })
      if (!isClosing && current.jobs.length > 0) await runBatch(on, current)
      current.seal()
      const free = current.those('free')
      parts.takeBack(free)
      const kept = current.those('kept')
      if (!times.written({ jobs: current.jobs.length, kept: kept.length, free: free.length })) goesOn = false
      request = goesOn ? nextRequest() : null
      state = 'writing'
      answers = await write(on, current, kept, request)
      jobs -= free.length
    }
  }

  function nextRequest(): LaneRequest | null {
    const next = isClosing ? null : parts.next()
    return next === null ? null : { choice, workerId, ...next }
  }

  /** Resolves at the cut. @throws why the session is lost */
  async function runBatch(on: LaneSession, current: Batch): Promise<void> {
    state = 'running'
    isCut = false
    let timer: NodeJS.Timeout | undefined
    await new Promise<void>((resolve) => {
      wake = resolve
      timer = setTimeout(resolve, mostMs)
      current.onDone(resolve)
      parts.start(current.jobs)
      if (isCut || isClosing || on.lost !== null) resolve()
    })
    clearTimeout(timer)
    wake = () => {}
    if (on.lost !== null) throw on.lost
  }

  /**
   * Resolves when the commit is known, and its jobs are told.
   *
   * @returns the answers to all that was sent with it; the last is that to the next claim, if there is one
   * @throws why the commit is not known, or known not to be
   */
  async function write(
    on: LaneSession,
    current: Batch,
    kept: readonly ExpressJob[],
    request: LaneRequest | null,
  ): Promise<readonly Promise<LaneAnswer>[]> {
    const acked = current.those('acked')
    const statements: LaneStatement[] = []
    if (acked.length > 0) statements.push(ackStatement(acked, current.xid))
    if (kept.length > 0) statements.push(keepStatement(kept, current.xid, workerId))
    const writes = statements.push(commitStatement)
    if (request !== null) statements.push(...claimStatements(request))
    const answers = on.exchange(statements)
    const written = await Promise.all(answers.slice(0, writes))
    const tag = written.at(-1)?.tag
    // Not an error: what was aborted before is rolled back by it.
    if (tag !== 'COMMIT') throw new Error(`the commit of an express lane was answered with ${tag}`)
    batch = null
    for (const job of acked) tellAcked(job, { is: 'durable', runAt: null })
    for (const job of kept) tellKept(job, true)
    return answers
  }

  /** Nothing of it was told yet. */
  async function recoverBatch(of: LaneSession, current: Batch): Promise<void> {
    current.seal()
    const free = current.those('free')
    parts.takeBack(free)
    jobs -= free.length
    await recover(of, current.those('acked'), current.those('kept'), {
      query: parts.query,
      settler: parts.settler,
      pauses: parts.pauses,
      workerId,
      acked: tellAcked,
      kept: tellKept,
    })
  }

  function tellAcked(job: ExpressJob, settled: Settled): void {
    jobs -= 1
    parts.acked(job, settled)
    // Whoever asks for it after the end of its handler has no job any more.
    job.tell(false)
  }

  function tellKept(job: ExpressJob, isOurs: boolean): void {
    jobs -= 1
    if (!isOurs) parts.leaseLost(job)
    job.tell(isOurs)
  }

  return {
    get state() {
      return state
    },
    get jobs() {
      return jobs
    },
    run() {
      ended ??= runToEnd()
      return ended
    },
    cut() {
      isCut = true
      wake()
    },
    async close() {
      isClosing = true
      wake()
      await ended
    },
  }
}

/** Whether the server has refused a statement, and would have answered others. */
function isRefused(error: Error): boolean {
  return sqlState(error) !== null && !['down', 'unknown'].includes(databaseFault(error))
}
