/**
 * The sleep protocol: how a consumer goes to sleep without losing a wake-up, and when it had better not.
 *
 * **The lock.** K(queue) is an advisory lock. A consumer that sleeps holds it shared; every writer's trigger tests it
 * exclusively, and sends a NOTIFY only if somebody holds it. A NOTIFY costs every writer of the server a lock around
 * its commit, so it is paid only while somebody needs it.
 *
 * **What could be lost.** A writer whose trigger tested K before we took it, and whose commit comes after we looked:
 * silent, and not seen. So, to sleep:
 *
 * 1. take K, shared;
 * 2. claim, in one autocommit statement that began after K's answer. It also returns its snapshot's `xmin` (every
 *    transaction with a lower id had ended), `target` (the next transaction id to be assigned at that moment, or a
 *    later one) and `leftBehind` (its snapshot shows a ready row that it did not take);
 * 3. `leftBehind`: the row is hidden behind somebody's lock (a claim that may roll back, an UPDATE, a person's FOR
 *    SHARE), and nobody will tell when that ends: claim again after 1 ms, doubling to 100 ms, then every second;
 * 4. the debt: until a claim was made whose `xmin` is at least the first claim's `target`, claim again after 1 ms,
 *    doubling. An old transaction that never touches our table, even in another database, holds xmin back as well; so
 *    after 100 ms ask pg_locks instead, slowing to a second, whether a transaction with an id below `target` holds ROW
 *    EXCLUSIVE on the job table. When two looks in a row find none, one more claim pays the debt;
 * 5. sleep. K stays held.
 *
 * **Why nothing is lost.** The trigger runs after its transaction has an id p. If it tested K after step 1, it
 * notifies. If before, p was assigned before step 2 began, so p < target; the claim that pays step 4 was made after p
 * had ended, and its snapshot shows p's rows if they were committed; what it saw and did not take is `leftBehind`. The
 * looks of step 4 are as good: p holds ROW EXCLUSIVE from its insert to its end, so once they find no such holder, p
 * has ended, and the claim after them sees its rows. (PREPARE TRANSACTION moves its locks one by one: between two looks
 * it has moved them.) Advisory locks are not MVCC, so all of this holds for writers in REPEATABLE READ too.
 * `pg_snapshot_xmax` will not do as the target: it is one past the last *completed* id, and a running p can lie at or
 * above it. The debt is owed once for each taking of K, also if the consumer works in between.
 *
 * **Why the debt is paid at last.** xmin and looks wait for transactions that ran when the debt began, and for nobody
 * else: those that begin to write later have higher ids, however many they are and whatever queue they write to. So
 * the debt is paid two looks after the last of those has ended.
 *
 * **A short claim alone proves nothing**: only one that is short and left nothing behind proves the queue empty.
 *
 * **Waking.** A consumer that is woken now and then keeps K: nothing can be missed while it is held and paid for. One
 * without a free slot gives K up (the dispatcher does), so that writers fall silent.
 *
 * **Linger.** Where wake-ups come fast, K is given up and not taken again at once: the consumer stays awake without K
 * until some time after its last found job, claiming on a short jittered timer. Otherwise somebody of a fleet would
 * always hold K, and every insert would notify. The timer widens while claims find nothing and narrows while they find
 * something, by less: so somewhat less than half of the claims are empty, however many processes share the queue, and
 * no process needs to know their number. Where the server answers slowly, claims come more seldom still, but never
 * further apart than `deafMs`.
 *
 * Whether the wake-ups were for this consumer does not matter: one of a rare kind, or one whose queue gets mostly jobs
 * that are due later, makes every insert notify as much as any other. But it has no find that would keep it awake, and
 * each time it falls asleep some tens of inserts notify before it lingers again. So it lingers for a second.
 *
 * **No wait is deaf for long.** While a consumer waits in any of these steps, a sweep that finds ready jobs, and
 * whatever else raises it, makes it claim at once. Only notifications do not end a linger; and that does not last
 * longer than `deafMs` from claim to claim.
 *
 * **Doze.** Of a fleet that is woken together one consumer finds the job. One that woke for nothing several times in a
 * row leaves wake-ups to others: it still holds K, and answers later (doze.ts). That is no deaf wait: it ends by
 * itself, and by all that ends another sleep.
 *
 * This file decides; it does no I/O and keeps no timer. The dispatcher carries out the steps.
 */
export type Step =
  /** Claim after `inMs`; a wake-up comes first if `wakeable`. */
  | { readonly do: 'claim'; readonly inMs: number; readonly wakeable: boolean }
  /** Give K up, then claim after `inMs`, whatever notifications say meanwhile; `deafMs` at most. */
  | { readonly do: 'linger'; readonly inMs: number }
  /** Take K, then claim. */
  | { readonly do: 'take' }
  /** After `inMs` ask pg_locks for writers with ids below `target`; a wake-up comes first, with a claim. */
  | { readonly do: 'look'; readonly inMs: number; readonly target: bigint }
  /** Others are faster: doze if they are many (doze.ts), and sleep. */
  | { readonly do: 'doze' }
  /** Wait for a wake-up. */
  | { readonly do: 'sleep' }

/** What a claim's answer tells the protocol. */
export interface ClaimSigns {
  readonly asked: number
  readonly found: number
  /**
   * Known for a short claim that was to prove something; otherwise false. For a full claim (found = asked), and for one
   * that failed half-way, xmin and target are 0: it proves nothing and pays no debt.
   */
  readonly leftBehind: boolean
  readonly xmin: bigint
  readonly target: bigint
  /** From sending the claim to its answer. */
  readonly tripMs: number
}

export interface SleepProtocol {
  /** A notification came, whether or not we slept. @returns whether they come so fast that none may be answered late */
  notified(): boolean
  /** K was just taken. */
  taken(): void
  /** @param held - whether K is held now, the control session's word */
  claimed(signs: ClaimSigns, held: boolean): Step
  /** @param writing - whether a transaction with an id below the step's target holds ROW EXCLUSIVE on the job table */
  looked(writing: boolean): Step
}

/** Wake-ups a second on a queue above which a consumer lingers. */
const fastPerSecond = 200
const paceWindowMs = 100
/** How long after its last found job a lingering consumer goes to sleep, at least. */
const lingerMs = 30
/**
 * And one that has found none. (64 inserts of other kinds notified before each such linger, so at 3,000 a second this
 * keeps their share at 2 %, and the consumer at 33 claims a second.)
 */
const lingerForNothingMs = 1_000
/** The longest wait that a notification does not end. */
export const deafMs = 300
/**
 * And after how many empty claims. In a fleet nearly half of all claims are empty, and a few in a row prove nothing;
 * but a consumer that falls asleep makes every insert notify until it is awake again (16 processes at 1,000 inserts a
 * second: after 8, one insert in six notified, after 10 one in 300: `npm run bench -- fleet`).
 */
const lingerInVain = 10
const lingerTimerMs = { least: 1, most: 30 } as const
/** The factors by which an empty claim lengthens the timer, and a claim that finds jobs shortens it. */
const lingerFactor = { widen: 1.5, narrow: 1.2 } as const
/**
 * A server that answers more slowly than this has too much to do, writers' inserts too: then claims come the more
 * seldom, and each takes more. (32 writers and 16 processes on two cores: without this the writers kept 37 % of their
 * pace alone: `npm run bench -- insert --case processes`.)
 */
const quickTripMs = 3
const waitForSlowTrip = 3
/** Wake-ups for nothing in a row, until one dozes; and until it counts the others again. */
const emptyWakes = { beforeDoze: 4, beforeCount: 16 } as const

export const asleep: Step = { do: 'sleep' }
const take: Step = { do: 'take' }
/** The step after anything that proves nothing. */
export const claimNow: Step = { do: 'claim', inMs: 0, wakeable: true }

/** @param dozes - false for a consumer that takes some of its queue's jobs only */
export function createSleepProtocol(now: () => number, random: () => number, dozes: boolean): SleepProtocol {
  const pace = createPace(now)
  /** Owed since K was taken. `target` comes with the first short claim: a later one is larger, and as right. */
  let debt: { target: bigint | null; since: number; waitMs: number; clearLooks: number } | null = null
  let leftBehindMs = 1
  let lingering: { timerMs: number; endsAt: number; inVain: number } | null = null
  /** Since the last linger ended, as is what the pace counts. */
  let hasFound = false
  let wokenBy: 'notification' | 'other' = 'other'
  let wokenForNothing = 0

  function linger(found: number, tripMs: number): Step | null {
    if (lingering === null) {
      if (pace.perSecond() < fastPerSecond) return null
      const forMs = hasFound ? lingerMs : lingerForNothingMs
      lingering = { timerMs: lingerTimerMs.least, endsAt: now() + forMs, inVain: 0 }
    }
    if (found > 0) {
      stayAwake(lingering)
      lingering.timerMs = Math.max(lingerTimerMs.least, lingering.timerMs / lingerFactor.narrow)
    } else {
      lingering.inVain += 1
      if (now() > lingering.endsAt && lingering.inVain >= lingerInVain) {
        lingering = null
        hasFound = false
        // It decays more slowly than this: without further wake-ups there is nothing to stay awake for.
        pace.restart()
        return null
      }
      lingering.timerMs = Math.min(lingerTimerMs.most, lingering.timerMs * lingerFactor.widen)
    }
    const inMs = Math.max(lingering.timerMs, (tripMs - quickTripMs) * waitForSlowTrip)
    const jitter = 0.5 + random()
    return { do: 'linger', inMs: Math.min(inMs, deafMs / 1.5) * jitter }
  }

  function stayAwake(awake: NonNullable<typeof lingering>): void {
    awake.endsAt = Math.max(awake.endsAt, now() + lingerMs)
    awake.inVain = 0
  }

  function payDebt(signs: ClaimSigns): void {
    if (debt === null || signs.target === 0n) return
    if (debt.clearLooks >= 2) debt = null
    else if (debt.target === null) debt.target = signs.target
    if (debt?.target != null && signs.xmin >= debt.target) debt = null
  }

  function nextOfDebt(owed: NonNullable<typeof debt>): Step {
    const { waitMs: inMs, target } = owed
    // Without a target there is nothing yet that a look could ask for: only a claim can tell it.
    if (target === null || now() - owed.since < 100) {
      owed.waitMs = Math.min(inMs * 2, 100)
      return { do: 'claim', inMs, wakeable: true }
    }
    owed.waitMs = Math.min(inMs * 2, 1_000)
    return { do: 'look', inMs, target }
  }

  return {
    notified() {
      pace.count(1)
      wokenBy = 'notification'
      return pace.perSecond() >= fastPerSecond
    },
    taken() {
      debt = { target: null, since: now(), waitMs: 1, clearLooks: 0 }
      lingering = null
      wokenForNothing = 0
    },
    claimed(signs, held) {
      const { asked, found, leftBehind, tripMs } = signs
      const wasNotified = wokenBy === 'notification'
      wokenBy = 'other'
      if (found > 0) {
        // A notification was counted when it came; the job it told of is not counted again.
        pace.count(wasNotified ? found - 1 : found)
        hasFound = true
        wokenForNothing = 0
      } else if (wasNotified) {
        wokenForNothing += 1
      }
      if (found === asked) {
        leftBehindMs = 1
        if (lingering !== null) stayAwake(lingering)
        return claimNow
      }

      const lingerStep = linger(found, tripMs)
      if (lingerStep !== null) return lingerStep
      if (!held) return take

      payDebt(signs)
      if (leftBehind) {
        const inMs = leftBehindMs
        leftBehindMs = inMs < 100 ? Math.min(inMs * 2, 100) : 1_000
        return { do: 'claim', inMs, wakeable: true }
      }
      leftBehindMs = 1
      if (debt !== null) return nextOfDebt(debt)
      const isDue =
        wasNotified &&
        (wokenForNothing === emptyWakes.beforeDoze ||
          (wokenForNothing > 0 && wokenForNothing % emptyWakes.beforeCount === 0))
      return dozes && isDue ? { do: 'doze' } : asleep
    },
    looked(writing) {
      if (debt === null) return claimNow
      debt.clearLooks = writing ? 0 : debt.clearLooks + 1
      // The claim after the second clear look pays.
      return debt.clearLooks >= 2 ? claimNow : nextOfDebt(debt)
    },
  }
}

interface Pace {
  count(events: number): void
  perSecond(): number
  /** As if there had been none. */
  restart(): void
}

/** Events a second, over about the last tenth of one: an exponentially decaying count. */
function createPace(now: () => number): Pace {
  let counted = 0
  let at = now()

  function count(events: number): void {
    const time = now()
    counted = counted * Math.exp((at - time) / paceWindowMs) + events
    at = time
  }

  return {
    count,
    perSecond() {
      count(0)
      return (counted * 1_000) / paceWindowMs
    },
    restart() {
      counted = 0
    },
  }
}
