import createDebug from 'debug'
import PQueue from 'p-queue'
import type { Database } from '../database/database.js'
import type { Events } from '../events.js'
import type { ConsumerOptions } from '../options.js'
import type { Payloads } from '../payloads.js'
import type { Worker } from '../worker/worker.js'
import { ackInTransaction, type Choice, type ClaimedJob, claimJobs, promoteJobs, writeOutcomes } from './claim.js'
import { createDispatcher } from './dispatcher.js'
import { createDueTimer } from './due.js'
import type { Handlers } from './handlers.js'
import type { StopReport } from './report.js'
import { createRun, type RunEnd } from './run.js'
import { createSettler } from './settler.js'

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

export interface ConsumerParts {
  readonly queue: string
  readonly handlers: Handlers
  readonly options: ConsumerOptions
  readonly bugle: unknown
  readonly payloads: Payloads
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
export async function startConsumer(parts: ConsumerParts, signal: AbortSignal): Promise<Consumer> {
  const { queue, handlers, options, bugle, payloads, database, worker, events, random } = parts
  const { concurrency } = options
  const choice: Choice = { queue, kinds: handlers.kinds, withoutFlags: options.withoutFlags }
  const slots = new PQueue({ concurrency })
  const now = (): number => performance.now()
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

  const run = createRun({
    queue,
    workerId: worker.id,
    bugle,
    options,
    handlerFor: handlers.of,
    payloads,
    settler,
    ackInTransaction: (tx, { job, lease }, result) =>
      ackInTransaction(database, worker.id, tx, { id: job.id, lease }, result),
    events,
  })

  const due = createDueTimer({
    isWaiting: () => dispatcher.isWaiting,
    wake: () => dispatcher.raise(),
    promote: (limit) => promoteJobs(database, queue, limit),
    onError: claimError,
    now,
  })

  const { control } = worker
  const dispatcher = createDispatcher<ClaimedJob>({
    claim: async (limit) => {
      const answer = await claimJobs(database, choice, limit, worker.id)
      due.claimed(answer)
      return answer
    },
    start: (job) => {
      // The slot is free again when the outcome is durable: until then the job counts as ours.
      slots
        .add(async () => count(await run(job)))
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
    naps: choice.kinds === null && choice.withoutFlags.length === 0,
    writing: async () => (await database.query<{ writing: boolean }>('writers', []))[0]?.writing ?? true,
    onError: claimError,
    onUnprotected: (reason, pid) => events.emit('consumer:unprotected', { queue, reason, pid }),
    onWaitingUnprotected: () => worker.hurrySweep(),
    now,
    random,
  })
  const member = {
    queue,
    raise: dispatcher.raise,
    notified: dispatcher.notified,
    dueSeen: due.seen,
    get isWaiting() {
      return dispatcher.isWaiting
    },
    get isUnprotected() {
      return dispatcher.isUnprotected
    },
  }
  worker.add(member)

  function count(end: RunEnd): void {
    if (end === 'completed') completed += 1
    if (end === 'failed') failed += 1
  }

  function stopOnce(): Promise<StopReport> {
    stopping ??= stop()
    return stopping
  }

  async function stop(): Promise<StopReport> {
    events.emit('consumer:stopping', { queue })
    await dispatcher.stop()
    await due.stop()
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
