import type { AbortCode } from '../../events.js'
import type { Job } from '../../job.js'
import type { ClaimedJob } from '../claimed-job.js'
import type { ExpressJob, ExpressListener } from '../express/batch.js'
import type { Settled } from '../settle/ending.js'
import { AbortReason } from './abort-reason.js'
import type { RunScope } from './run-scope.js'

/**
 * The jobs that this consumer has claimed and whose outcomes are not durable yet: who may be aborted, what a stop
 * leaves behind, and which rows the heartbeat's comparison finds explained (worker/reconcile.ts).
 *
 * A job is in here from the very turn of the event loop in which its claim is answered until its outcome is durable or
 * refused by the fence. One job may be in here twice, under two leases: while its former handler still runs.
 */
export interface Runs {
  /** @returns the runs, which have not begun */
  add(claimed: readonly ClaimedJob[]): Run[]
  /** The same for jobs of an express lane. */
  addExpress(jobs: readonly ExpressJob[]): Run[]
  /** @returns whether it was in here */
  remove(run: Run): boolean
  /** Asked by the heartbeat's comparison only, of many rows in one turn of the event loop. */
  knows(id: string, lease: string): boolean
  /** Those that are in here now. */
  all(): readonly Run[]
}

export function createRuns(parts: RunHooks): Runs {
  const runs = new Set<Run>()
  /** Their keys; null: nobody has asked since the last change. Every job would pay for what few looks need. */
  let keys: Set<string> | null = null

  function add(run: Run): Run {
    runs.add(run)
    keys = null
    return run
  }

  return {
    add(claimed) {
      const claimedAt = parts.now()
      return claimed.map((one) => add(new Run(one, claimedAt, parts, null)))
    },
    addExpress(jobs) {
      const claimedAt = parts.now()
      return jobs.map((job) => {
        const run = add(new Run(job.claimed, claimedAt, parts, job))
        job.listener = run
        return run
      })
    },
    remove(run) {
      keys = null
      return runs.delete(run)
    },
    knows(id, lease) {
      keys ??= new Set([...runs].map(({ claimed }) => keyOf(claimed.job.id, claimed.lease)))
      return keys.has(keyOf(id, lease))
    },
    all: () => [...runs],
  }
}

function keyOf(id: string, lease: string): string {
  return `${id} ${lease}`
}

interface RunHooks {
  readonly now: () => number
  readonly newScope: () => RunScope
  readonly onTimeout: (run: Run, timeoutMs: number) => void
  readonly onStuck: (run: Run) => void
  /** What became of its plain ack. */
  readonly onAcked: (run: Run, settled: Settled) => void
}

/** How long after its abort a handler that goes on is reported. */
const stuckAfterMs = 5_000

/**
 * One claimed job on its way, and its abort. The first reason stands: a handler whose reason was TIMEOUT gets no
 * SHUTDOWN after it.
 *
 * The signal is made when it is first read: most handlers never do. A class, since there is one per job.
 *
 * A handler that has run for longer than its `timeoutMs` has timed out, whatever the timer says: one that blocks the
 * event loop keeps the timer from firing, and so may another run beside it. So the clock is looked at when the handler
 * ends. What a run's result says of when it was ready does not count: until it can be looked at, the run goes on.
 */
export class Run implements ExpressListener {
  readonly claimed: ClaimedJob
  readonly claimedAt: number
  /** Its part in the batch of an express lane; null: it was claimed durably. */
  readonly express: ExpressJob | null
  /** As its handler sees it: prepared, once that is done. */
  job: Job
  /** Its run began, on performance.now(); 0: it has not. */
  startedAt = 0
  /** How long its handler took; null: it has not begun, or not ended. */
  runMs: number | null = null
  /** The handler has acked it in a transaction of its own, which may have been committed. */
  wasAckedInTransaction = false
  /** Its handler goes on long after its abort. */
  isStuck = false
  readonly #parts: RunHooks
  #scope: RunScope | null = null
  #reason: AbortReason | null = null
  #controller: AbortController | null = null
  #isRunning = false
  /** null: the run has no limit. */
  #timeoutMs: number | null = null
  #begunAt = 0
  #timeout: NodeJS.Timeout | undefined
  #stuck: NodeJS.Timeout | undefined

  constructor(claimed: ClaimedJob, claimedAt: number, parts: RunHooks, express: ExpressJob | null) {
    this.express = express
    this.claimed = claimed
    this.job = claimed.job
    this.claimedAt = claimedAt
    this.#parts = parts
  }

  /** What the job weighs, see claim-size.ts. */
  get bytes(): number {
    return this.claimed.bytes
  }

  /** The lane has written, or lost, its plain ack. */
  ackedByLane(settled: Settled): void {
    this.#parts.onAcked(this, settled)
  }

  /** In which whatever is the user's is called. */
  get scope(): RunScope {
    this.#scope ??= this.#parts.newScope()
    return this.#scope
  }

  get signal(): AbortSignal {
    if (this.#controller === null) {
      this.#controller = new AbortController()
      if (this.#reason !== null) this.#controller.abort(this.#reason)
    }
    return this.#controller.signal
  }

  /** Why it was aborted, if it was. */
  get reason(): AbortReason | null {
    return this.#reason
  }

  /** Its handler runs, nobody has aborted it, and no time-out will. */
  get isUnlimited(): boolean {
    return this.#isRunning && this.#timeoutMs === null && this.#reason === null
  }

  /** The handler begins. */
  begin(timeoutMs: number | null): void {
    this.#isRunning = true
    if (this.#reason !== null) this.#watch()
    else if (timeoutMs !== null) {
      this.#timeoutMs = timeoutMs
      this.#begunAt = this.#parts.now()
      this.#timeout = setTimeout(() => this.#timeOut(timeoutMs), timeoutMs)
    }
  }

  /** The handler has ended: from here on it can neither time out nor be stuck. */
  end(): void {
    this.#isRunning = false
    const timeoutMs = this.#timeoutMs
    if (timeoutMs !== null && this.#parts.now() - this.#begunAt > timeoutMs) this.#timeOut(timeoutMs)
    clearTimeout(this.#timeout)
    clearTimeout(this.#stuck)
  }

  #timeOut(timeoutMs: number): void {
    if (this.#reason !== null) return
    this.#parts.onTimeout(this, timeoutMs)
    this.abort('TIMEOUT', `it ran for longer than ${timeoutMs} ms`)
  }

  /** @param why - a part of a sentence about the job */
  abort(code: AbortCode, why: string): void {
    if (this.#reason !== null) return
    this.#reason = new AbortReason(code, `job ${this.claimed.job.id} was aborted: ${why}`)
    clearTimeout(this.#timeout)
    if (this.#isRunning) this.#watch()
    const controller = this.#controller
    if (controller !== null) this.scope.runInAsyncScope(() => controller.abort(this.#reason), undefined)
  }

  lostByLane(): void {
    this.abort('LEASE_LOST', 'its express lane was lost')
  }

  #watch(): void {
    this.#stuck = setTimeout(() => {
      this.isStuck = true
      this.#parts.onStuck(this)
    }, stuckAfterMs)
    // A process that has nothing else to do may end.
    this.#stuck.unref()
  }
}
