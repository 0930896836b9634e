import type { Bugle } from '../bugle.js'
import { oneOf, wholeNumber } from '../checks.js'
import type { ConsumeOptions } from '../consume/options.js'
import { BugleError, describe } from '../errors.js'
import type { EventSource, FailureCause, JobEvent } from '../events.js'
import { internalsOf } from '../internals.js'
import type { Job, Middleware } from '../job.js'
import type { HandlersOf, JobOf } from '../queues.js'
import { makeDue } from './time.js'

/** What became of a job by one run. */
export type RunResultOutcome =
  /** Done: the job is gone, or in the archive. */
  | 'acked'
  /** The job is failed; `cause` says why. */
  | 'failed'
  /** The run failed, and the job waits for the next one. */
  | 'retrying'
  /** A part is done, and the job waits for its next run. */
  | 'partial'
  /** Back in the queue by `release`, attempt given back. */
  | 'released'
  /** Aborted by a stop (`signal`, `bugle.close()`) or a lost lease: back in the queue, attempt given back. */
  | 'interrupted'
  /** The outcome came too late: others had taken the job over, or it was deleted. */
  | 'stale'
  /** No such event came: the run was given up on, or given back before it began. */
  | 'unsettled'

/** One run of one job, once its outcome is durable. */
export interface RunResult<AnyJob = Job> {
  /** As its handler had it; one that never came to a handler as it is stored. */
  readonly job: AnyJob
  readonly outcome: RunResultOutcome
  /**
   * What it was acked with: what the handler returned, or gave to `ack`; not what it gave to `ctx.ack`. Otherwise
   * undefined.
   */
  readonly result: unknown
  /** The error of a job that is failed or retrying; otherwise null. */
  readonly error: Error | null
  /** Why a failed job failed; otherwise null. */
  readonly cause: FailureCause | null
  /** When a retry or the next part is due; otherwise null. */
  readonly runAt: Date | null
  /** How long handler and middleware took, in milliseconds; 0: it did not come to them. */
  readonly runMs: number
}

/** What `runOne` takes: the options of `consume`, but for those that would make it more than one. */
export type RunOneOptions<AnyJob = Job, Owner = unknown, Context = unknown> = Omit<
  ConsumeOptions<AnyJob, Owner, Context>,
  'concurrency' | 'prefetch'
>

/** What `drain` takes: the options of `consume`, and two more. */
export interface DrainAllOptions<AnyJob = Job, Owner = unknown, Context = unknown>
  extends ConsumeOptions<AnyJob, Owner, Context> {
  /**
   * Handlers at once. By default one after the other, in the order of claiming: priority, then id. @defaultValue 1
   */
  readonly concurrency?: number | undefined
  /**
   * 'ready': until nothing is ready; 'scheduled': scheduled jobs and retries as well, without waiting: they are made
   * due each time nothing else is left. @defaultValue 'ready'
   */
  readonly until?: 'ready' | 'scheduled' | undefined
  /** More runs than that are an error: jobs that make further jobs may do so for ever. @defaultValue 1000 */
  readonly maxRuns?: number | undefined
}

/**
 * Claim one ready or due job, the next in order, and run it to its end by the very machinery of `consume`: middleware,
 * schema, time-out, retry strategy, the fenced write of its outcome, events, `onFailed`. Nothing else is claimed.
 *
 * @returns what became of it, once that is durable; null: none was ready, or the queue is paused
 * @throws as `drain` of the instance; `ALREADY_CONSUMING` while the instance consumes the queue
 */
export async function runOne<
  Queues extends object,
  Context,
  Queue extends keyof Queues & string,
  ConsumerContext = Context,
>(
  bugle: Bugle<Queues, Context>,
  queue: Queue,
  handler: HandlersOf<Queues[Queue], Bugle<Queues, Context>, NoInfer<ConsumerContext>>,
  options: RunOneOptions<JobOf<Queues[Queue]>, Bugle<Queues, Context>, ConsumerContext> = {},
): Promise<RunResult<JobOf<Queues[Queue]>> | null> {
  refuseInRunOne(options)
  const [result] = await step(bugle, queue, handler, { ...options, concurrency: 1, prefetch: 0 }, 1)
  return (result as RunResult<JobOf<Queues[Queue]>> | undefined) ?? null
}

/**
 * Run everything that is there, and what its handlers put meanwhile.
 *
 * @returns what became of each run, in the order in which they were claimed: a job that was retried is in it once for
 *   each run
 * @throws as `drain` of the instance; `INVALID_OPTION` after more than `maxRuns` runs
 */
export async function drain<
  Queues extends object,
  Context,
  Queue extends keyof Queues & string,
  ConsumerContext = Context,
>(
  bugle: Bugle<Queues, Context>,
  queue: Queue,
  handler: HandlersOf<Queues[Queue], Bugle<Queues, Context>, NoInfer<ConsumerContext>>,
  options: DrainAllOptions<JobOf<Queues[Queue]>, Bugle<Queues, Context>, ConsumerContext> = {},
): Promise<RunResult<JobOf<Queues[Queue]>>[]> {
  const { until = 'ready', maxRuns = 1_000, concurrency = 1, prefetch = 0, ...rest } = options
  oneOf('until', until, ['ready', 'scheduled'])
  wholeNumber('maxRuns', maxRuns, { min: 1, max: 1_000_000 })
  const consumeOptions = { ...rest, concurrency, prefetch }
  const results: RunResult[] = []
  async function runReady(): Promise<number> {
    // One more than allowed, to know whether there is one.
    const ran = await step(bugle, queue, handler, consumeOptions, maxRuns + 1 - results.length)
    results.push(...ran)
    if (results.length > maxRuns) {
      const what = `drain of the queue ${describe(queue)}: more than ${maxRuns} runs, and no end in sight`
      throw new BugleError('INVALID_OPTION', `${what}; raise maxRuns if so many are meant`)
    }
    return ran.length
  }

  await runReady()
  while (until === 'scheduled' && options.signal?.aborted !== true) {
    const madeDue = await makeDue(bugle, queue)
    // None is scheduled; but one may have been when the last claim looked, and be ready by now: any worker promotes
    // what is due.
    if (madeDue === 0 && (await bugle.jobs({ queue, state: 'ready', limit: 1 })).jobs.length === 0) break
    // What is ready and does not run is not for these handlers, or the queue is paused.
    if ((await runReady()) === 0) break
  }
  return results as RunResult<JobOf<Queues[Queue]>>[]
}

function refuseInRunOne(options: object): void {
  if (typeof options !== 'object' || options === null) {
    throw new BugleError('INVALID_OPTION', `runOne options must be an object; got ${describe(options)}`)
  }
  for (const name of ['concurrency', 'prefetch']) {
    if (!(name in options)) continue
    throw new BugleError('INVALID_OPTION', `runOne options: there is no option ${describe(name)}: it runs one job`)
  }
}

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] }

async function step(
  bugle: object,
  queue: string,
  handlers: unknown,
  options: object,
  jobs: number,
): Promise<RunResult[]> {
  const results: RunResult[] = []
  /** Those that run, the first claimed first: one that went back may be claimed again before its end is reported. */
  const open: Mutable<RunResult>[] = []

  const spy: Middleware = async (job, _context, next) => {
    const result = open.findLast((one) => one.job.id === job.id)
    const startedAt = performance.now()
    const outcome = await next()
    if (result === undefined) return
    result.runMs = performance.now() - startedAt
    result.job = job
    if (outcome.type === 'ack') result.result = outcome.result
  }
  const stopListening = listen(bugle as EventSource, (name, { id, attempt, error, cause, retryAt, runAt }) => {
    const at = open.findIndex(({ job }) => job.id === id && job.attempt === attempt)
    const [result] = at < 0 ? [] : open.splice(at, 1)
    if (result === undefined) return
    result.outcome = name
    if (name !== 'acked') result.result = undefined
    result.error = error ?? null
    result.cause = cause ?? null
    result.runAt = retryAt ?? runAt ?? null
  })
  function onClaimed(job: Job): void {
    const none = { result: undefined, error: null, cause: null, runAt: null, runMs: 0 }
    const result: Mutable<RunResult> = { job, outcome: 'unsettled', ...none }
    results.push(result)
    open.push(result)
  }

  try {
    await internalsOf(bugle).step(queue, handlers, options, { jobs, onClaimed }, spy)
  } finally {
    stopListening()
  }
  return results
}

/** What the events of an end tell. */
interface End extends JobEvent {
  readonly error?: Error
  readonly cause?: FailureCause
  readonly retryAt?: Date
  readonly runAt?: Date
}

const ends = ['acked', 'failed', 'retrying', 'partial', 'released', 'interrupted', 'stale'] as const

function listen(source: EventSource, onEnd: (name: (typeof ends)[number], end: End) => void): () => void {
  const removals = ends.map((name) => {
    const listener = (end: End): void => onEnd(name, end)
    source.on(`job:${name}`, listener)
    return () => source.off(`job:${name}`, listener)
  })
  return () => {
    for (const remove of removals) remove()
  }
}
