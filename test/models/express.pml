/*
 * The express lane: one job, a lane each of two processes, and a third process that claims durably. A lane locks the
 * row, its handler runs, and the same transaction deletes the row. A job must be settled in the end, by the ack of a
 * run of this very job, and a job that kills its process must be counted.
 *
 * What mirrors what:
 *   session   the server's process of a lane's one session. It carries out one message at a time: the write of what was
 *             claimed before, its commit and the snapshot of the next claim; then the lock of the row; then the answer.
 *   lane      the client of that session (src/consume/express/lane.ts), and what it does when the session is lost
 *             (recover.ts there): each part is written once more, alone.
 *   keeper    a run that has a lease: one that a lane has kept (a running job like any other from then on), or one of a
 *             durable claim; and its settle (src/consume/settle/settler.ts, sql/statements/settle.sql).
 *   durable   the claimer of process 2 (sql/statements/claim.sql). It claims again and again, as it does beside a lane.
 *   rescuer   src/worker/rescue.ts: bury (with the lanes that the worker's row names), and collect.
 *   beats     a new worker id when the row is gone, the comparison of src/worker/reconcile.ts (with the job's own
 *             knowledge; lease.pml has its two heartbeats), and the process that is started again.
 *   server    what PostgreSQL does by itself: a session whose client is gone or that was terminated ends, and its
 *             transaction with it.
 *   late      a statement that its sender has given up, and that comes to the server later, or never.
 *
 * Made one step: what a lane writes with its commit, since nobody sees or changes a locked row in between; the
 * condition of a claim and its lock of the row; a statement outside lanes and its answer, where neither is lost.
 * `isMarked` says that the row's xmax names an aborted transaction. None and a committed one are the same to a claim.
 * `place` is the ctid: any update moves the row, the next one may move it back. `text` counts edits: what else of a row
 * somebody has changed. A handler that calls ctx.ack is one that is kept and then settles.
 *
 * No time: a calm queue stays calm until a durable claim has had the job, and so does what follows a crash of the
 * server. A process is started again only when its old row is buried.
 *
 * Faults, each with a budget: LOST (answers: of a lane's message, whose server process then does not know it; of a
 * statement), ABORT (a lane's transaction that the server aborts), BURY (workers that live), RECONNECT (a driver
 * connects anew and does not say so), DOWN (crashes of the server). CRASH: process 0 dies at any moment, or never.
 * Others at work: VACUUM wipes marks, CANCEL (1: the job may be cancelled), EDIT (so many edits of the waiting row),
 * SECOND (when the row is gone another job is put, where it lay), AGAIN (the table is truncated, or falls back to an
 * older state, and another job has the same id and lease), FREES (a lane may let go so often of a job that has not
 * begun), LATER (the job is put at any moment).
 * POISON: each run kills its process at last; KILLS_SERVER: and the server.
 *
 * Sizes: SOLO (one lane), QUICK (no run is kept). TICK adds a process that always moves (see lease.pml).
 *
 * Properties:
 *   safety    a row is deleted by the ack of a run of this very job, as it is now; what is told as durable is gone; at
 *             most one outcome of a job counts; with RUN_ONCE, which is for runs without a fault, the job is run once;
 *             with POISON it is run at most MOST times;
 *   liveness  each job that is put is settled at last (the formula at the end).
 *
 * Broken on purpose, each takes one guard out:
 *   NO_TAG         an answer to `commit` that says ROLLBACK counts as a commit
 *   NO_CREATED     what goes alone does not name created_at
 *   NO_VERSION     what goes alone does not name the row's version (xmin)
 *   BY_PLACE       what goes alone names the row's place for its version; EDIT_RAISES: and an edit raises the lease
 *   NO_STATE       what goes alone does not ask for a ready row
 *   NO_XID         a delete does not name the transaction of its claim
 *   NO_COUNT       the server does not count what a lane deletes and keeps
 *   NO_LOCK        a lane reads the row and does not lock it
 *   NO_MARK        a lane takes a row that an aborted transaction had locked
 *   APART          where a run cannot be kept, its transaction commits all the same
 *   NO_CALM        a burial makes no queue calm
 *   NO_TELL        a worker's row does not say that it has a lane
 *   TELL_ONCE      it says so before the process's first lane only, and a claim asks for the row alone
 *   NO_KEEP_ROW    a kept run's row is written although its worker has none
 *   NO_COLLECT     the rows of a dead worker go back at its burial only
 *   NO_TERMINATE   the server process of a lost session is left alone; IDLE_LIMIT: until the server ends it
 *   NO_RECOGNISE   a kept run that goes alone does not know the lease that the lane has written
 *   LATE_LEASE     the lease of a kept run is known only when the answer has come
 *   NO_TRUST       after a crash of the server claims are asynchronous and lanes open as ever
 */
#ifndef LOST
#define LOST 0
#endif
#ifndef ABORT
#define ABORT 0
#endif
#ifndef BURY
#define BURY 0
#endif
#ifndef RECONNECT
#define RECONNECT 0
#endif
#ifndef DOWN
#define DOWN 0
#endif
#ifndef CANCEL
#define CANCEL 0
#endif
#ifndef EDIT
#define EDIT 0
#endif
#ifndef FREES
#define FREES 0
#endif
#define MAX_CRASHES 2
#ifndef MOST
#define MOST 9
#endif
#if CANCEL || EDIT || RECONNECT || DOWN || defined(SECOND) || defined(AGAIN) || defined(LATER)
#define OTHERS 1
#else
#define OTHERS 0
#endif
#ifdef POISON
#define IDS 20
#else
#define IDS 8
#endif

/* The job. */
#define READY 1
#define RUNNING 2
#define GONE 3     /* settled: no row */
#define FAILED 4   /* cancelled, or crashed too often: the row stays */
#ifdef LATER
byte state = GONE;
#else
byte state = READY;
#endif
byte job = 1, text = 0, lease = 1, owner = 0, crashes = 0, place = 0;
bool isMarked = false;
byte locker = 0;         /* 1 or 2: the lane of process 0 or 1 has it locked */
byte highestLease = 1;
bool isCalm = false;     /* the queue */
bool isShaken = false;   /* the server has crashed a moment ago */
bool hasRow[IDS], hasLane[IDS];   /* by worker id: its row is there, and says that it has a lane */
#if defined(SECOND) || defined(AGAIN) || defined(LATER)
bool isPutMissing = true;
#else
bool isPutMissing = false;
#endif

/* A claim that is not on the disk yet: what the row was before. */
bool isForgettable = false, wasMarked;
byte leaseBefore, placeBefore;

/* The processes. */
byte lastId = 0, id[3];
bool isAlive[3] = true;
byte lost = LOST, aborts = ABORT, bury = BURY, reconnects = RECONNECT, downs = DOWN, cancels = CANCEL, edits = EDIT;
byte frees = FREES;
byte told[3];            /* outcomes of each job that were told, with proof */
byte starts = 0;
bool isBegun[3];         /* a lane's handler runs, of a job that kills its process */

/* A lane's session at the server. */
bool isOpen[2];
bool isInClaim[2];       /* the transaction of the last claim is open */
bool isToEnd[2];         /* terminated, or its socket closed */
bool isLeft[2];          /* the client listens no more, and the server does not know it */
bool isAtWork[2];        /* its process carries a message out, or is about to end */

/* Its message: what becomes of the claimed row, and then the next claim. */
#define FREE 0   /* nothing was claimed, or it has not begun */
#define ACK 1
#define KEEP 2
bool isSent[2];
byte part[2], forWorker[2];

/* Its answer. */
#define COMMIT 1
#define UNKEPT 2     /* COMMIT, and the row was not kept */
#define ROLLBACK 3
#define ERROR 4
byte tag[2];             /* 0: none yet */
byte gotJob[2], gotText[2], gotLease[2], gotPlace[2];   /* the claimed row; job 0: none */

/* A lane's run, as it was claimed; job 0: none. And the lease under which it is to be kept. */
byte runJob[2], runText[2], runLease[2], runPlace[2], keepLease[2];
bool isLaneDown[2];      /* its process is dead, and it has noticed */
bool hasTold[2];

/* A run with a lease, by process; lease 0: none. */
byte keptJob[3], keptText[3], keptLease[3], keptOwner[3];

/* The late statement: 0: none. */
#define LATE_ACK 1
#define LATE_KEEP 2
#define LATE_SETTLE 3
byte late = 0, lateJob, lateText, lateLease, latePlace, lateOwner, lateKeepLease;

#define isOver ((state == GONE || state == FAILED) && !isPutMissing)

#ifdef AGAIN
#define isSameId(j) true
#else
#define isSameId(j) (job == (j))
#endif
#ifdef NO_CREATED
#define isSameJob(j) isSameId(j)
#else
#define isSameJob(j) (job == (j))
#endif
#if defined(NO_VERSION)
#define isSameVersion(t, at) true
#elif defined(BY_PLACE)
#define isSameVersion(t, at) (place == (at))
#else
#define isSameVersion(t, at) (text == (t))   /* xmin */
#endif
#ifdef NO_STATE
#define isClaimable (state == READY || state == FAILED)
#else
#define isClaimable (state == READY)
#endif
/* The fence of what goes alone. Where it matches, the statement waits for whoever has locked the row. */
#define isAsClaimed(j, t, l, at) (isClaimable && isSameJob(j) && lease == (l) && isSameVersion(t, at))
#define isRunningAs(j, w, l) (state == RUNNING && isSameId(j) && owner == (w) && lease == (l))

inline raiseLease() { assert(highestLease < 255); highestLease++; lease = highestLease }
inline moved() { place = 1 - place; isMarked = false; isForgettable = false }

/* The row goes, by the ack of a run of job j that has seen the text t. */
inline deleteRow(j, t) {
  assert(job == j && text == t);
  state = GONE; owner = 0; lease = 0; crashes = 0; place = 0; isMarked = false; isForgettable = false
}
inline tellDurable(j) {
  assert(!(job == j && state != GONE));
  told[j]++; assert(told[j] <= 1)
}
inline begin(p) {
  skip;
#ifdef RUN_ONCE
  starts++; assert(starts <= 1)
#endif
#ifdef POISON
  starts++; assert(starts <= MOST); isBegun[p] = (p < 2)
#endif
}

/* The session's process ends without a commit: its transaction, if any, is aborted. */
inline rollBack(p) {
  if :: locker == p + 1 -> locker = 0; isMarked = true :: else fi;
  isInClaim[p] = false
}
inline endSession(p) { rollBack(p); isOpen[p] = false; isSent[p] = false; isToEnd[p] = false; isLeft[p] = false }

inline endTransaction(p) {
  if :: locker == p + 1 -> locker = 0; isMarked = (says >= ROLLBACK) :: else fi;
  isInClaim[p] = false; isForgettable = false
}

#ifdef NO_XID
#define isInTransaction(p) true
#else
#define isInTransaction(p) isInClaim[p]
#endif
#ifdef NO_COUNT
#define uncounted COMMIT
#else
#define uncounted ERROR
#endif
#define isThere(p) (state != GONE && place == runPlace[p] && isInTransaction(p) && (locker == 0 || locker == p + 1))
#ifdef NO_KEEP_ROW
#define mayKeep(w) true
#else
#define mayKeep(w) hasRow[w]
#endif

#if defined(TELL_ONCE) || defined(NO_TELL)
#define mayClaim(w) hasRow[w]
#else
#define mayClaim(w) (hasRow[w] && hasLane[w])
#endif
#ifdef NO_TRUST
#define isTrusted true
#else
#define isTrusted (!isShaken)
#endif
#ifdef NO_MARK
#define isUnmarked true
#else
#define isUnmarked (!isMarked)
#endif

/* begin, and the snapshot of the next claim. */
inline look(p) {
  isAtWork[p] = true; isInClaim[p] = true; j = job;
  may = state == READY && mayClaim(forWorker[p]) && !isCalm && isTrusted
}
inline rest(p) { says = 0; may = false; j = 0; t = 0; l = 0; at = 0; isAtWork[p] = false }

proctype session(byte p) {
  byte says, j, t, l, at;
  bool may;
next:
  if
  :: d_step {   /* the write; in a session that the driver has made anew it waits for others' locks */
       isOpen[p] && isSent[p] && (isInClaim[p] || part[p] == FREE || locker == 0) ->
       says = COMMIT;
       if
       :: part[p] == ACK ->
            if :: isThere(p) -> deleteRow(runJob[p], runText[p]) :: else -> says = uncounted fi
       :: part[p] == KEEP ->
            if
            :: isThere(p) && mayKeep(forWorker[p]) ->
                 state = RUNNING; owner = forWorker[p]; lease = keepLease[p]; locker = 0; moved()
#ifdef APART
            :: isThere(p) && !mayKeep(forWorker[p]) -> says = UNKEPT
#endif
            :: else -> says = uncounted
            fi
       :: else
       fi;
       endTransaction(p); look(p)
     }
  :: d_step {
       isOpen[p] && isSent[p] && isInClaim[p] && aborts > 0 ->
       aborts--; says = ROLLBACK; endTransaction(p); look(p)
     }
  fi;
  if
  :: d_step { !isOpen[p] -> rest(p) }; goto next
  :: d_step {   /* the lock */
       isOpen[p] ->
       if
       :: may && job == j && state == READY && locker == 0 && crashes == 0 && isUnmarked ->
#ifndef NO_LOCK
            locker = p + 1;
#endif
            t = text; l = lease; at = place
       :: else -> j = 0
       fi
     }
  fi;
  if
  :: d_step { !isOpen[p] -> rest(p) }
  :: d_step {
       isOpen[p] ->
       if
       :: isLeft[p] -> skip
       :: else -> tag[p] = says; gotJob[p] = j; gotText[p] = t; gotLease[p] = l; gotPlace[p] = at
       fi;
       isSent[p] = false; rest(p)
     }
  fi;
  goto next
}

inline send(p, what) {
#ifndef NO_TELL
#ifdef TELL_ONCE
  if :: !hasTold[p] && hasRow[id[p]] -> hasLane[id[p]] = true; hasTold[p] = true :: else fi;
#else
  if :: hasRow[id[p]] -> hasLane[id[p]] = true :: else fi;
#endif
#endif
  part[p] = what; forWorker[p] = id[p]; tag[p] = 0; isSent[p] = isOpen[p]
}
inline dropRun(p) {
  runJob[p] = 0; runText[p] = 0; runLease[p] = 0; runPlace[p] = 0; keepLease[p] = 0;
  part[p] = FREE; isBegun[p] = false
}
inline keepRun(p, w) {
  keptJob[p] = runJob[p]; keptText[p] = runText[p]; keptLease[p] = keepLease[p]; keptOwner[p] = w; dropRun(p)
}
inline dropKept(p) { keptJob[p] = 0; keptText[p] = 0; keptLease[p] = 0; keptOwner[p] = 0 }
inline dropAnswer(p) { tag[p] = 0; gotJob[p] = 0; gotText[p] = 0; gotLease[p] = 0; gotPlace[p] = 0 }
inline closeLane(p) {
#ifdef NO_TERMINATE
  if :: isLeft[p] -> skip :: else -> isToEnd[p] = isOpen[p] fi;
#else
  isToEnd[p] = isOpen[p];
#endif
  dropAnswer(p)
}
#ifdef NO_TAG
#define isDurable(p) (tag[p] < ERROR)
#else
#define isDurable(p) (tag[p] < ROLLBACK)
#endif

#define mustWait(p) (isAsClaimed(runJob[p], runText[p], runLease[p], runPlace[p]) && locker > 0)

inline ackAlone(j, t, l, at) {
  if
  :: isAsClaimed(j, t, l, at) -> deleteRow(j, t); ok = true
  :: else -> ok = false   /* it is missing, and was ours; or others have taken it */
  fi
}
inline keepAlone(j, t, l, at, w, new) {
  if
  :: isAsClaimed(j, t, l, at) && mayKeep(w) -> state = RUNNING; owner = w; lease = new; moved(); ok = true
#ifndef NO_RECOGNISE
  :: !isAsClaimed(j, t, l, at) && isRunningAs(j, owner, new) -> ok = true
#endif
  :: else -> ok = false
  fi
}
inline settle(j, t, w, l) {
  if
  :: isRunningAs(j, w, l) -> deleteRow(j, t); ok = true
  :: else -> ok = false
  fi
}

inline delay(what, j, t, l, at, w, new) {
  lost--; late = what; lateJob = j; lateText = t; lateLease = l; latePlace = at; lateOwner = w; lateKeepLease = new
}

proctype lane(byte p) {
  bool ok;
closed:
  if
  :: !isAlive[p] -> goto dead
  :: d_step { isAlive[p] && !isOpen[p] && !isAtWork[p] && !isOver -> isOpen[p] = true; send(p, FREE) }
  fi;
wait:
  if
  :: !isAlive[p] -> goto dead
  :: d_step {   /* nothing that was claimed is in doubt any more */
       isAlive[p] && tag[p] > 0 && isDurable(p) ->
       if
       :: part[p] == ACK -> tellDurable(runJob[p]); dropRun(p)
       :: part[p] == KEEP && tag[p] == UNKEPT -> dropRun(p)   /* LEASE_LOST */
       :: part[p] == KEEP && tag[p] != UNKEPT -> keepRun(p, forWorker[p])
       :: else -> dropRun(p)
       fi;
       runJob[p] = gotJob[p]; runText[p] = gotText[p]; runLease[p] = gotLease[p]; runPlace[p] = gotPlace[p];
       dropAnswer(p)
     }
  :: d_step { isAlive[p] && tag[p] > 0 && !isDurable(p) -> closeLane(p) };
     goto alone
  :: d_step { isAlive[p] && tag[p] == 0 && !isOpen[p] -> ok = false }; goto alone
  :: d_step { isAlive[p] && tag[p] == 0 && isOpen[p] && lost > 0 -> lost--; isLeft[p] = true; closeLane(p) };
     goto alone
  fi;
  if
  :: d_step { isAlive[p] && runJob[p] == 0 && !isOver -> send(p, FREE) }; goto wait
  :: d_step { isAlive[p] && runJob[p] > 0 && frees > 0 -> frees--; dropRun(p); send(p, FREE) }; goto wait
  :: d_step { isAlive[p] && runJob[p] > 0 -> begin(p) }
  :: !isAlive[p] -> goto dead
  fi;
  if
  :: !isAlive[p] -> goto dead
#ifndef POISON
  :: d_step { isAlive[p] -> send(p, ACK) }
#endif
#ifndef QUICK
  :: d_step {
       isAlive[p] && keptLease[p] == 0 ->
       assert(highestLease < 255); highestLease++; keepLease[p] = highestLease; send(p, KEEP)
     }
#endif
  fi;
  goto wait;
alone:
  if
  :: !isAlive[p] -> goto dead
  :: isAlive[p] && part[p] == FREE -> goto closed
  :: d_step {
       isAlive[p] && part[p] == ACK && !mustWait(p) ->
       ackAlone(runJob[p], runText[p], runLease[p], runPlace[p]);
       if :: ok -> tellDurable(runJob[p]) :: else fi;
       dropRun(p); ok = false
     };
     goto closed
  :: d_step {
       isAlive[p] && part[p] == KEEP && !mustWait(p) ->
       keepAlone(runJob[p], runText[p], runLease[p], runPlace[p], id[p], keepLease[p]);
       if :: ok -> keepRun(p, owner) :: else -> dropRun(p) fi;
       ok = false
     };
     goto closed
  :: d_step {   /* carried out, and the answer is lost */
       isAlive[p] && part[p] == ACK && !mustWait(p) && lost > 0 ->
       lost--; ackAlone(runJob[p], runText[p], runLease[p], runPlace[p]); ok = false
     };
     goto alone
  :: d_step {
       isAlive[p] && part[p] == KEEP && !mustWait(p) && lost > 0 ->
       lost--; keepAlone(runJob[p], runText[p], runLease[p], runPlace[p], id[p], keepLease[p]); ok = false
     };
     goto alone
  :: d_step {   /* on its way still */
       isAlive[p] && part[p] > FREE && lost > 0 && late == 0 ->
       delay(part[p], runJob[p], runText[p], runLease[p], runPlace[p], id[p], keepLease[p])
     };
     goto alone
  fi;
dead:
#ifdef POISON
  if :: d_step { !isAlive[p] && !isOpen[p] -> dropRun(p); dropAnswer(p); isLaneDown[p] = true } fi;
  isAlive[p] -> goto closed
#else
  skip
#endif
}

#ifndef POISON
proctype keeper(byte p) {
  bool ok;
  do
  :: d_step {
       isAlive[p] && keptLease[p] > 0 ->
       settle(keptJob[p], keptText[p], keptOwner[p], keptLease[p]);
       if :: ok -> tellDurable(keptJob[p]) :: else fi;
       dropKept(p); ok = false
     }
  :: d_step {
       isAlive[p] && keptLease[p] > 0 && lost > 0 ->
       lost--; settle(keptJob[p], keptText[p], keptOwner[p], keptLease[p]); ok = false
     }
  :: d_step {
       isAlive[p] && keptLease[p] > 0 && lost > 0 && late == 0 ->
       delay(LATE_SETTLE, keptJob[p], keptText[p], keptLease[p], 0, keptOwner[p], 0)
     }
  od
}
#endif

inline claimDurably() {
  wasMarked = isMarked; leaseBefore = lease; placeBefore = place;
  state = RUNNING; owner = id[2]; raiseLease(); moved()
}
#define canClaim (isAlive[2] && hasRow[id[2]] && state == READY && locker == 0 && keptLease[2] == 0)
inline beginDurable() {
  begin(2); keptJob[2] = job; keptText[2] = text; keptLease[2] = lease; keptOwner[2] = owner
}

proctype durable() {
  do
  :: d_step { canClaim -> claimDurably(); beginDurable() }
#if DOWN || defined(KILLS_SERVER)
  :: d_step { canClaim && isTrusted && crashes == 0 -> claimDurably(); isForgettable = true; beginDurable() }
#endif
  :: d_step { canClaim && lost > 0 -> lost--; claimDurably() }
  od
}

inline forgetLate() {
  late = 0; lateJob = 0; lateText = 0; lateLease = 0; latePlace = 0; lateOwner = 0; lateKeepLease = 0; ok = false
}

proctype lateOne() {
  bool ok;
  do
  :: d_step {
       late == LATE_ACK && !(isAsClaimed(lateJob, lateText, lateLease, latePlace) && locker > 0) ->
       ackAlone(lateJob, lateText, lateLease, latePlace); forgetLate()
     }
  :: d_step {
       late == LATE_KEEP && !(isAsClaimed(lateJob, lateText, lateLease, latePlace) && locker > 0) ->
       keepAlone(lateJob, lateText, lateLease, latePlace, lateOwner, lateKeepLease); forgetLate()
     }
  :: d_step { late == LATE_SETTLE -> settle(lateJob, lateText, lateOwner, lateLease); forgetLate() }
  :: d_step { late > 0 -> forgetLate() }
  od
}

#ifdef LATE_LEASE
#define isKnown(p, l) (keptLease[p] == (l))
#define isKeeping(p, l) false
#else
#define isKnown(p, l) (keptLease[p] == (l))
#define isKeeping(p, l) (keepLease[p] == (l))
#endif
#define isUnknown(p) (state == RUNNING && isAlive[p] && owner == id[p] && hasRow[owner] && !isKnown(p, lease))
inline giveBack() { state = READY; owner = 0; moved() }
inline takeId(p) {
  assert(lastId < IDS - 1);
  lastId++; id[p] = lastId; hasRow[lastId] = true
}
inline restart(p) { isAlive[p] = true; hasTold[p] = false; takeId(p) }

proctype beats() {
  do
  :: d_step { isAlive[0] && !hasRow[id[0]] && !isOver -> takeId(0) }
  :: d_step { isAlive[1] && !hasRow[id[1]] && !isOver -> takeId(1) }
  :: d_step { isUnknown(0) && !isKeeping(0, lease) -> giveBack() }
  :: d_step { isUnknown(1) && !isKeeping(1, lease) -> giveBack() }
  :: d_step { isUnknown(2) -> giveBack() }
#ifdef POISON
  :: d_step { !isAlive[0] && isLaneDown[0] && !hasRow[id[0]] && !isOver -> restart(0); isLaneDown[0] = false }
  :: d_step { !isAlive[1] && isLaneDown[1] && !hasRow[id[1]] && !isOver -> restart(1); isLaneDown[1] = false }
  :: d_step { !isAlive[2] && !hasRow[id[2]] && !isOver -> isAlive[2] = true; takeId(2) }
#endif
  od
}

inline collect() {
  crashes++; owner = 0; raiseLease(); moved();
  if
  :: crashes >= MAX_CRASHES -> state = FAILED; told[job]++; assert(told[job] <= 1)
  :: else -> state = READY
  fi
}
inline buryOne(p) {
  if :: isAlive[p] -> bury-- :: else fi;
#ifndef NO_CALM
  if :: hasLane[id[p]] -> isCalm = true :: else fi;
#endif
  hasRow[id[p]] = false; hasLane[id[p]] = false;
#ifdef NO_COLLECT
  if :: state == RUNNING && owner == id[p] -> collect() :: else fi
#endif
}
#define isBuried(p) (hasRow[id[p]] && !isAlive[p])

proctype rescuer() {
  do
  :: d_step { !isOver && hasRow[id[0]] && (!isAlive[0] || bury > 0) -> buryOne(0) }
#ifdef POISON
  :: d_step { !isOver && hasRow[id[1]] && !isAlive[1] -> buryOne(1) }
  :: d_step { !isOver && hasRow[id[2]] && !isAlive[2] -> buryOne(2) }
#endif
#ifndef NO_COLLECT
  :: d_step { state == RUNNING && !hasRow[owner] -> collect() }
#endif
  od
}

proctype server() {
  do
  :: d_step { isOpen[0] && (isToEnd[0] || !isAlive[0]) -> endSession(0) }
  :: d_step { isOpen[1] && (isToEnd[1] || !isAlive[1]) -> endSession(1) }
#ifdef IDLE_LIMIT
  :: d_step { isOpen[0] && isLeft[0] && isInClaim[0] && !isSent[0] -> endSession(0) }
  :: d_step { isOpen[1] && isLeft[1] && isInClaim[1] && !isSent[1] -> endSession(1) }
#endif
#ifdef VACUUM
  :: d_step { isMarked && locker == 0 -> isMarked = false }
#endif
  :: d_step { isCalm && state != READY -> isCalm = false }
  :: d_step { isShaken && state != READY -> isShaken = false }
  od
}

/* All sessions end. Whether a lock of the row has left a mark on the disk is open. */
inline crashServer() {
  endSession(0); endSession(1); isShaken = true;
  late = 0; lateJob = 0; lateText = 0; lateLease = 0; latePlace = 0; lateOwner = 0; lateKeepLease = 0
}
inline forgetClaim() {
  if
  :: isForgettable ->
       state = READY; owner = 0; lease = leaseBefore; place = placeBefore; isMarked = wasMarked; isForgettable = false
  :: else
  fi
}

#ifdef POISON
inline kill(p) {
  isAlive[p] = false; isBegun[p] = false; dropKept(p);
#ifdef KILLS_SERVER
  crashServer(); isMarked = false
#endif
}

proctype poison() {
  do
  :: d_step { isAlive[0] && (isBegun[0] || keptLease[0] > 0) -> kill(0) }
  :: d_step { isAlive[1] && (isBegun[1] || keptLease[1] > 0) -> kill(1) }
  :: d_step { isAlive[2] && keptLease[2] > 0 -> kill(2) }
#ifdef KILLS_SERVER
  :: d_step { isAlive[2] && keptLease[2] > 0 && isForgettable -> kill(2); forgetClaim() }
#endif
  od
}
#endif

#ifdef EDIT_RAISES
#define raiseIfAsked() raiseLease()
#else
#define raiseIfAsked() skip
#endif
inline put(j) {
  state = READY; job = j; text = 0; lease = 1; owner = 0; crashes = 0; place = 0; isMarked = false; locker = 0;
  isForgettable = false
}

#if OTHERS
proctype events() {
  do
#if CANCEL
  :: d_step {
       cancels > 0 && state == READY && locker == 0 ->
       cancels--; state = FAILED; text++; moved(); told[job]++; assert(told[job] <= 1)
     }
#endif
#if EDIT
  :: d_step { edits > 0 && state == READY && locker == 0 -> edits--; text++; moved(); raiseIfAsked() }
#endif
#if RECONNECT
  :: d_step { reconnects > 0 && isOpen[0] && isInClaim[0] && !isSent[0] -> reconnects--; rollBack(0) }
#endif
#if DOWN
  :: d_step { downs > 0 && !isOver -> downs--; crashServer() }
  :: d_step { downs > 0 && !isOver -> downs--; crashServer(); isMarked = false; forgetClaim() }
#endif
#ifdef SECOND
  :: d_step { isPutMissing && (state == GONE || state == FAILED) -> isPutMissing = false; put(2) }
  :: d_step { isPutMissing && (state == GONE || state == FAILED) -> isPutMissing = false; put(2); place = 1 }
#endif
#ifdef LATER
  :: d_step { isPutMissing -> isPutMissing = false; put(1) }
#endif
#ifdef AGAIN
  :: d_step {
       isPutMissing -> isPutMissing = false;
       if :: isInClaim[0] -> endSession(0) :: else fi;
       if :: isInClaim[1] -> endSession(1) :: else fi;
       put(2)
     }
#endif
  od
}
#endif

proctype tick() {
  bool t;
  do :: t = !t od
}

init {
  atomic {
    takeId(0); takeId(1); takeId(2);
    run session(0); run lane(0);
#ifndef SOLO
    run session(1); run lane(1);
#endif
#ifndef POISON
    run keeper(0); run keeper(1); run keeper(2);
#endif
    run durable(); run beats(); run rescuer(); run server();
#if LOST && !defined(POISON)
    run lateOne();
#endif
#if OTHERS
    run events();
#endif
#ifdef POISON
    run poison();
#endif
#ifdef TICK
    run tick();
#endif
  };
#ifdef CRASH
  if :: atomic { isAlive[0] = false } :: skip fi
#endif
}

ltl settled { <>(isOver) }
