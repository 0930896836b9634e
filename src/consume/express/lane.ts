import type { Settled } from '../settle/ending.js'
import type { ExpressJob } from './batch.js'

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
 * still there; and then each part is written once more, **alone**, on the pool, where it waits for the old transaction's
 * row locks, and sees how it ended:
 * - an ack deletes the row if it is still as it was claimed. A row that is missing was deleted by the commit;
 * - a kept job's row is made running if it is still as it was claimed, or found running under this very lease, which
 *   the commit has done. In neither case is it ours any more: its handler is told LEASE_LOST;
 * - free and held jobs are not written. A claim that was on its way with the commit is void: none of its jobs begins.
 *
 * **Why nothing is lost.** A row leaves the table only by a delete for an ack. Its handler had ended by then; and the
 * delete matches only the version of the row that was claimed: on the lane the version is locked from the claim to the
 * commit, so nobody has changed it; alone, by all that `fence` lists. A job that is not deleted is ready or running, as
 * ever.
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
 * 5. *Acks that go alone name created_at, lease and run_at as claimed, and where the row lies.* Ids and leases come
 *    again after a failover or a restart of the sequence, the time of the insert does not. A row that somebody has
 *    edited meanwhile lies elsewhere, and is not deleted by the ack of what ran before.
 * 6. *The transaction's own status is never asked.* After a crash of the server its number is given out again, and the
 *    status is another's.
 * 7. *A row that an aborted transaction had locked is left alone* by lanes. It may be of a lane whose process died, and
 *    one of its jobs may be why: only durable claims count crashes. (Any updated row carries such a mark, so the mark's
 *    transaction is looked up: a committed one is no reason.)
 * 8. *Others remember that this worker had a lane*, as a vacuum may wipe those marks. Whoever buries it makes the queue
 *    calm for a minute: no lane claims from it, and the next deaths are counted.
 * 9. *A kept job's row is written only while the worker's row is there*: a running row of a worker that was given up
 *    would be nobody's. If it is not there, the acks are committed, and the kept jobs are lost to us.
 * 10. *The session's settings*: by tid scan, or each delete reads the whole table; a time-out for a process that sits
 *    in its transaction and does nothing.
 *
 * Given up while alive (the worker is buried): the lock still holds, so nobody else has run these jobs, and the commit
 * is right. The next claim finds no worker row and takes nothing.
 */
export interface Lane {
  readonly state: LaneState
  /** Jobs that it holds, from the claim's answer until their part is durable, refused or given up. */
  readonly jobs: number
  /** Open it, and claim. Resolves when the lane is over. Never rejects. */
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
  /** It could not be opened, or its worker is no longer known. */
  | { readonly is: 'refused'; readonly error: Error }
  /** Its session was lost. What it held was written alone, as far as it could be. */
  | { readonly is: 'lost'; readonly error: Error }

/** What a lane tells. */
export interface LaneHooks {
  /** Jobs that were claimed, in claim order: each is to `begin`. Must not throw. */
  readonly start: (jobs: readonly ExpressJob[]) => void
  /** Those that have not begun never will: whoever holds them may forget them. */
  readonly takeBack: () => void
  /** What became of a plain ack. */
  readonly acked: (job: ExpressJob, settled: Settled) => void
  /** A kept job is no longer ours: others may run it. */
  readonly leaseLost: (job: ExpressJob) => void
}
