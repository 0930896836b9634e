/*
 * The lease of one job: two processes and a rescuer, with answers that are lost, burials and crashes. A job must be
 * settled in the end, and no two live runs may be able to settle it.
 *
 * What mirrors what:
 *   backend   one connection's server process. It carries out one statement at a time: its snapshot, then its effect
 *             with the commit, then its answer. It carries out a statement to its end even when the client has given
 *             up on it. A claim is sql/statements/claim.sql, perhaps with an ack that travels along; an ack that goes
 *             alone is settle.sql.
 *   claimer   one claim after another of a process: claim/dispatcher.ts, the run of the job (run/run-job.ts), and
 *             settle/settler.ts, all in src/consume. claimer(p, 0) is the loop's claim, claimer(p, 1) the claim beside it.
 *   beat      the heartbeat of a process (src/worker/presence.ts, sql/statements/heartbeat.sql) and what it decides:
 *             a new worker id when the row is gone, and the comparison of src/worker/reconcile.ts.
 *   rescuer   src/worker/rescue.ts: bury (worker_bury.sql) and collect (rescue.sql). It judges process 0 only.
 * A JavaScript process p is claimer(p, 0), claimer(p, 1) and beat(p) together; each step is a turn of its event loop.
 *
 * Left out: more than one job, attempts and their limit, outcomes other than an ack, retries after data errors,
 * the control session and the presence lock (the rescuer may bury at any moment), the heartbeats' times.
 *
 * Faults, each with a budget: LOST (so many answers are lost, before or after the effect), BURY (so many burials of a
 * process that lives), CRASH (process 0 dies at any moment, or never), FAILOVER (the database falls back, once, to
 * its state of an earlier moment, and all that is in flight is lost).
 *
 * Sizes: SOLO (one process), BESIDE (process 1 has a claim beside the loop's), BACKENDS (2 or 3). TICK adds a process
 * that always moves: without it a run that ends would count as one in which nothing is settled any more.
 *
 * Properties:
 *   safety    at most one live run matches the fence (oneFence); with CLAIMED_ONCE, which is for runs without a
 *             fault, the job is claimed once: nothing takes it from a run that goes on;
 *   liveness  the job is settled at last (the formula at the end).
 *
 * Broken on purpose, each takes one guard out:
 *   ONE_BEAT        a row is given back after one heartbeat instead of two in a row
 *   NO_CLAIM_CHECK  a claim in flight explains no row
 *   NO_RECONCILE    nothing compares the heartbeat's rows with the runs
 *   NO_COLLECT      the rows of a dead worker go back at its burial only, and never again
 *   NO_FENCE        a settle that does not match must find the lease of its own run: asserted
 *   REUSE_ID        a worker that was buried comes back under its old id
 *   NO_ROW_CHECK    a claim does not look for the worker's row
 *   NO_RANDOM_STEP  a new lease is the old one plus one
 *   FUSED_AGAIN     after a lost answer the ack goes again with the next claim, instead of alone
 */
#ifndef LOST
#define LOST 0
#endif
#ifndef BURY
#define BURY 0
#endif
#ifndef BACKENDS
#define BACKENDS 3
#endif
#define IDS 8

/* The job. */
#define READY 1
#define RUNNING 2
#define DONE 3   /* settled: the row is gone */
byte state = READY, owner = 0, lease = 1;
bool hasRow[IDS];      /* by worker id: its row is there */
byte highestLease = 1;  /* that there ever was, also before a failover: the random step makes it all but certain */

/* The processes. */
byte lastId = 0;
byte id[2];             /* each one's worker id */
bool isAlive[2] = true;
byte lost = LOST, bury = BURY;
byte claims = 0;        /* 0, 1, or more */

/* What a process knows, by claimer; a lease of 0: it has no run. */
byte runLease[4], runId[4];
bool isClaiming[4];     /* its claim is in flight */
bool isOlder[4];        /* ... and was sent before the answer to the heartbeat that first showed the row */
byte firstSeen[2];      /* the lease that the last heartbeat showed and nothing explained */

/* A failover's earlier state. */
byte state0 = READY, owner0 = 0, lease0 = 1;
bool hasRow0[IDS];
byte era = 0;           /* a statement of an earlier era has no effect and no answer */

/* A byte that begins again at 0 would be no lease any more: such a search must not pass for a verdict. */
#ifdef NO_RANDOM_STEP
#define raiseLease() assert(lease < 255); lease = lease + 1
#else
#define raiseLease() assert(highestLease < 255); highestLease++; lease = highestLease
#endif

#define claimerOf(p, s) (2 * (p) + (s))
#define matches(w, l) (state == RUNNING && owner == (w) && lease == (l))
#define isRunOf(c, w, l) (runLease[c] == (l) && runId[c] == (w))
#define isExplained(p, l) (isRunOf(claimerOf(p, 0), id[p], l) || isRunOf(claimerOf(p, 1), id[p], l))
#define hasFence(c, p) (runLease[c] > 0 && isAlive[p] && matches(runId[c], runLease[c]))

#ifdef NO_CLAIM_CHECK
#define noOlderClaim(p) true
#else
#define isOlderClaim(c) (isClaiming[c] && isOlder[c])
#define noOlderClaim(p) (!isOlderClaim(claimerOf(p, 0)) && !isOlderClaim(claimerOf(p, 1)))
#endif

inline oneFence() {
  assert(hasFence(0, 0) + hasFence(1, 0) + hasFence(2, 1) + hasFence(3, 1) <= 1)
}

/* What each backend carries out, and for which claimer. */
#define NOTHING 0
#define CLAIM 1    /* perhaps with an ack */
#define SETTLE 2   /* an ack alone */
byte kind[BACKENDS], forClaimer[BACKENDS], worker[BACKENDS], ackId[BACKENDS], ackLease[BACKENDS];
bool isGivenUp[BACKENDS];   /* nobody waits for the answer any more */

/* What each claimer hears. */
#define NONE 0
#define EMPTY 1     /* to a claim: nothing was claimed */
#define TAKEN 2     /* to a claim: the job, under gotLease */
#define SETTLED 4   /* to an ack alone; so are the next two */
#define MISSING 5   /* there is no such row */
#define STALE 6     /* the row is another lease's */
byte answer[4], gotLease[4], asked[4];
bool ackMatched[4];

proctype backend(byte b) {
  byte newLease, startedIn, says;
  bool sees, matched;
  do
  :: d_step {   /* the snapshot */
       kind[b] > NOTHING ->
       startedIn = era; matched = false; newLease = 0; says = NONE;
#ifdef NO_ROW_CHECK
       sees = (state == READY)
#else
       sees = (state == READY) && hasRow[worker[b]]
#endif
     };
     d_step {   /* rows are locked and read again; an ack and a claim that travel together commit together */
       if
       :: startedIn != era || kind[b] == NOTHING -> skip
       :: else ->
#ifdef NO_FENCE
            if
            :: ackLease[b] > 0 && state == RUNNING -> assert(owner == ackId[b] && lease == ackLease[b])
            :: else
            fi;
#endif
            if
            :: ackLease[b] > 0 && matches(ackId[b], ackLease[b]) ->
                 state = DONE; owner = 0; matched = true; says = SETTLED
            :: else -> if :: state == DONE -> says = MISSING :: else -> says = STALE fi
            fi;
            if
            :: kind[b] == CLAIM ->
                 says = EMPTY;
                 if
                 :: sees && state == READY ->
                      state = RUNNING; owner = worker[b]; raiseLease(); newLease = lease; says = TAKEN;
                      if :: claims < 2 -> claims++ :: else fi
                 :: else
                 fi
            :: else
            fi
       fi
     };
     d_step {   /* the answer */
       if
       :: isGivenUp[b] || startedIn != era -> skip
       :: else ->
            ackMatched[forClaimer[b]] = matched; gotLease[forClaimer[b]] = newLease; answer[forClaimer[b]] = says
       fi;
       kind[b] = NOTHING; isGivenUp[b] = false; ackLease[b] = 0; ackId[b] = 0; worker[b] = 0;
       newLease = 0; says = NONE; matched = false; sees = false
     }
  :: state == DONE && kind[b] == NOTHING -> break
  od
}

inline send(b, what, c, w, aw, al) {
  kind[b] = what; forClaimer[b] = c; worker[b] = w; ackId[b] = aw; ackLease[b] = al; isGivenUp[b] = false;
  answer[c] = NONE; asked[c] = b
}
inline choose(b) {
  b = 0;
  do
  :: b < BACKENDS && kind[b] > NOTHING -> b++
  :: else -> break
  od
}
#define isAnyFree (kind[0] == NOTHING || kind[1] == NOTHING || kind[BACKENDS - 1] == NOTHING)
#define isLosable(c, e) (answer[c] == NONE && (lost > 0 || e != era))
inline giveUp(c, e) {
  if :: e == era -> lost--; isGivenUp[asked[c]] = true :: else fi
}
inline endRun(c) { runLease[c] = 0; runId[c] = 0; ackL = 0; ackW = 0 }

proctype claimer(byte p; byte s) {
  byte c, b;
  byte ackL, ackW, wid, sentIn;   /* the ack that waits, the id of the claim, the era in which it was sent */
  c = claimerOf(p, s);
again:
  if
  :: !isAlive[p] || state == DONE -> goto dead   /* DONE: so that the model ends */
  :: d_step {
       isAlive[p] && isAnyFree && state != DONE ->
       choose(b); wid = id[p]; send(b, CLAIM, c, wid, ackW, ackL);
       isClaiming[c] = true; isOlder[c] = false; sentIn = era; b = 0
     }
  fi;
  if
  :: d_step { isAlive[p] && answer[c] == EMPTY -> isClaiming[c] = false };
     if
     :: ackL == 0 -> goto again
     :: ackL > 0 && ackMatched[c] -> d_step { endRun(c) }; goto again
     :: else -> goto alone   /* to hear why it did not match */
     fi
  :: d_step {
       isAlive[p] && answer[c] == TAKEN -> isClaiming[c] = false;
       /* An ack that went along and did not match is stale: it was of this very job. */
       ackL = 0; ackW = 0; runLease[c] = gotLease[c]; runId[c] = wid; oneFence()
     }
  :: d_step { isAlive[p] && isLosable(c, sentIn) -> giveUp(c, sentIn); isClaiming[c] = false };
#ifdef FUSED_AGAIN
     goto again
#else
     if :: ackL > 0 -> goto alone :: else -> goto again fi
#endif
  :: !isAlive[p] -> goto dead
  fi;
  /* The handler runs and ends: its ack travels with the next claim, or goes alone. */
  if
  :: d_step { isAlive[p] -> ackL = runLease[c]; ackW = runId[c] }; goto again
  :: d_step { isAlive[p] -> ackL = runLease[c]; ackW = runId[c] }; goto alone
  :: !isAlive[p] -> goto dead
  fi;
alone:
  if
  :: !isAlive[p] -> goto dead
  :: d_step { isAlive[p] && isAnyFree -> choose(b); send(b, SETTLE, c, 0, ackW, ackL); sentIn = era; b = 0 }
  fi;
  if
  :: d_step { isAlive[p] && answer[c] > NONE -> endRun(c) }; goto again
  :: d_step { isAlive[p] && isLosable(c, sentIn) -> giveUp(c, sentIn) }; goto alone
  :: !isAlive[p] -> goto dead
  fi;
dead:
  skip
}

proctype beat(byte p) {
  byte shown;   /* the lease of the row that this worker owns; 0: none */
  bool isPresent;
  do
  :: d_step {   /* the heartbeat's snapshot */
       isAlive[p] && state != DONE ->
       isPresent = hasRow[id[p]];
       if :: state == RUNNING && owner == id[p] -> shown = lease :: else -> shown = 0 fi
     };
     d_step {   /* its answer is read */
       isAlive[p] ->
       if
       :: !isPresent && !hasRow[id[p]] ->   /* it was given up: a new id */
#ifdef REUSE_ID
            hasRow[id[p]] = true;
#else
            lastId++; id[p] = lastId; hasRow[lastId] = true;
#endif
            firstSeen[p] = 0
       :: else ->
#ifdef NO_RECONCILE
            skip
#else
            if
            :: shown == 0 -> firstSeen[p] = 0
            :: shown > 0 ->
#ifdef ONE_BEAT
                 firstSeen[p] = shown;
#endif
                 if
                 :: firstSeen[p] == shown && !isExplained(p, shown) && noOlderClaim(p) ->   /* it is given back */
                      if :: matches(id[p], shown) -> state = READY; owner = 0 :: else fi;
                      firstSeen[p] = 0
                 :: else ->
                      if
                      :: firstSeen[p] != shown ->
                           firstSeen[p] = shown;
                           isOlder[claimerOf(p, 0)] = isClaiming[claimerOf(p, 0)];
                           isOlder[claimerOf(p, 1)] = isClaiming[claimerOf(p, 1)]
                      :: else
                      fi
                 fi
            fi
#endif
       fi;
       isPresent = false; shown = 0
     }
  :: !isAlive[p] -> break
  :: state == DONE -> break
  od
}

inline collectFrom(dead) {
  if :: state == RUNNING && owner == dead -> state = READY; owner = 0; raiseLease() :: else fi
}

proctype rescuer() {
  byte dead;
  do
  :: d_step {   /* bury */
       state != DONE && hasRow[id[0]] && id[0] > 0 && (!isAlive[0] || bury > 0) ->
       if :: isAlive[0] -> bury-- :: else fi;
       hasRow[id[0]] = false; dead = id[0]
     };
#ifdef NO_COLLECT
     d_step { collectFrom(dead) }
#else
  :: d_step { state == RUNNING && !hasRow[owner] -> dead = owner };   /* the collect's snapshot */
     d_step { collectFrom(dead); dead = 0 }
#endif
  :: state == DONE -> break
  od
}

#ifdef FAILOVER
proctype failover() {
  byte i;
  d_step {
    state0 = state; owner0 = owner; lease0 = lease; i = 0;
    do :: i < IDS -> hasRow0[i] = hasRow[i]; i++ :: else -> break od
  };
  d_step {
    state = state0; owner = owner0; lease = lease0; i = 0;
    do :: i < IDS -> hasRow[i] = hasRow0[i]; i++ :: else -> break od;
    era++
  }
}
#endif

proctype tick() {
  bool t;
  do :: t = !t od
}

init {
  atomic {
    lastId = 1; id[0] = 1; hasRow[1] = true; lastId = 2; id[1] = 2; hasRow[2] = true;
    run backend(0); run backend(1);
#if BACKENDS > 2
    run backend(2);
#endif
    run claimer(0, 0); run beat(0); run rescuer();
#ifndef SOLO
    run claimer(1, 0); run beat(1);
#endif
#ifdef TICK
    run tick();
#endif
#ifdef BESIDE
    run claimer(1, 1);
#endif
#ifdef FAILOVER
    run failover();
#endif
  };
#ifdef CRASH
  if :: atomic { isAlive[0] = false } :: skip fi;
#endif
#ifdef CLAIMED_ONCE
  (claims > 1) -> assert(false)
#else
  skip
#endif
}

ltl settled { <>(state == DONE) }
