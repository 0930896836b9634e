/*
 * The sleep protocol of one queue: a consumer that goes to sleep must not lose a wake-up.
 *
 * What mirrors what:
 *   writer           a transaction that puts one job, and the trigger wake() in sql/migrations/0001_jobs.sql. Three
 *                    steps that anything may come between: it gets its id and inserts; the trigger tests the sleep
 *                    lock (K in the comments of src); it commits, which sends the notification, or it rolls back.
 *   consumer         the loop of src/consume/claim/dispatcher.ts, with the decisions of sleep.ts beside it. A claim
 *                    (sql/statements/claim.sql) is two steps: its snapshot, then its taking of rows (skip locked).
 *                    The look for writers is sql/statements/writers.sql. The sleep lock is taken in two steps:
 *                    the server grants it, then its answer is read.
 *   locker           a session that locks a ready row and lets it go, still ready: a claim that rolls back, an update,
 *                    a person's "for share".
 *   oldTransaction   a transaction with an id that never touches the job table, and that ends at last.
 *   controlLoss      src/database/control.ts with onLost and onRegained in src/worker/parts.ts: the control session is
 *                    lost once, every sleep lock with it, and it comes back.
 *   listenerLoss     src/listen/listener.ts with onHealth and onLive in src/worker/parts.ts: notifications are lost;
 *                    that is noticed, and the sleep locks are given up; LISTEN is committed again; that is noticed, and
 *                    they are taken again.
 *
 * Left out: time (a pause of any length may come between two steps, and the protocol's own pauses are such); sweeps,
 * the net below the protocol, which would hide every loss; rows that are due later; a claim beside the loop's; linger
 * after a find, which gives the sleep lock up and claims, as "no slot was free" does here; savepoints; PREPARE
 * TRANSACTION; the horizon of other databases (an old transaction stands for it); ids that wrap around; errors of
 * statements; doze, which lets time pass between a notification and its claim, as may pass between any two steps.
 *
 * Properties:
 *   safety    when nothing can move any more, no committed ready row is left (the assertion in init);
 *   liveness  again and again there is a moment without a ready row (the formula at the end).
 *
 * Sizes: WRITERS (1 or 2, one row each), CONSUMERS (1 or 2), LOCKERS. Surroundings: OLD (one oldTransaction),
 * NOISE (other sessions write jobs of other queues at every moment), LINGER (wake-ups come fast, so the consumer gives
 * the sleep lock up after a claim that found nothing, perhaps each time), CONTROL_LOSS, LISTENER_LOSS.
 *
 * Broken on purpose, each takes one guard out:
 *   NO_DEBT         the consumer sleeps after the first claim that proves the queue empty: no step 4 of sleep.ts
 *   XMAX_TARGET     the debt's target is the snapshot's xmax instead of the next id to be assigned
 *   NO_LEFT_BEHIND  a claim does not report ready rows that it did not take
 *   LATE_FLAG       the flag is cleared after the claim instead of before it
 *   NO_CATCH_UP     a listener that is back raises nobody
 *   DEBT_ONCE       a sleep lock that is taken again owes nothing
 *   NO_LAST_CLAIM   two clear looks pay the debt, without one more claim
 *   QUIET_LOSS      nobody is raised when the control session is lost (only when it is back)
 *   ONE_LOOK        one clear look is enough
 *   ANY_WRITER      a look counts every writer, not only those whose id is below the debt's target
 *   NO_SECOND_ASK   what a taking brings is kept, though the listener was lost while its answer was on its way
 */
#ifndef WRITERS
#define WRITERS 2
#endif
#ifndef CONSUMERS
#define CONSUMERS 1
#endif
#ifndef LOCKERS
#define LOCKERS 0
#endif
/* Transaction ids begin at 1: one per writer, one for the old transaction. */
#define IDS 7

#define NOT_COMMITTED 0   /* or rolled back */
#define READY 1
#define TAKEN 2

byte nextId = 1;              /* the next transaction id to be assigned */
bool inProgress[IDS];         /* the transaction with this id has not ended */
bool writesJob[IDS];          /* it holds ROW EXCLUSIVE on the job table */
byte row[WRITERS];            /* the state of each writer's row */
bool isLocked[WRITERS];       /* a locker has that row */
bool holdsLock[CONSUMERS];    /* the sleep lock, shared */
bool raised[CONSUMERS];       /* the dispatcher's flag */
bool isTaking[CONSUMERS];     /* the server has granted it the sleep lock, and the answer is on its way */
bool isListening = true;      /* notifications arrive */
bool isHeard = true;          /* the listener's health is `live`: what is known of that */
bool hasSession = true;       /* the control session */

/* Nothing reads these two. They make a counterexample easier to follow. */
byte others = 0;              /* writers, lockers and losses that are not over */
bool isAsleep[CONSUMERS];

#define isAnyReady (row[0] == READY || (WRITERS > 1 && row[WRITERS - 1] == READY))

inline assignId(id) {
  id = nextId;
  inProgress[id] = true;
  nextId++
}

/* Every transaction with a lower id has ended. */
inline readXmin(id) {
  id = 1;
  do
  :: id < nextId && !inProgress[id] -> id++
  :: else -> break
  od
}

/* One past the last id that has ended. */
inline readXmax(id) {
  id = nextId;
  do
  :: id > 1 && inProgress[id - 1] -> id--
  :: else -> break
  od
}

inline raiseAll(c) {
  c = 0;
  do
  :: c < CONSUMERS -> raised[c] = true; c++
  :: else -> break
  od
}

proctype writer(byte me) {
  byte id, c;
  bool notifies;
  atomic { assignId(id); writesJob[id] = true }
  atomic {   /* the trigger, after the id */
    notifies = false; c = 0;
    do
    :: c < CONSUMERS -> if :: holdsLock[c] -> notifies = true :: else fi; c++
    :: else -> break
    od;
    c = 0
  }
  if
  :: atomic {   /* commit */
       row[me] = READY; inProgress[id] = false; writesJob[id] = false;
       if :: notifies && isListening -> raiseAll(c); c = 0 :: else fi;
       others--
     }
  :: atomic { inProgress[id] = false; writesJob[id] = false; others-- }   /* rollback */
  fi
}

proctype locker() {
  byte r;
  do
  :: atomic { row[0] == READY && !isLocked[0] -> r = 0; isLocked[r] = true } -> atomic { isLocked[r] = false }; break
  :: atomic { WRITERS > 1 && row[WRITERS - 1] == READY && !isLocked[WRITERS - 1] ->
       r = WRITERS - 1; isLocked[r] = true } -> atomic { isLocked[r] = false }; break
  :: break
  od;
  others--
}

proctype oldTransaction() {
  byte id;
  atomic { assignId(id) };
  atomic { inProgress[id] = false; others-- }
}

proctype controlLoss() {
  byte c;
  atomic {
    hasSession = false; c = 0;
    do
    :: c < CONSUMERS ->
         holdsLock[c] = false; isTaking[c] = false;
#ifndef QUIET_LOSS
         raised[c] = true;
#endif
         c++
    :: else -> break
    od
  };
  atomic { hasSession = true; raiseAll(c); others-- }
}

proctype listenerLoss() {
  byte c;
  atomic { isListening = false };
  atomic {
    isHeard = false; c = 0;
    do
    :: c < CONSUMERS -> if :: !isTaking[c] -> holdsLock[c] = false :: else fi; c++
    :: else -> break
    od
  };
  atomic { isListening = true };
  atomic {
    isHeard = true;
#ifndef NO_CATCH_UP
    raiseAll(c);
#endif
    others--
  }
}

proctype consumer(byte me) {
  byte xmin, target, nextAtClaim, i, clearLooks;
  bool isShown[WRITERS];   /* ready in the claim's snapshot */
  bool found, leftBehind, debt, isLooking, tookBefore;
claim:
  isAsleep[me] = false;
#ifndef LATE_FLAG
  raised[me] = false;   /* before the claim: what lands during it must leave the flag up */
#endif
  d_step {   /* the claim's snapshot */
    readXmin(xmin);
#ifdef XMAX_TARGET
    readXmax(nextAtClaim);
#else
    nextAtClaim = nextId;
#endif
    i = 0;
    do
    :: i < WRITERS -> isShown[i] = (row[i] == READY); i++
    :: else -> break
    od;
    i = 0
  }
  d_step {   /* it takes what nobody has locked and what is ready still; the rest that it was shown is left behind */
    found = false; leftBehind = false; i = 0;
    do
    :: i < WRITERS ->
         if
         :: isShown[i] && row[i] == READY && !isLocked[i] -> row[i] = TAKEN; found = true
         :: isShown[i] && (row[i] != READY || isLocked[i]) -> leftBehind = true
         :: else
         fi;
         i++
    :: else -> break
    od;
    i = 0
  }
#ifdef LATE_FLAG
  raised[me] = false;
#endif
#ifdef NO_LEFT_BEHIND
  leftBehind = false;
#endif
  if
  :: found ->
       if
       :: goto claim
       :: holdsLock[me] = false; goto claim   /* no slot was free: the lock is given up until one is */
       fi
  :: else
  fi;
#ifdef LINGER
  if
  :: holdsLock[me] = false; goto claim
  :: skip
  fi;
#endif
  if
  :: !holdsLock[me] ->   /* step 1: take the lock, then claim */
       if
       :: d_step { hasSession && isHeard -> holdsLock[me] = true; isTaking[me] = true }
       :: d_step { !hasSession || !isHeard -> skip }; goto sleep   /* the return of either raises the flag */
       fi;
       if
       :: d_step {
#ifdef NO_SECOND_ASK
            isTaking[me] ->
#else
            isTaking[me] && isHeard ->
#endif
            isTaking[me] = false; clearLooks = 0; isLooking = false; target = 0;
#ifdef DEBT_ONCE
            if :: target == 0 && !tookBefore -> debt = true :: else fi;
            tookBefore = true
#else
            debt = true
#endif
          };
          goto claim
#ifndef NO_SECOND_ASK
       :: d_step { isTaking[me] && !isHeard -> isTaking[me] = false; holdsLock[me] = false }; goto sleep
#endif
       :: d_step { !isTaking[me] -> skip }; goto sleep   /* the session was lost meanwhile */
       fi
  :: else
  fi;
  d_step {   /* step 4: is the debt paid by this claim? */
    if
    :: debt ->
         if
         :: clearLooks >= 2 -> debt = false
         :: clearLooks < 2 && target == 0 -> target = nextAtClaim
         :: else
         fi;
         if :: debt && xmin >= target -> debt = false :: else fi
    :: else
    fi;
#ifdef NO_DEBT
    debt = false;
#endif
    skip
  };
  if :: leftBehind -> goto claim :: else fi;   /* step 3 */
  if
  :: debt ->
       if :: !isLooking -> if :: goto claim :: isLooking = true fi :: else fi;   /* 100 ms are over, or not */
look:
       if
       :: raised[me] -> goto claim
       :: d_step {
            !raised[me] ->
            leftBehind = false; i = 1;   /* here: somebody writes */
            do
            :: i < nextId ->
#ifdef ANY_WRITER
                 if :: writesJob[i] -> leftBehind = true :: else fi;
#else
                 if :: writesJob[i] && i < target -> leftBehind = true :: else fi;
#endif
                 i++
            :: else -> break
            od;
            i = 0;
#if defined(NOISE) && defined(ANY_WRITER)
            leftBehind = true;   /* whoever writes in other queues has a new id each time: below no target for long */
#endif
            if :: leftBehind -> clearLooks = 0 :: else -> clearLooks++ fi;
#ifdef ONE_LOOK
            if :: !leftBehind -> clearLooks = 2 :: else fi;
#endif
          };
          if
          :: clearLooks >= 2 ->
#ifdef NO_LAST_CLAIM
               debt = false; goto sleep
#else
               goto claim
#endif
          :: else -> goto look
          fi
       fi
  :: else
  fi;
sleep:   /* step 5 */
  isAsleep[me] = true;
end_sleep:
  raised[me] -> goto claim
}

init {
  byte i;
  atomic {
    i = 0; do :: i < CONSUMERS -> run consumer(i); i++ :: else -> break od;
    i = 0; do :: i < WRITERS -> run writer(i); others++; i++ :: else -> break od;
    i = 0; do :: i < LOCKERS -> run locker(); others++; i++ :: else -> break od;
#ifdef OLD
    run oldTransaction(); others++;
#endif
#ifdef CONTROL_LOSS
    run controlLoss(); others++;
#endif
#ifdef LISTENER_LOSS
    run listenerLoss(); others++;
#endif
    i = 0
  };
end_watch:
  timeout -> assert(!isAnyReady)   /* `timeout` is true when no other process can move */
}

ltl claimed { []<>(!isAnyReady) }
