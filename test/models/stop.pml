/*
 * How a consumer stops: one consumer with one slot, JOBS jobs, and a claim in flight at any moment. Each job must end
 * settled, given back, or under a handler that still runs in a living process; and the stop must resolve.
 *
 * What mirrors what:
 *   server      the claim's statement (sql/statements/claim.sql). It goes on when nobody waits for it any more.
 *   dispatcher  src/consume/claim/dispatcher.ts: it claims once, and after the stop it gives back what the claim
 *               brings.
 *   handler     a job in this process: run/slots.ts, run/run-job.ts and settle/settler.ts, all in src/consume. Its
 *               outcome is sent until it is answered.
 *   stop        src/consume/stop.ts and the end of src/consume/consumer.ts, then the leave of src/worker/worker.ts:
 *               what no run explains goes back, and the worker's row is deleted (sql/statements/worker_delete.sql)
 *               unless a running job names it.
 *   beat        the heartbeat's comparison while the worker is there: src/worker/reconcile.ts.
 *   end         the end of the process, by itself or killed, at any moment after the stop has resolved.
 *   others      other workers: they bury this one when it is gone, and collect its jobs (src/worker/rescue.ts).
 *
 * Left out: leases (lease.pml has them; here a worker's row and its jobs are enough), a second claim, retries, the
 * time of grace and abort (the deadline may come at any moment after the stop), a second stop, close.
 *
 * Faults: LOST (so many answers are lost: the claim's, an outcome's), NEVER (a handler may never end), EXIT (the
 * process ends after its stop has resolved).
 *
 * Properties:
 *   safety    a handler begins, and runs, only while its job is running under this worker (holdsItsJob);
 *   liveness  from some moment on every job is settled, given back, or runs in the living process; the stop resolves.
 *
 * Broken on purpose, each takes one guard out:
 *   NO_GIVE_BACK    what a claim brings after the stop waits for a slot that it never gets
 *   NO_COLLECT      nobody collects the jobs of a worker that has no row
 *   NO_CLAIM_CHECK  a claim in flight explains no row to the heartbeat's comparison
 *   NO_REST         the leave does not look for rows that no run explains
 *   EARLY_LEAVE     the worker is left while a claim is in flight
 *   ROW_GOES        the worker's row is deleted although a running job names it
 *   NO_RECONCILE    no heartbeat compares
 */
#ifndef JOBS
#define JOBS 2   /* 1 or 2 */
#endif
#ifndef LOST
#define LOST 0
#endif

/* A job in the database. */
#define READY 1
#define RUNNING 2   /* under this worker */
#define GONE 3      /* settled */
byte state[JOBS] = READY;

/* The same job in the process. */
#define UNKNOWN 0
#define HELD 1        /* claimed, not begun */
#define BEGUN 2       /* its handler runs */
#define SETTLING 3    /* its outcome is on its way */
#define RETURNING 4   /* it is being given back */
byte here[JOBS];

bool hasRow = true, isAlive = true;   /* the worker's row; the process */
bool isStopping = false, isResolved = false, hasLeft = false, isDeadlineOver = false;
bool isClaiming = false;       /* the dispatcher waits for an answer */
bool isStatementOn = false;    /* the server carries the claim out */
bool isGivenUp = false;        /* nobody waits for the answer */
bool hasClaimed = false;       /* a second claim would find nothing */
bool took[JOBS];               /* the answer to the claim */
byte answered = 0;
byte lost = LOST;
bool isDispatcherOver = false;
bool isShown[JOBS];            /* to the leave, as running under this worker and explained by no run */

#define isNone(x) (here[0] != x && here[JOBS - 1] != x)
#define isEmpty (here[0] == UNKNOWN && here[JOBS - 1] == UNKNOWN)
#define isFine(j) (state[j] != RUNNING || (isAlive && here[j] == BEGUN))

inline holdsItsJob(j) { assert(!(isAlive && here[j] == BEGUN) || state[j] == RUNNING) }
inline giveBack(j) { state[j] = READY; holdsItsJob(j) }

/* An outcome that the server has written; a job that is not running under this worker stays as it is. */
inline write(j) {
  if
  :: state[j] == RUNNING && here[j] == SETTLING -> state[j] = GONE
  :: state[j] == RUNNING && here[j] == RETURNING -> giveBack(j)
  :: else
  fi
}

proctype server() {
  bool sees;
  byte j;
  do
  :: d_step { isStatementOn -> sees = hasRow };   /* its snapshot */
     d_step {   /* its effect */
       j = 0;
       do
       :: j < JOBS ->
            if :: sees && state[j] == READY && !hasClaimed -> state[j] = RUNNING; took[j] = true :: else fi;
            j++
       :: else -> break
       od;
       j = 0; hasClaimed = true
     };
     d_step {   /* its answer */
       if
       :: isGivenUp || !isAlive ->
            j = 0;
            do :: j < JOBS -> took[j] = false; j++ :: else -> break od;
            j = 0
       :: else -> answered = 1
       fi;
       isStatementOn = false; isGivenUp = false
     }
  od
}

proctype dispatcher() {
  byte j;
  do
  :: !isAlive -> break
  :: isAlive && isStopping && !isClaiming -> isDispatcherOver = true; break
  :: d_step {   /* it claims */
       isAlive && !isStopping && !isClaiming && !isStatementOn && !hasClaimed ->
       isClaiming = true; answered = 0; isStatementOn = true
     }
  :: d_step {   /* it reads the answer */
       isAlive && isClaiming && answered == 1 ->
       isClaiming = false; answered = 0; j = 0;
       do
       :: j < JOBS ->
            if
            :: took[j] && !isStopping -> here[j] = HELD
            :: took[j] && isStopping ->
#ifdef NO_GIVE_BACK
                 here[j] = HELD
#else
                 here[j] = RETURNING
#endif
            :: else
            fi;
            took[j] = false; j++
       :: else -> break
       od;
       j = 0
     }
  :: d_step {   /* the answer is lost */
       isAlive && isClaiming && answered == 0 && lost > 0 && isStatementOn ->
       lost--; isClaiming = false; isGivenUp = true
     }
  od
}

proctype handler(byte j) {
  do
  :: d_step { isAlive && here[j] == HELD && isNone(BEGUN) && !isStopping -> here[j] = BEGUN; holdsItsJob(j) }
  :: d_step { isAlive && here[j] == BEGUN -> here[j] = SETTLING }
  :: d_step { isAlive && here[j] >= SETTLING -> write(j); here[j] = UNKNOWN }
#ifdef NEVER
  :: d_step { isAlive && here[j] == BEGUN } -> (!isAlive) -> break
#endif
  :: d_step { isAlive && here[j] >= SETTLING && lost > 0 -> lost--; write(j) }   /* the answer is lost: sent again */
  :: !isAlive -> break
  :: hasLeft && here[j] == UNKNOWN -> break
  od
}

proctype stop() {
  byte j;
  d_step {   /* what has not begun goes back */
    isStopping = true; j = 0;
    do
    :: j < JOBS -> if :: here[j] == HELD -> here[j] = RETURNING :: else fi; j++
    :: else -> break
    od;
    j = 0
  };
  if
  :: isDispatcherOver && isEmpty -> skip
  :: isDeadlineOver = true
  fi;
  isResolved = true;
#ifndef EARLY_LEAVE
  isDispatcherOver && isEmpty;
#else
  isEmpty;
#endif
  /* The leave. */
#ifndef NO_REST
  d_step {
    j = 0;
    do
    :: j < JOBS -> isShown[j] = (state[j] == RUNNING && here[j] == UNKNOWN); j++
    :: else -> break
    od;
    j = 0
  };
  d_step {
    j = 0;
    do
    :: j < JOBS -> if :: isAlive && isShown[j] && state[j] == RUNNING -> giveBack(j) :: else fi; j++
    :: else -> break
    od;
    j = 0
  };
#endif
  d_step {
    if
    :: isAlive ->
#ifdef ROW_GOES
         hasRow = false
#else
         if :: state[0] != RUNNING && state[JOBS - 1] != RUNNING -> hasRow = false :: else fi
#endif
    :: else
    fi
  };
  hasLeft = true
}

proctype beat() {
  byte j;
  bool wasShown[JOBS];   /* by the heartbeat before */
  do
  :: !isAlive || hasLeft -> break
#ifndef NO_RECONCILE
  :: d_step {
       isAlive && !hasLeft -> j = 0;
       do
       :: j < JOBS ->
            if
#ifdef NO_CLAIM_CHECK
            :: state[j] == RUNNING && here[j] == UNKNOWN ->
#else
            :: state[j] == RUNNING && here[j] == UNKNOWN && !isClaiming ->
#endif
                 if :: wasShown[j] -> giveBack(j); wasShown[j] = false :: else -> wasShown[j] = true fi
            :: else -> wasShown[j] = false
            fi;
            j++
       :: else -> break
       od;
       j = 0
     }
#endif
  od
}

proctype end() {
  isResolved;
  if :: hasLeft -> skip :: skip fi;
  isAlive = false
}

proctype others() {
  byte j;
  do
  :: d_step { (!isAlive || hasLeft) && hasRow -> hasRow = false }   /* no heartbeat, and no presence lock */
#ifndef NO_COLLECT
  :: d_step {
       !hasRow && (state[0] == RUNNING || state[JOBS - 1] == RUNNING) -> j = 0;
       do
       :: j < JOBS -> if :: state[j] == RUNNING -> giveBack(j) :: else fi; j++
       :: else -> break
       od;
       j = 0
     }
#endif
  od
}

/* It always moves, so that no run of the model is finite: fairness speaks of infinite ones. */
proctype tick() {
  bool t;
  do :: t = !t od
}

init {
  atomic {
    run tick(); run server(); run dispatcher(); run handler(0); run handler(JOBS - 1); run stop(); run beat();
    run others();
#ifdef EXIT
    run end();
#endif
  }
}

ltl ends { <>[](isFine(0) && isFine(JOBS - 1)) && <>isResolved }
