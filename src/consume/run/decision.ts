import { BugleError, textOf, toError } from '../../errors.js'
import type { FailureCause } from '../../events.js'
import type { Job } from '../../job.js'
import type { AckOutcome, Outcome, PartialOutcome } from '../../outcome.js'
import { describeError } from '../../payload.js'
import { nextRun, type RetryStrategy } from '../../retry.js'
import type { ResolvedKeep } from '../options.js'
import { type Ending, givenBack, type StoredFailure } from '../settle/ending.js'
import type { AbortReason } from './abort-reason.js'
import type { RunScope } from './run-scope.js'

/** What becomes of a job after a run: its outcome, once retry strategy and limits have had their say. */
export type Decision =
  /** Gone, or with a result in the archive. */
  | { readonly is: 'acked'; readonly keptResult: string | null; readonly keptForMs?: number }
  | { readonly is: 'failed'; readonly error: Error; readonly cause: FailureCause }
  | { readonly is: 'retrying'; readonly error: Error; readonly delayMs: number; readonly retriesLeft: number }
  | { readonly is: 'released'; readonly delayMs: number }
  /** Aborted by us, a stop above all: back at once, attempt given back. */
  | { readonly is: 'interrupted' }
  | { readonly is: 'partial'; readonly progress: string; readonly delayMs: number }

export interface DecisionParts {
  readonly retryStrategy: RetryStrategy
  readonly keep: ResolvedKeep
  /**
   * A result or progress as JSON text.
   *
   * @throws BugleError `INVALID_PAYLOAD`, `PAYLOAD_TOO_LARGE`
   */
  readonly encode: (what: 'result' | 'progress', value: unknown) => string
  /** The retry strategy threw, or answered nonsense. */
  readonly onBrokenStrategy: (error: Error) => void
}

/** A run whose handler has ended. */
interface EndedRun {
  /** Why the handler's signal was aborted before it ended, if it was. */
  readonly reason: AbortReason | null
  /** In which the callbacks are called. */
  readonly scope: RunScope
}

/**
 * Never throws or rejects, whatever the callbacks do.
 *
 * @returns a promise only where a retry strategy is asked
 */
export function decide(parts: DecisionParts, job: Job, outcome: Outcome, run: EndedRun): Decision | Promise<Decision> {
  const aborted = run.reason
  if (aborted !== null) {
    const { code } = aborted
    const threw = outcome.type === 'error'
    // Our doing, and not the job's: without an attempt spent, or, where others have it by now, without effect.
    if (threw && (code === 'SHUTDOWN' || code === 'LEASE_LOST')) return { is: 'interrupted' }
    if (threw && code === 'CANCELLED')
      return { is: 'failed', error: because(aborted, outcome.error), cause: 'cancelled' }
    // Its time was over, whatever it says now; but what it asks for instead of success or failure is heard.
    if (threw && code === 'TIMEOUT') return again(parts, job, run.scope, because(aborted, outcome.error))
    if (outcome.type === 'ack' && code === 'TIMEOUT') return again(parts, job, run.scope, aborted)
  }
  switch (outcome.type) {
    case 'ack':
      // What is not kept need not be storable: a handler may return its library's whole answer.
      return parts.keep === 'failed' ? plainlyAcked : withResult(parts, outcome, run.scope)
    case 'partial':
      return withProgress(parts, outcome, run.scope)
    case 'reject':
      return { is: 'failed', error: rejection(outcome.reason), cause: 'rejected' }
    case 'release':
      return { is: 'released', delayMs: outcome.delayMs }
    case 'retry':
      return again(parts, job, run.scope, retryReason(outcome.reason), outcome.delayMs)
    case 'error':
      return again(parts, job, run.scope, toError(outcome.error))
  }
}

/** The commonest decision, and what is written for it: all that are plainly acked have these very objects. */
export const plainlyAcked: Decision = Object.freeze({ is: 'acked', keptResult: null })
export const plainAck: Ending = Object.freeze({ is: 'acked' })

function withResult({ encode, keep }: DecisionParts, { result }: AckOutcome, scope: RunScope): Decision {
  return stored(() => ({
    is: 'acked',
    keptResult: scope.runInAsyncScope(encode, undefined, 'result', result ?? null),
    ...keptFor(keep),
  }))
}

function withProgress({ encode }: DecisionParts, { progress, delayMs }: PartialOutcome, scope: RunScope): Decision {
  return stored(() => ({
    is: 'partial',
    progress: scope.runInAsyncScope(encode, undefined, 'progress', progress ?? null),
    delayMs,
  }))
}

/** The abort as the run's error; what the handler threw is its cause, unless that is the abort itself. */
function because(aborted: AbortReason, thrown: unknown): BugleError {
  if (thrown === aborted) return aborted
  return new BugleError(aborted.code, aborted.message, { cause: thrown })
}

async function again(
  { retryStrategy, onBrokenStrategy }: DecisionParts,
  job: Job,
  scope: RunScope,
  error: Error,
  delayMs?: number,
): Promise<Decision> {
  const asked = delayMs === undefined ? {} : { delayMs }
  const verdict = await scope.runInAsyncScope(nextRun, undefined, retryStrategy, job, error, asked)
  switch (verdict.is) {
    case 'retry':
      return { is: 'retrying', error, delayMs: verdict.delayMs, retriesLeft: verdict.retriesLeft }
    case 'exhausted':
      return { is: 'failed', error, cause: 'exhausted' }
    case 'broken': {
      onBrokenStrategy(verdict.error)
      const both = new AggregateError(
        [error, verdict.error],
        `${error.message} (and the retry strategy failed: ${verdict.error.message})`,
      )
      return { is: 'failed', error: both, cause: 'exhausted' }
    }
  }
}

/** The same run would end with the same value: there is nothing to try again. */
function stored(decision: () => Decision): Decision {
  try {
    return decision()
  } catch (error) {
    return { is: 'failed', error: toError(error), cause: 'invalid' }
  }
}

function rejection(reason: unknown): BugleError {
  if (reason === undefined) return new BugleError('REJECTED', 'rejected without a reason')
  return new BugleError('REJECTED', messageOf(reason), { cause: reason })
}

function retryReason(reason: unknown): Error {
  if (reason === undefined) return new Error('the handler asked for a retry')
  const error = toError(reason)
  return error === reason ? error : new Error(messageOf(reason), { cause: reason })
}

/** Never throws, however hostile the reason is. */
function messageOf(reason: unknown): string {
  if (typeof reason === 'string') return reason
  const error = toError(reason)
  return error === reason ? error.message : textOf(reason)
}

/** The decision as the settler writes it. */
export function endingOf(decision: Decision, attempt: number): Ending {
  switch (decision.is) {
    case 'acked':
      return decision.keptResult === null ? plainAck : archived(decision.keptResult, decision)
    case 'failed':
      return { is: 'failed', error: storedFailure(decision.error, decision.cause, attempt) }
    case 'retrying': {
      const { delayMs, error } = decision
      return waiting(delayMs, { error: storedFailure(error, 'retrying', attempt) })
    }
    case 'released':
      return waiting(decision.delayMs, { keptAttempt: false })
    case 'interrupted':
      return givenBack
    case 'partial':
      return waiting(decision.delayMs, { progress: decision.progress })
  }
}

/** For how long what is acked stays in the archive, where that is its own. */
export function keptFor(keep: ResolvedKeep): { readonly keptForMs?: number } {
  return typeof keep === 'object' ? { keptForMs: keep.archivedForMs } : {}
}

function archived(result: string, { keptForMs }: { readonly keptForMs?: number }): Ending {
  return { is: 'archived', result, ...(keptForMs !== undefined && { keptForMs }) }
}

function waiting(delayMs: number, rest: Partial<Ending & { is: 'waiting' }>): Ending {
  return { is: 'waiting', delayMs, keptAttempt: true, error: null, progress: null, ...rest }
}

function storedFailure(error: Error, failedBy: StoredFailure['failedBy'], attempt: number): StoredFailure {
  return { ...describeError(error), failedBy, attempt }
}
