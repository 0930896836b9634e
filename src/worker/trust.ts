/**
 * Whether this process may send claims that commit asynchronously: their answer does not wait for the disk, so a job
 * starts a flush sooner. It may while the server has run for a minute without a crash, as far as this process knows.
 *
 * **What such a claim risks.** A crash of the server (nothing less: no end of a session, no stop in order) may forget
 * it, if it comes within three `wal_writer_delay` (0.6 s) of it. A synchronous standby that is promoted may not have it
 * either. Then the row is ready again, under the lease of before, while its handler runs. So the job runs once more,
 * perhaps beside its first run, perhaps in this same process. That is *at least once*, as after a failover:
 *
 * - **No outcome of the first run counts.** It names a lease that the row never had: the fence refuses it, and it is
 *   reported (`job:stale`). The repeat has another lease, since a lease grows by a random step, drawn for each claim.
 *   (If the answer to its ack was lost in the crash, and the repeat is settled before it is sent again, the missing row
 *   counts as its own, as ever: then both are told as acked. The row was settled once.)
 * - **No ack is ever forgotten, and none outlives its claim.** Whatever settles commits synchronously, and such a
 *   commit flushes the log up to itself: the claim is a part of that. The same holds for a rescue of the job, for
 *   `ctx.ack(tx)`, and for whatever a handler commits to this database in the ordinary way: where its effect is, its
 *   claim is. A claim that carries acks settles, so it is synchronous itself.
 * - **It is no new case.** To the protocol it is a failover to a state of a moment before, which the model of the lease
 *   has (test/models/lease.pml).
 * - **Nobody waits for a wake-up.** No trigger fires for a row that is ready again in this way. But the crash has ended
 *   the sessions of all: each consumer claims when its own are back, from the first id on and without K.
 * - **Counts are those of the claims that are remembered.** An attempt that was forgotten is not counted. Once or twice
 *   that does no harm; a job that crashes the server itself, and is forgotten each time, would do so for ever. So
 *   after a crash claims are durable for a minute, and the next crash finds the job running: its process gives it back
 *   by an outcome, which counts the attempt, or dies with the server, and whoever rescues the job counts the crash. One
 *   that was rescued is a suspect from then on, and suspects are claimed by statements of their own, always durably.
 *
 * **How a crash is known.** The control session ends with it. A process that has no such session (`listen: false`, or
 * behind a pooler) is never trusted; nor is one whose session is being connected again. But a process that was started
 * after the crash, perhaps since it died of it, has lost nothing. So the statement that makes a control session present
 * asks the server for how long it has run without a crash, by the server's clock. The start time alone does not tell:
 * the server keeps it when a single backend has died and all others were ended for that. (Servers before 15 cannot say
 * it, and count as just begun.) Any crash after that answer ends the very session that gave it. A statement that is
 * lost says less, as its backend may have been ended by itself; but it may be the first that is known of a crash, and
 * counts as one.
 *
 * **What may interleave.** A claim may have been sent, or may wait in its pool's line, while the process was trusted,
 * and be run when it is not any more: before the crash, or by the server that has recovered from it. It can be
 * forgotten then, in the latter case by a second crash. That ends with the claims that were sent before the loss was
 * noticed, two per consumer at most. The control session may be lost a moment later than the statements are (its end is
 * read from another socket, or, if nobody has sent one, missed until the next heartbeat): a claim that is sent in
 * between is no other case. After that moment nothing is sent that may be forgotten, until a minute has passed without
 * a loss. So each crash is followed by durable claims, however often the server crashes.
 */
export interface Trust {
  /** Read it for each claim. */
  readonly isTrusted: boolean
  /** A control session is present. @param serverUpMs - for how long its server has run without a crash, in ms */
  present(serverUpMs: number): void
  /** 'session': the control session; 'statement': one that may have been run, or could not be sent. */
  lost(what: 'session' | 'statement'): void
}

/** How long claims are durable after a crash, or what may be one. */
const durableMs = 60_000

/** @param now - ms of a clock that never jumps */
export function createTrust(now: () => number): Trust {
  let isPresent = false
  let wasLost = false
  let durableUntil = Number.NEGATIVE_INFINITY

  function durableFor(ms: number): void {
    durableUntil = Math.max(durableUntil, now() + ms)
  }

  return {
    get isTrusted() {
      return isPresent && now() >= durableUntil
    },
    present(serverUpMs) {
      isPresent = true
      // What was lost may have been lost by a crash, and an outage may have lasted for long: the minute begins now.
      durableFor(wasLost ? durableMs : durableMs - serverUpMs)
      wasLost = false
    },
    lost(what) {
      if (what === 'statement') return durableFor(durableMs)
      isPresent = false
      wasLost = true
    },
  }
}
