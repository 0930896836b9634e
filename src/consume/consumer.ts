import { setImmediate as nextTurn } from 'node:timers/promises'
import { noTimes, resolveStopTimes, type StopOptions } from '../options.js'
import type { StopReport } from '../stop-report.js'
import { withResolvers } from '../with-resolvers.js'
import { createClaiming } from './claiming.js'
import type { ConsumerParts } from './consumer-parts.js'
import { createCore } from './core.js'
import { watchLongRuns } from './run/long-runs.js'
import { createRunning } from './running.js'
import { createStop, leaveMs, tidyUpBy } from './stop.js'
import type { ConsumerStats } from './tally.js'
import { memberOf } from './worker-member.js'

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
  const { queue, handlers, options, worker, events } = parts
  const { concurrency } = options
  const core = createCore(parts)
  const { now, tally, state, reasons, inFlight } = core
  const running = createRunning(parts, core)
  const { settler, runs, slots, giveBack, giveBackHeld, abort, activeJobs } = running
  const { due, dispatcher, lanes, quiet, drained, queuePaused } = createClaiming(parts, core, running)
  const endWatch = watchLongRuns({ runs: runs.all, now, tell: parts.onLongRun })

  const machine = createStop({
    endClaiming: () => {
      giveBack(slots.takeBack())
      return Promise.all([dispatcher.stop(), due.stop(), lanes.end()])
    },
    runsOver: running.over,
    abortRuns: () => abort(() => true, 'SHUTDOWN', 'its consumer stops'),
    onRequest: (graceMs, forced) => events.emit('consumer:stopping', { queue, graceMs, forced }),
    now,
  })

  const member = memberOf({
    queue,
    concurrency,
    kinds: handlers.kinds,
    state,
    reasons,
    inFlight,
    runs,
    abort,
    settler,
    due,
    dispatcher,
    tally,
    isStopping: () => machine.isStopping,
    queuePaused,
  })
  worker.add(member)

  const { promise: stopped, resolve: tellStopped } = withResolvers<StopReport>()
  const { promise: gone, resolve: tellGone } = withResolvers<void>()
  let isLeaving = false

  async function leave(): Promise<void> {
    isLeaving = true
    worker.remove(member)
    await worker.leave(tidyUpBy(machine.deadlineAt, now(), leaveMs))
    isLeaving = false
    tellGone()
  }

  async function report(): Promise<void> {
    signal.removeEventListener('abort', stopOnAbort)
    endWatch()
    const abandoned = runs.all().map(({ claimed, claimedAt }) => ({ id: claimed.job.id, ageMs: now() - claimedAt }))
    // A run needs the worker's presence until it has ended; so does a claim that may still take jobs.
    if (abandoned.length === 0 && inFlight.oldestClaimAt === null) await leave()
    else void dispatcher.stop().then(inFlight.empty).then(leave)
    const { completed, failed, interrupted, released } = tally.counts
    const counts = { completed, failed, interrupted, released }
    const made: StopReport = Object.freeze({ ...counts, abandoned: Object.freeze(abandoned) })
    events.emit('consumer:stopped', { queue, report: made })
    tellStopped(made)
  }

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

  function stopOnAbort(): void {
    void stop()
  }
  signal.addEventListener('abort', stopOnAbort)
  if (signal.aborted) stopOnAbort()

  const started = dispatcher.firstClaim.then(() => {
    if (machine.isStopping) return false
    events.emit('consumer:started', { queue, concurrency })
    return true
  })

  const consumer: Consumer = {
    queue,
    get isRunning() {
      return !machine.isStopping
    },
    get isPaused() {
      return state.isPaused
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
      await Promise.all([parked, lanes.close()])
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
    drained: (until) => Promise.race([drained(until), stopped.then(() => {})]),
    get deadlineAt() {
      return machine.deadlineAt
    },
    gone,
  }
}
