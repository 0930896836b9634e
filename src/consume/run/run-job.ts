import createDebug from 'debug'
import { BugleError, describe, toError } from '../../errors.js'
import type { CallbackPlace, Events, FailureCause, JobEvent } from '../../events.js'
import type { Job, JobHandler } from '../../job.js'
import { failure, type Outcome } from '../../outcome.js'
import type { Payloads } from '../../payloads.js'
import type { Transaction } from '../../transactions/transaction.js'
import type { ClaimedJob } from '../claimed-job.js'
import type { ConsumerOptions } from '../options.js'
import { type Ending, givenBack, type Settled, type Settlement } from '../settle/ending.js'
import type { Settler } from '../settle/settler.js'
import type { RunEnd } from '../tally.js'
import { createAttempts } from './attempt.js'
import { RunContext, type Surroundings } from './context.js'
import { type Decision, type DecisionParts, decide, endingOf, plainAck, plainlyAcked } from './decision.js'
import { runBegins, runEnds } from './lost-outcome.js'
import type { Run } from './runs.js'

const log = createDebug('bugle:run')

/**
 * One claimed job, from its claim until its outcome is durable and reported: prepared (codec, schema), attempted
 * (middleware, handler), decided (retry strategy, limits), settled, reported (events, `onFailed`).
 *
 * The common way, a handler without schema, codec and middleware that returns, makes no promise, or one beside the
 * handler's own.
 */
interface RunJobs {
  /**
   * Its slot is free after all of that, hooks included; but after a plain ack already when the handler has ended. That
   * ack is written with the next claim, and the consumer counts it until then.
   *
   * Never throws or rejects: whatever a callback of the user's does is either the run's outcome or a `callback:error`.
   *
   * @returns when the slot is free, on performance.now(); no promise where there is nothing to wait for: it would cost
   *   more than most of what is done here
   */
  runJob(run: Run): number | Promise<number>
  /** Claimed, and not to be run here: back to its queue, as if it had not been claimed. Never rejects. */
  giveBack(run: Run): Promise<number>
  /** What became of a plain ack. */
  acked(run: Run, settled: Settled): void
}

interface RunParts {
  readonly queue: string
  readonly bugle: unknown
  readonly options: ConsumerOptions
  /** undefined: there is none for that kind. */
  readonly handlerFor: (kind: string | null) => JobHandler<Job> | undefined
  readonly payloads: Payloads
  readonly settler: Settler
  /** The fenced ack in the caller's transaction; `result` as JSON text for the archive. */
  readonly ackInTransaction: (tx: Transaction, claimed: ClaimedJob, result: string | null) => Promise<void>
  /** The handler has ended, after so many ms, at that moment on performance.now(). */
  readonly onEnded: (claimed: ClaimedJob, runMs: number, endedAt: number) => void
  /** A job of an express lane that did not begin before its batch was written: it is no run. */
  readonly onDropped: (run: Run) => void
  /** A plain ack waits, some time after the end of its handler. */
  readonly onLateAck: () => void
  /** Its handler is about to ack it in a transaction of its own: it must be a running row by then. */
  readonly onAckInTransaction: () => void
  /** Its outcome is durable, or will never be. Its events may come later. */
  readonly onSettled: (run: Run, end: RunEnd) => void
  readonly events: Events
}

export function createRunJobs(parts: RunParts): RunJobs {
  const { queue, options, payloads, settler, events } = parts
  const { keep, onFailed } = options

  const decisionParts: DecisionParts = {
    retryStrategy: options.retryStrategy,
    keep,
    encode: (what, value) => payloads.encode(value, what),
    onBrokenStrategy: (error) => callbackError('retryStrategy', error),
  }

  const attempts = createAttempts(options.middleware, options.outcome)
  const surroundings: Surroundings = {
    bugle: parts.bugle,
    context: options.context,
    ack: async (tx, { claimed, express }, result) => {
      parts.onAckInTransaction()
      await express?.keep()
      const text = keep === 'failed' ? null : payloads.encode(result ?? null, 'result')
      await parts.ackInTransaction(tx, claimed, text)
    },
  }

  function runJob(run: Run): number | Promise<number> {
    const { claimed, express } = run
    if (express !== null && !express.begin()) {
      parts.onDropped(run)
      return performance.now()
    }
    // One that is aborted already is only brought to its end.
    if (run.reason === null && events.has('job:started'))
      events.emit('job:started', { ...aboutJob(claimed), waitMs: claimed.waitMs })
    run.startedAt = performance.now()
    if (payloads.isAsStored) return attempt(run)
    try {
      const prepared = run.scope.runInAsyncScope(payloads.prepare, undefined, claimed.job)
      if (prepared instanceof Promise)
        return prepared.then(
          (job) => attemptWith(run, job),
          (error) => ended(run, refused(error)),
        )
      run.job = prepared
    } catch (error) {
      return ended(run, refused(error))
    }
    return attempt(run)
  }

  function attemptWith(run: Run, job: Job): number | Promise<number> {
    run.job = job
    return attempt(run)
  }

  function attempt(run: Run): number | Promise<number> {
    const { claimed, job } = run
    const handler = parts.handlerFor(job.kind)
    // Aborted while it was prepared, or waited to begin: then it does not begin.
    if (run.reason !== null) return ended(run, interrupted)
    if (handler === undefined) return ended(run, noHandler(job))
    let before: number
    let attempted: Outcome | Promise<unknown>
    try {
      run.begin(claimed.timeoutMs ?? options.timeoutMs)
      before = runBegins()
      const context = new RunContext(run, surroundings)
      attempted = run.scope.runInAsyncScope(attempts.begin, undefined, handler, job, context)
      // Not in the run's scope, since events are emitted in there. As `await` does it, which asks a promise of Node's
      // own for no `then`.
      if (attempted instanceof Promise)
        return then.call(
          attempted,
          (value) => handlerEnded(run, outcomeIn(run, attempts.returned, value), null),
          (thrown) => handlerEnded(run, outcomeIn(run, attempts.threw, thrown), null),
        ) as Promise<number>
    } catch (error) {
      return ended(run, refused(error))
    }
    return handlerEnded(run, attempted, before)
  }

  /** To look at a value may call what is the user's: a getter, a proxy. */
  function outcomeIn(run: Run, outcomeOf: (value: unknown) => Outcome, value: unknown): Outcome {
    try {
      return value === undefined ? outcomeOf(value) : run.scope.runInAsyncScope(outcomeOf, undefined, value)
    } catch (error) {
      return failure(error)
    }
  }

  /** @param before - see `runEnds` */
  function handlerEnded(run: Run, outcome: Outcome, before: number | null): number | Promise<number> {
    let decision: Decision
    try {
      run.end()
      const lost = runEnds(outcome, before, run.isStuck)
      if (lost !== null) tellLost(run.job, lost)
      const decided = decide(
        decisionParts,
        run.job,
        run.wasAckedInTransaction ? unlessCommitted(outcome) : outcome,
        run,
      )
      if (decided instanceof Promise)
        return decided.then(
          (made) => ended(run, made),
          (error) => ended(run, refused(error)),
        )
      decision = decided
    } catch (error) {
      decision = refused(error)
    }
    return ended(run, decision)
  }

  function ended(run: Run, decision: Decision): number | Promise<number> {
    const { claimed, express, startedAt } = run
    const endedAt = performance.now()
    const runMs = endedAt - startedAt
    run.runMs = runMs
    parts.onEnded(claimed, runMs, endedAt)
    if (decision !== plainlyAcked) return settle(run, decision)
    // A lane writes it without any settlement.
    if (express === null) ack(run)
    else if (run.wasAckedInTransaction || !express.ack()) void express.keep().then(() => ackLate(run))
    return endedAt
  }

  function ack(run: Run): void {
    settler.ack(settlementOf(run, plainAck), (settled) => acked(run, settled))
  }

  /** Its slot was free before: whoever waits for one has looked without this ack. */
  function ackLate(run: Run): void {
    ack(run)
    parts.onLateAck()
  }

  function acked(run: Run, settled: Settled): void {
    parts.onSettled(run, endOf(plainlyAcked, settled))
    if (settled.is !== 'durable' || events.has('job:acked')) void tell(run, plainlyAcked, settled)
  }

  async function settle(run: Run, decision: Decision): Promise<number> {
    if (run.express !== null) await run.express.keep()
    const settled = await settler.settle(settlementOf(run, endingOf(decision, run.claimed.job.attempt)))
    parts.onSettled(run, endOf(decision, settled))
    await tell(run, decision, settled)
    return performance.now()
  }

  async function giveBack(run: Run): Promise<number> {
    const settled = await settler.settle(settlementOf(run, givenBack))
    // A job that only goes back has no event. One that was cancelled has: somebody waits to hear of it.
    if (settled.is === 'cancelled') await tell(run, interrupted, settled)
    parts.onSettled(run, endOfGivenBack(settled))
    return performance.now()
  }

  async function tell(run: Run, decision: Decision, settled: Settled): Promise<void> {
    const about = aboutJob(run.claimed)
    const runMs = run.runMs ?? 0
    switch (settled.is) {
      case 'stale':
        log('%s: its outcome %s came too late', about.id, decision.is)
        events.emit('job:stale', { ...about, lease: run.claimed.lease })
        return
      case 'given-up':
        log('%s: its outcome %s could not be written any more', about.id, decision.is)
        return
      case 'refused':
        return tellFailed(run, settled.error, 'invalid')
      case 'cancelled':
        return tellFailed(run, new BugleError('CANCELLED', `job ${about.id} was cancelled`), 'cancelled')
      case 'acked-before':
        events.emit('job:acked', { ...about, runMs })
        return
    }
    switch (decision.is) {
      case 'acked':
        events.emit('job:acked', { ...about, runMs })
        return
      case 'failed':
        return tellFailed(run, decision.error, decision.cause)
      case 'retrying': {
        const { error, retriesLeft } = decision
        const retryAt = waitsUntil(settled, decision)
        events.emit('job:retrying', { ...about, error, retryAt, retriesLeft, runMs })
        return
      }
      case 'partial':
        events.emit('job:partial', { ...about, runAt: waitsUntil(settled, decision) })
        return
      case 'released':
        events.emit('job:released', about)
        return
      case 'interrupted':
        events.emit('job:interrupted', { ...about, reason: run.reason?.code ?? 'SHUTDOWN' })
        return
    }
  }

  async function tellFailed(run: Run, error: Error, cause: FailureCause): Promise<void> {
    const { claimed, job, runMs } = run
    events.emit('job:failed', { ...aboutJob(claimed), error, cause, runMs })
    if (onFailed === undefined) return
    try {
      await run.scope.runInAsyncScope(onFailed, undefined, job, error)
    } catch (thrown) {
      callbackError('onFailed', thrown)
    }
  }

  function tellLost({ id }: Job, lost: string): void {
    callbackError('handler', new BugleError('OUTCOME_LOST', `job ${id} is acked, but its handler ${lost}`))
  }

  function callbackError(where: CallbackPlace, thrown: unknown): void {
    events.emit('callback:error', { queue, where, error: toError(thrown) })
  }

  return { runJob, giveBack, acked }
}

const { then } = Promise.prototype
const interrupted: Decision = { is: 'interrupted' }

/**
 * The payload is refused; or something that nobody knows, such as an error so hostile that looking at it throws: a slot
 * and a job must not be lost by it.
 */
function refused(error: unknown): Decision {
  return { is: 'failed', error: toError(error), cause: 'invalid' }
}

function settlementOf({ claimed, wasAckedInTransaction }: Run, ending: Ending): Settlement {
  const { job, lease, workerId } = claimed
  return { id: job.id, lease, workerId, attempt: job.attempt, ending, ackedInTransaction: wasAckedInTransaction }
}

/** What every event about the job says. */
export function aboutJob({ job: { queue, id, kind, attempt }, workerId }: ClaimedJob): JobEvent {
  return { queue, id, kind, attempt, workerId }
}

/**
 * What is written after `ctx.ack(tx)`. If the transaction was committed there is no row any more, and whatever is
 * written matches nothing. If there is one, the transaction was rolled back: then a handler that returns as if all were
 * well has lost what it did in there, and the run failed.
 */
function unlessCommitted(outcome: Outcome): Outcome {
  if (outcome.type !== 'ack') return outcome
  return failure(new Error('the transaction in which the handler acked the job was not committed'))
}

function noHandler({ queue, kind }: Job): Decision {
  const what = kind === null ? 'jobs without a kind' : `the kind ${describe(kind)}`
  const error = new BugleError('NO_HANDLER', `no handler for ${what} in the queue ${describe(queue)}`)
  return { is: 'failed', error, cause: 'no-handler' }
}

/** It was not run: what came too late of it is no run's outcome. */
function endOfGivenBack(settled: Settled): RunEnd {
  if (settled.is === 'durable') return 'released'
  return settled.is === 'stale' ? 'unknown' : endOf(interrupted, settled)
}

function endOf(decision: Decision, settled: Settled): RunEnd {
  switch (settled.is) {
    case 'stale':
      return 'stale'
    case 'given-up':
      return 'unknown'
    case 'refused':
    case 'cancelled':
      return 'failed'
    case 'acked-before':
      return 'completed'
  }
  switch (decision.is) {
    case 'acked':
      return 'completed'
    case 'retrying':
      return 'retried'
    case 'released':
    case 'partial':
      return 'deferred'
    case 'failed':
    case 'interrupted':
      return decision.is
  }
}

/** By the database's clock; only where its answer was lost by ours. */
function waitsUntil(settled: Settled, { delayMs }: { readonly delayMs: number }): Date {
  return new Date((settled.is === 'durable' ? settled.runAt : null) ?? Date.now() + delayMs)
}
