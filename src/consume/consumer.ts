import createDebug from 'debug'
import PQueue from 'p-queue'
import type { Database } from '../database/database.js'
import { BugleError, toError } from '../errors.js'
import type { Events, FailureCause, JobEvent } from '../events.js'
import type { ConsumerOptions } from '../options.js'
import type { Outcome } from '../outcome.js'
import { describeError } from '../payload.js'
import type { Worker } from '../worker/worker.js'
import { type ClaimedJob, claimJobs, writeOutcomes } from './claim.js'
import { createDispatcher } from './dispatcher.js'
import type { StopReport } from './report.js'
import { type Handler, type JobContext, runAttempt } from './runner.js'
import { createSettler, type StoredFailure } from './settler.js'

const log = createDebug('bugle:consumer')

/** Runs the handler of one queue in this process, in at most `concurrency` slots. Stopped is final. */
export interface Consumer extends AsyncDisposable {
  readonly queue: string
  readonly isRunning: boolean
  /** Jobs whose handler runs, or whose outcome is not durable yet. */
  readonly activeJobs: number
  /** Resolves with the report once it is stopped, by whomever. */
  readonly stopped: Promise<StopReport>
  /**
   * Claim no more, wait for the running handlers, give up what was held. A second call joins the first.
   * Called from inside a handler it must not be awaited there: the stop waits for that handler.
   */
  stop(): Promise<StopReport>
  /**
   * Resolves once nothing runs and the queue was seen empty: every job whose put had committed before the call has
   * run, unless another consumer has it. Resolves at the stop as well.
   */
  idle(): Promise<void>
}

export interface ConsumerParts<Owner> {
  readonly queue: string
  readonly handler: Handler<unknown, Owner>
  readonly options: ConsumerOptions
  readonly bugle: Owner
  readonly database: Database
  readonly worker: Worker
  readonly events: Events
  readonly random: () => number
}

/**
 * Start consuming. The worker must have been joined; it is left when the consumer stops.
 *
 * @returns when the first catch-up claim is done
 */
export async function startConsumer<Owner>(parts: ConsumerParts<Owner>, signal: AbortSignal): Promise<Consumer> {
  const { queue, handler, options, bugle, database, worker, events, random } = parts
  const { concurrency } = options
  const slots = new PQueue({ concurrency })
  const context: JobContext<Owner> = Object.freeze({ workerId: worker.id, bugle })
  let completed = 0
  let failed = 0
  let stopping: Promise<StopReport> | null = null
  let tellStopped: (report: StopReport) => void
  const stopped = new Promise<StopReport>((resolve) => {
    tellStopped = resolve
  })

  const activeJobs = (): number => slots.pending + slots.size
  const claimError = (error: Error): void => events.emit('claim:error', { queue, error })

  const settler = createSettler({
    write: (batch) => writeOutcomes(database, worker.id, batch),
    onError: claimError,
    random,
  })

  const { control } = worker
  const dispatcher = createDispatcher<ClaimedJob>({
    claim: (limit) => claimJobs(database, queue, limit, worker.id),
    start: (job) => {
      // The slot is free again when the outcome is durable: until then the job counts as ours.
      slots
        .add(() => run(job))
        .catch((error) => log('%s: %s', job.job.id, error.message))
        .finally(dispatcher.slotFreed)
    },
    freeSlots: () => concurrency - activeJobs(),
    lock: control && {
      holds: () => control.holds(queue),
      take: () => control.take(queue),
      release: () => control.release(queue),
      others: () => control.others(queue),
    },
    writing: async () => (await database.query<{ writing: boolean }>('writers', []))[0]?.writing ?? true,
    onError: claimError,
    onUnprotected: (reason, pid) => events.emit('consumer:unprotected', { queue, reason, pid }),
    onWaitingUnprotected: () => worker.hurrySweep(),
    now: () => performance.now(),
    random,
  })
  const member = {
    queue,
    raise: dispatcher.raise,
    notified: dispatcher.notified,
    get isWaiting() {
      return dispatcher.isWaiting
    },
    get isUnprotected() {
      return dispatcher.isUnprotected
    },
  }
  worker.add(member)

  async function run({ job, lease, waitMs }: ClaimedJob): Promise<void> {
    const { id, kind, attempt } = job
    const about: JobEvent = { queue, id, kind, attempt, workerId: worker.id }
    if (events.has('job:started')) events.emit('job:started', { ...about, waitMs })
    const startedAt = performance.now()
    const outcome = await runAttempt(handler, job, context, options.outcome)
    const runMs = performance.now() - startedAt
    const failure = failureOf(outcome)
    const settled = await settler.settle({ id, lease, attempt, failure: failure && stored(failure, attempt) })
    if (settled.is === 'stale') {
      log('%s: its outcome %s came too late', id, outcome.type)
      events.emit('job:stale', { ...about, lease })
    } else if (settled.is === 'refused') {
      failed += 1
      events.emit('job:failed', { ...about, error: settled.error, cause: 'exhausted' })
    } else if (failure === null) {
      completed += 1
      if (events.has('job:acked')) events.emit('job:acked', { ...about, runMs })
    } else {
      failed += 1
      events.emit('job:failed', { ...about, error: failure.error, cause: failure.cause })
    }
  }

  function stopOnce(): Promise<StopReport> {
    stopping ??= stop()
    return stopping
  }

  async function stop(): Promise<StopReport> {
    events.emit('consumer:stopping', { queue })
    await dispatcher.stop()
    await slots.onIdle()
    worker.remove(member)
    signal.removeEventListener('abort', stopOnAbort)
    await worker.leave()
    const report: StopReport = { completed, failed, interrupted: 0, released: 0, abandoned: [] }
    events.emit('consumer:stopped', { queue, report })
    tellStopped(report)
    return report
  }

  const stopOnAbort = (): void => void stopOnce()
  signal.addEventListener('abort', stopOnAbort)
  if (signal.aborted) stopOnAbort()

  await dispatcher.firstClaim
  if (stopping === null) events.emit('consumer:started', { queue, concurrency })

  return {
    queue,
    get isRunning() {
      return stopping === null
    },
    get activeJobs() {
      return activeJobs()
    },
    stopped,
    stop: stopOnce,
    async idle() {
      // Handlers may put further jobs into their own queue: look again until both hold at once.
      do {
        await dispatcher.seenEmpty()
        await slots.onIdle()
        if (stopping !== null) return
        await dispatcher.seenEmpty()
      } while (activeJobs() > 0)
    },
    async [Symbol.asyncDispose]() {
      await stopOnce()
    },
  }
}

interface Failure {
  readonly error: Error
  readonly cause: FailureCause
}

function failureOf(outcome: Outcome): Failure | null {
  switch (outcome.type) {
    case 'ack':
      return null
    case 'reject':
      return { error: rejection(outcome.reason), cause: 'rejected' }
    case 'error':
      return { error: toError(outcome.error), cause: 'exhausted' }
  }
}

function rejection(reason: unknown): BugleError {
  if (reason === undefined) return new BugleError('REJECTED', 'rejected without a reason')
  const message = typeof reason === 'object' || typeof reason === 'function' ? toError(reason).message : String(reason)
  return new BugleError('REJECTED', message, { cause: reason })
}

function stored({ error, cause }: Failure, attempt: number): StoredFailure {
  return { ...describeError(error), failedBy: cause, attempt }
}
