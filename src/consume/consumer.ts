import { setImmediate as nextTurn } from 'node:timers/promises'
import { noDozers, type QueueLock } from '../database/control.js'
import type { Database, Query } from '../database/database.js'
import { toldError } from '../database/fault.js'
import { databaseFault, isTimeOut } from '../database/verdict.js'
import { jobRefused } from '../errors.js'
import type { Events } from '../events.js'
import { noTimes, resolveStopTimes, type StopOptions } from '../options.js'
import type { Payloads } from '../payloads.js'
import type { StopReport } from '../stop-report.js'
import { withResolvers } from '../with-resolvers.js'
import { callOf } from '../worker/call.js'
import type { Worker } from '../worker/worker.js'
import { createClaimSize, mostBytes } from './claim/claim-size.js'
import { createClaimer } from './claim/claimer.js'
import { type ClaimAnswer, createDispatcher } from './claim/dispatcher.js'
import { createDraining } from './claim/draining.js'
import { createDueTimer } from './claim/due.js'
import { createFloor } from './claim/floor.js'
import { createLookAhead, roundTripMs } from './claim/look-ahead.js'
import type { SuspectTurn } from './claim/suspects.js'
import type { ConsumerOptions } from './options.js'
import { keptFor } from './run/decision.js'
import type { Handlers } from './run/handlers.js'
import { watchLongRuns } from './run/long-runs.js'
import { runIsStuck } from './run/lost-outcome.js'
import { aboutJob, createRunJobs } from './run/run-job.js'
import { createRunScopes } from './run/run-scope.js'
import { createRuns, type Run } from './run/runs.js'
import { createSlots } from './run/slots.js'
import { type Carried, createSettler, mostAtOnce, type WhatNow } from './settle/settler.js'
import { ackInTransaction, type Choice, writeNoOutcome, writeOutcomes } from './statements.js'
import type { StepLimit } from './step.js'
import { createStop, leaveMs, tidyUpBy } from './stop.js'
import { type ConsumerStats, createTally } from './tally.js'

/** Look-ahead from which on a second claim is worth its statement. */
const leastToOverlap = 100

const outcomeRefused: Readonly<Record<WhatNow, string>> = {
  kept: 'cannot be settled; its outcome is kept and sent again',
  'stored in ASCII': 'is settled, but its result or progress has characters written out',
  'stored without data': 'is settled without its result or progress',
}

/** Runs the handler of one queue in this process, in at most `concurrency` slots. Stopped is final. */
export interface Consumer extends AsyncDisposable {
  readonly queue: string
  readonly isRunning: boolean
  readonly isPaused: boolean
  /** Slots that are taken: by a handler or hook that runs, or by an outcome that is not durable yet. */
  readonly activeJobs: number
  /** What it has done since its start, and its pace of late. Costs nothing that it would notice. */
  stats(): ConsumerStats
  /** Resolves with the report once it is stopped, by whomever. */
  readonly stopped: Promise<StopReport>
  /**
   * Claim no more, wait `graceMs` for running handlers, abort their signals, wait `abortMs`, and give up on the rest.
   * Ends by then, whatever handlers and the database do. Both 0: by force.
   *
   * A second call joins the first, and can only make it shorter, by the times that it gives. Awaited inside a handler
   * it lasts until its deadline: it waits for that handler.
   *
   * @param options - milliseconds, or Infinity; default: those of the consumer
   * @throws BugleError `INVALID_OPTION`
   */
  stop(options?: StopOptions): Promise<StopReport>
  /** Claim no more in this process, until `resume`; running handlers go on. Resolves when nothing more will begin. */
  pause(): Promise<void>
  /** Claim again, after `pause`. */
  resume(): void
  /**
   * Resolves once nothing runs and the queue was seen empty: every job whose put had committed before the call has
   * run, unless another consumer has it. Resolves at the stop as well. While paused it waits.
   */
  idle(): Promise<void>
}

export interface ConsumerParts {
  readonly queue: string
  readonly handlers: Handlers
  readonly options: ConsumerOptions
  /** null: it claims whatever there is. */
  readonly limit: StepLimit | null
  /** Whether the instance listens at all. */
  readonly listens: boolean
  readonly bugle: unknown
  readonly payloads: Payloads
  readonly database: Database
  readonly worker: Worker
  /** All consumers of the worker share it. */
  readonly suspectTurn: SuspectTurn
  readonly events: Events
  /** A run goes on and on, and has no time-out: called once for each consumer. */
  readonly onLongRun: (message: string) => void
  /** For outcomes: also after the instance is closed. */
  readonly settle: Query
  readonly random: () => number
}

/** A consumer that has begun; its first claim may still be on its way. */
export interface Consuming {
  readonly consumer: Consumer
  /** Resolves when the first catch-up claim is done: true; or false: it is being stopped before that. */
  readonly started: Promise<boolean>
  /**
   * Resolves once nothing runs and nothing is ready (with 'scheduled': nothing is ready or scheduled). It resolves
   * earlier when the queue is paused for all processes, when the limit is reached and those jobs have run, or at the
   * stop.
   */
  drained(until: 'ready' | 'scheduled'): Promise<void>
  /** The deadline of its stop, on performance.now(); Infinity: it is not being stopped, or its stop has no deadline. */
  readonly deadlineAt: number
  /** Resolves when no run is left, abandoned ones included, and the worker has been left. */
  readonly gone: Promise<void>
}

/** Start consuming. The worker must have been joined; it is left when the last run has ended after the stop. */
export function startConsumer(parts: ConsumerParts, signal: AbortSignal): Consuming {
  const { queue, handlers, options, limit: step, bugle, payloads, database, worker, events, random } = parts
  const { concurrency } = options
  const choice: Choice = { queue, kinds: handlers.kinds, withoutFlags: options.withoutFlags }
  const now = (): number => performance.now()
  const tally = createTally(now())
  /** When each claim in flight was sent, the oldest first. */
  const claimsSentAt: number[] = []
  /** How many jobs they ask for. */
  let asking = 0
  /** Acks that are on their way with them. */
  let travelling = 0
  /** How often the queue was seen to be paused for all processes. */
  let pausesSeen = 0
  /** null: there is no control session yet; it comes when the listener has been proven. */
  let lock: QueueLock | null = null

  const activeJobs = (): number => Math.max(slots.taken, Math.min(runs.size - slots.held, concurrency))
  const claimError = (error: Error): void => {
    tally.count('errors')
    events.emit('claim:error', { queue, error: toldError('consume', error) })
  }

  const lookAhead = createLookAhead(options, now)
  const claimSize = createClaimSize()
  const floor = createFloor(now)
  const newScope = createRunScopes()

  const runs = createRuns({
    now,
    newScope,
    onTimeout: ({ claimed }, timeoutMs) => {
      tally.count('timeouts')
      events.emit('job:timeout', { ...aboutJob(claimed), timeoutMs })
    },
    onStuck: ({ claimed, claimedAt, reason }) => {
      runIsStuck()
      claimer.ended(claimed)
      if (reason !== null)
        events.emit('job:stuck', { ...aboutJob(claimed), reason: reason.code, ageMs: now() - claimedAt })
    },
  })

  const endWatch = watchLongRuns({ runs: runs.all, now, tell: parts.onLongRun })

  const settler = createSettler({
    write: (batch) => writeOutcomes(parts.settle, batch),
    writeNone: (like) => writeNoOutcome(parts.settle, like),
    // A claim is about to be sent, or will be once the jobs at hand have run.
    isHeld: () => dispatcher.isAboutToClaim || (slots.held > 0 && overlaps() && worker.isOpen && !machine.isStopping),
    onError: claimError,
    onRefused: ({ id }, error, whatNow) => claimError(jobRefused(id, outcomeRefused[whatNow], error)),
    random,
  })

  const { runJob, giveBack: giveBackOne } = createRunJobs({
    queue,
    bugle,
    options,
    handlerFor: handlers.of,
    payloads,
    settler,
    ackInTransaction: (tx, claimed, result) =>
      ackInTransaction(
        database,
        tx,
        claimed,
        result === null ? null : { is: 'archived', result, ...keptFor(options.keep) },
      ),
    onEnded: (claimed, runMs, endedAt) => {
      lookAhead.ended(runMs)
      tally.ran(claimed, runMs, endedAt)
    },
    onSettled: (run, end) => {
      tally.count(end)
      forget(run)
    },
    events,
  })

  const slots = createSlots<Run>({
    concurrency,
    run: (run) => {
      if (run.claimed.workerId === worker.id) return runJob(run)
      // The worker was given up while the claim was on its way, or while the job was held: others may have the job. The
      // new id explains no such row.
      return giveBackOne(run)
    },
    // The slot of a plain ack is free for the next claim.
    onRan: () => dispatcher.slotFreed(),
    giveBack,
    onImpatience() {
      lookAhead.lost()
      settler.flush()
    },
    gate: worker,
    patienceMs: lookAhead.patienceMs,
    mostHeldBytes: mostBytes,
    onFree() {
      dispatcher.slotFreed()
      // Flush, unless a claim is about to carry the acks. When held jobs were given back, no claim may be coming.
      settler.flush()
    },
    now,
  })

  const claimer = createClaimer({
    database,
    choice,
    turn: parts.suspectTurn,
    freeFor: (limit) => slots.free - (asking - limit),
    onTurn: lookAhead.suspected,
    wake: () => dispatcher.raise(),
    onError: claimError,
    now,
  })

  /** A claim for one job is full whenever it finds one: that says nothing of others, so they are looked for. */
  async function callOthers(asked: number): Promise<void> {
    if (asked === 1 && !(await hasReady())) return
    await database.query('call', [callOf(queue)])
  }

  async function hasReady(): Promise<boolean> {
    const seen = await database.query<{ ready: boolean }>('sweep', [JSON.stringify([queue])])
    return seen.some(({ ready }) => ready)
  }

  function forget(run: Run): void {
    runs.remove(run)
    claimer.ended(run.claimed)
    dispatcher.slotFreed()
  }

  /**
   * How many jobs to ask for: free slots and look-ahead, less the jobs that are claimed and not settled, and less those
   * that claims in flight ask for; and no more than a claim may bring by what jobs weigh. An ack that waits, or travels
   * with a claim, counts as settled: a slot must not stay empty for a round trip longer than it has to.
   */
  function wanted(): number {
    const taken = runs.size + asking - travelling - Math.min(settler.waitingAcks, mostAtOnce)
    const free = concurrency - taken
    const ahead = mayHold()
    const bySlots = Math.max(free, Math.min(free + ahead, mostAtOnce))
    const jobs = Math.min(bySlots, claimSize.most, draining.claimable - asking)
    // While jobs are at hand, more of them can end first: a few large claims cost less than many small ones.
    return slots.held > 0 && overlaps() && jobs < ahead / 4 ? 0 : jobs
  }

  /** How many jobs may be held beyond the slots. */
  function mayHold(): number {
    return Math.min(lookAhead.jobs, claimSize.mostHeld)
  }

  /**
   * Not when `prefetch` is a number: held jobs then stay held, whatever handlers do, and acks must not wait for that.
   */
  function overlaps(): boolean {
    return options.prefetch === 'earned' && mayHold() >= leastToOverlap
  }

  async function claim(limit: number, proves: boolean): Promise<ClaimAnswer<Run>> {
    const workerId = worker.id
    const carried = settler.carry(workerId)
    if (carried === null) return send(limit, workerId, proves)
    const { length } = carried.acks
    travelling += length
    try {
      return await send(limit, workerId, proves, carried)
    } catch (error) {
      carried.failed(error)
      const fault = databaseFault(error)
      if (fault === 'down' || fault === 'unknown') throw error
    } finally {
      travelling -= length
    }
    // The acks may be at fault. They go alone now, so the next error of a claim is the claim's own.
    return send(Math.min(limit, claimSize.most), workerId, proves)
  }

  async function send(limit: number, workerId: string, proves: boolean, carried?: Carried): Promise<ClaimAnswer<Run>> {
    const from = floor.next(proves)
    const sentAt = now()
    const promotionsBefore = due.promotions
    const pausesBefore = pausesSeen
    const fullBeforeMs = slots.fullMs
    claimsSentAt.push(sentAt)
    asking += limit
    try {
      const mayBeForgotten = !options.durableClaims && worker.isTrusted
      const request = { acks: carried?.acks ?? [], from, proves, mayBeForgotten }
      const { claimed, acked, tookMs } = await claimer.claim(limit, workerId, request)
      carried?.arrived(acked)
      const { jobs } = claimed
      const measuredMs = now() - sentAt
      const tripMs = roundTripMs(measuredMs, tookMs)
      if (!claimed.paused) due.claimed(claimed)
      const isFull = claimed.found === claimed.asked
      floor.answered({ from, tripMs, jobs, isFull })
      claimSize.answered({ asked: limit, jobs, tookMs: measuredMs })
      const emptyMs = measuredMs - (slots.fullMs - fullBeforeMs)
      lookAhead.answered({ tripMs, emptyMs, isFull, busyMs: slots.busyMs })
      // Due rows that are promoted in this moment are left behind as well: they are ready in the next.
      const leftBehind = claimed.leftBehind || due.isPromoting || due.promotions !== promotionsBefore
      const added = runs.add(jobs)
      // A claim that was sent before the pause: what finds a slot begins, and the rest goes back.
      if (claimed.paused || pausesSeen !== pausesBefore) void nextTurn().then(giveBackHeld)
      draining.claimed(jobs)
      return { ...claimed, leftBehind, jobs: added, tripMs: measuredMs }
    } catch (error) {
      if (isTimeOut(error)) claimSize.timedOut(limit)
      throw error
    } finally {
      asking -= limit
      claimsSentAt.splice(claimsSentAt.indexOf(sentAt), 1)
    }
  }

  const draining = createDraining({
    limit: step,
    seenEmpty: () => dispatcher.seenEmpty('orPaused'),
    besideAnswered: () => dispatcher.besideAnswered,
    isQueuePaused: () => dispatcher.isQueuePaused,
    isStill: () => runs.size === 0 && slots.taken === 0,
    // Wait for the runs first: those of the last claim may not have reached their slots yet. Then wait for their events
    // and hooks, which keep the slots.
    runsOver: () => runs.empty().then(slots.onIdle),
    isStopping: () => machine.isStopping,
    nextScheduled: claimer.nextScheduled,
    onError: claimError,
  })

  const due = createDueTimer({
    isWaiting: () => dispatcher.isWaiting,
    wake: () => dispatcher.raise(),
    promote: claimer.promote,
    onError: claimError,
    now,
  })

  const dispatcher = createDispatcher<Run>({
    claim,
    start: slots.start,
    giveBack,
    gate: worker,
    wanted,
    overlaps,
    onRest: settler.flush,
    lock: parts.listens
      ? {
          holds: () => lock?.holds() ?? false,
          take: async () => {
            lock ??= worker.control?.lock(queue) ?? null
            return lock?.take() ?? 'down'
          },
          release: () => lock?.release(),
          doze: async () => lock?.doze() ?? noDozers,
          blocker: async () => lock?.blocker() ?? null,
        }
      : null,
    dozes: choice.kinds === null && choice.withoutFlags.length === 0,
    // What cannot be sent is not missed: each of them comes by itself, a little later.
    callOthers: (asked) => void callOthers(asked).catch(() => {}),
    writing: async (target) =>
      (await database.query<{ writing: boolean }>('writers', [String(target)]))[0]?.writing ?? true,
    onError: claimError,
    onUnprotected: (reason, pid) => events.emit('consumer:unprotected', { queue, reason, pid }),
    onWaitingUnprotected: () => worker.hurrySweep(),
    now,
    random,
  })
  const member = {
    queue,
    get serves() {
      if (machine.isStopping) return null
      return { queue, concurrency, kinds: choice.kinds, isPaused: dispatcher.isPaused }
    },
    raise: dispatcher.raise,
    hurry() {
      settler.hurry()
      dispatcher.hurry()
    },
    notified() {
      if (dispatcher.notified()) tally.count('wakeUps')
    },
    swept() {
      // While it is awake its own next claim would have found them as well.
      if (dispatcher.isAsleep) tally.count('sweepsThatFound')
      dispatcher.raise()
    },
    dueSeen: due.seen,
    get isWaiting() {
      return dispatcher.isWaiting
    },
    get isUnprotected() {
      return dispatcher.isUnprotected
    },
    get isQueuePaused() {
      return dispatcher.isQueuePaused
    },
    queuePaused() {
      pausesSeen += 1
      if (slots.held > 0) giveBackHeld()
    },
    get countsDozers() {
      return dispatcher.countsDozers
    },
    dozersSeen: dispatcher.dozersSeen,
    knows: runs.knows,
    get claimingSince() {
      return claimsSentAt[0] ?? null
    },
    cancel(jobId: string) {
      abort((run) => run.claimed.job.id === jobId, 'CANCELLED', 'it was cancelled')
    },
    lost(workerId: string) {
      const why = 'this process was taken for dead, and others may run the job'
      abort((run) => run.claimed.workerId === workerId, 'LEASE_LOST', why)
    },
  }
  worker.add(member)

  function abort(isMeant: (run: Run) => boolean, ...reason: Parameters<Run['abort']>): void {
    for (const run of runs.all()) if (isMeant(run)) run.abort(...reason)
  }

  function giveBack(given: readonly Run[]): void {
    for (const run of given) void giveBackOne(run)
  }

  /** Nothing is claimed now, so acks that were held for a claim go too. */
  function giveBackHeld(): void {
    giveBack(slots.takeBack())
    settler.flush()
  }

  const runsOver = (): Promise<unknown> => Promise.all([runs.empty(), slots.onIdle()])
  let isLeaving = false

  const machine = createStop({
    endClaiming: () => {
      giveBack(slots.takeBack())
      return Promise.all([dispatcher.stop(), due.stop()])
    },
    // Its hooks too, `onFailed` above all, belong to a run.
    runsOver,
    abortRuns: () => abort(() => true, 'SHUTDOWN', 'its consumer stops'),
    onRequest: (graceMs, forced) => events.emit('consumer:stopping', { queue, graceMs, forced }),
    now,
  })

  const { promise: stopped, resolve: tellStopped } = withResolvers<StopReport>()
  const { promise: gone, resolve: tellGone } = withResolvers<void>()

  /** @throws BugleError `INVALID_OPTION` */
  function stop(given?: StopOptions): Promise<StopReport> {
    const isFirst = !machine.isStopping
    // A later call changes what it gives, and nothing else.
    const over = machine.request(resolveStopTimes(given, isFirst ? options : noTimes))
    if (isFirst) {
      worker.showSoon()
      void over.then(report)
    }
    // What comes after the last phase is made shorter as well.
    else if (isLeaving) worker.hurry(tidyUpBy(machine.deadlineAt, now(), leaveMs))
    return stopped
  }

  async function report(): Promise<void> {
    signal.removeEventListener('abort', stopOnAbort)
    endWatch()
    const abandoned = runs.all().map(({ claimed, claimedAt }) => ({ id: claimed.job.id, ageMs: now() - claimedAt }))
    // A run needs the worker's presence until it has ended; so does a claim that may still take jobs.
    if (abandoned.length === 0 && claimsSentAt.length === 0) await leave()
    else void dispatcher.stop().then(runs.empty).then(leave)
    const { completed, failed, interrupted, released } = tally.counts
    const made: StopReport = Object.freeze({
      completed,
      failed,
      interrupted,
      released,
      abandoned: Object.freeze(abandoned),
    })
    events.emit('consumer:stopped', { queue, report: made })
    tellStopped(made)
  }

  async function leave(): Promise<void> {
    isLeaving = true
    worker.remove(member)
    await worker.leave(tidyUpBy(machine.deadlineAt, now(), leaveMs))
    tellGone()
  }

  const stopOnAbort = (): void => void stop()
  signal.addEventListener('abort', stopOnAbort)
  if (signal.aborted) stopOnAbort()

  const started = dispatcher.firstClaim.then(() => {
    if (machine.isStopping) return false
    events.emit('consumer:started', { queue, concurrency })
    return true
  })

  /** Handlers may put further jobs into their own queue: look again until both hold at once. */
  async function quiet(): Promise<void> {
    do {
      await dispatcher.seenEmpty()
      await dispatcher.besideAnswered
      await runsOver()
      if (machine.isStopping) return
      await dispatcher.seenEmpty()
    } while (runs.size > 0)
  }

  const consumer: Consumer = {
    queue,
    get isRunning() {
      return !machine.isStopping
    },
    get isPaused() {
      return dispatcher.isPaused
    },
    get activeJobs() {
      return activeJobs()
    },
    stats: () => {
      const { unknown: _, ...counts } = tally.counts
      return { concurrency, active: activeJobs(), ...counts, ...tally.figures(now()) }
    },
    stopped,
    stop: async (given) => stop(given),
    pause: async () => {
      giveBack(slots.takeBack())
      const parked = dispatcher.pause()
      worker.showSoon()
      await parked
      // Give back what the last claim brought and no slot is free for.
      await nextTurn()
      giveBackHeld()
    },
    resume() {
      dispatcher.resume()
      worker.showSoon()
    },
    idle: () => Promise.race([quiet(), stopped.then(() => {})]),
    async [Symbol.asyncDispose]() {
      await stop()
    },
  }
  return {
    consumer,
    started,
    drained: (until) => Promise.race([draining.drained(until), stopped.then(() => {})]),
    get deadlineAt() {
      return machine.deadlineAt
    },
    gone,
  }
}
