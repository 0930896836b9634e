import { delay, knownKeys } from './checks.js'
import type { Duration } from './duration.js'

/**
 * What a run ended with. A handler returns one, or throws one, or returns anything else and means an ack.
 *
 * The union is inspectable: read `type`, or ask `isOutcome`.
 */
export type Outcome =
  /** Done. The job is gone, or in the archive. */
  | AckOutcome
  /** Refused for good by its handler. The job is failed. */
  | RejectOutcome
  /** To be run again, as after an error. */
  | RetryOutcome
  /** Back to the queue, as if it had not been run. */
  | ReleaseOutcome
  /** A step is done, the next one is another run. */
  | PartialOutcome
  /** The handler threw, or answered with something that breaks the contract. */
  | ErrorOutcome

/** Made by `ack`. */
export interface AckOutcome {
  readonly type: 'ack'
  readonly result: unknown
}

/** Made by `reject`. */
export interface RejectOutcome {
  readonly type: 'reject'
  readonly reason: unknown
}

/** Made by `retry`. */
export interface RetryOutcome {
  readonly type: 'retry'
  /** undefined: as the retry strategy says. */
  readonly delayMs: number | undefined
  readonly reason: unknown
}

/** Made by `release`. */
export interface ReleaseOutcome {
  readonly type: 'release'
  readonly delayMs: number
}

/** Made by `partial`. */
export interface PartialOutcome {
  readonly type: 'partial'
  readonly progress: unknown
  readonly delayMs: number
}

/** What a throw becomes. */
export interface ErrorOutcome {
  readonly type: 'error'
  readonly error: unknown
}

// Ours are known by a mark, so that a handler's own `{ type: 'ack' }` stays what it is: a result. A registered symbol
// and enumerable, so that a copy (`{ ...outcome }`), and an outcome of a second copy of this package, is one too.
const mark = Symbol.for('bugle.outcome')

let made = 0

/** @internal How many outcomes a caller has made so far, of this copy of the package. */
export function outcomesMade(): number {
  return made
}

function make<T extends Outcome>(outcome: T): T {
  made += 1
  return own(outcome)
}

function own<T extends Outcome>(outcome: T): T {
  return Object.freeze({ ...outcome, [mark]: true })
}

// Every plain return is an ack: the commonest outcome is made once.
const plainAck: AckOutcome = own({ type: 'ack', result: undefined })

/**
 * The job is done.
 *
 * @param result - for middleware; and consumers with `keep: 'all'` store it, so for them JSON must be able to hold it
 */
export function ack(result?: unknown): AckOutcome {
  return result === undefined ? plainAck : make({ type: 'ack', result })
}

/** The job can never succeed: failed at once, kept with its reason, not run again. */
export function reject(reason: unknown): RejectOutcome {
  return make({ type: 'reject', reason })
}

/**
 * The run did not succeed, and counts: again after a delay, or failed if it was the last that the retry strategy or the
 * job's `maxAttempts` allows.
 *
 * @param options - `delayMs`: until the next run, by default as the retry strategy says;
 *   `reason`: stored as the job's last error
 * @throws BugleError `INVALID_OPTION`
 */
export function retry(
  options: { readonly delayMs?: Duration | undefined; readonly reason?: unknown } = {},
): RetryOutcome {
  knownKeys('retry options', options, ['delayMs', 'reason'])
  const { delayMs, reason } = options
  return make({ type: 'retry', delayMs: delayMs === undefined ? undefined : delay('delayMs', delayMs), reason })
}

const outcomeDefaults = { delayMs: 1_000 } as const

/**
 * Not now: back to the queue, and the run does not count.
 *
 * @param options - `delayMs`: until it may run again, by default '1s'
 * @throws BugleError `INVALID_OPTION`
 */
export function release(options: { readonly delayMs?: Duration | undefined } = {}): ReleaseOutcome {
  knownKeys('release options', options, ['delayMs'])
  const { delayMs = outcomeDefaults.delayMs } = options
  return make({ type: 'release', delayMs: delay('delayMs', delayMs) })
}

/**
 * A part is done: `progress` is stored, and the next run reads it as `job.progress`. The run counts as an attempt: it
 * does not fail the job, however many there are, but a throw after many of them may find no attempt left.
 *
 * @param progress - what JSON can hold, at most `maxPayloadBytes`
 * @param options - `delayMs`: until the next run, by default '1s'
 * @throws BugleError `INVALID_OPTION`
 */
export function partial(progress: unknown, options: { readonly delayMs?: Duration | undefined } = {}): PartialOutcome {
  knownKeys('partial options', options, ['delayMs'])
  const { delayMs = outcomeDefaults.delayMs } = options
  return make({ type: 'partial', progress, delayMs: delay('delayMs', delayMs) })
}

/** @internal What a throw becomes: an outcome that is thrown counts as if it were returned. */
export function thrownOutcome(thrown: unknown): Outcome {
  return isOutcome(thrown) ? thrown : failure(thrown)
}

/** @internal The run failed with that error. */
export function failure(error: unknown): ErrorOutcome {
  return own({ type: 'error', error })
}

/** Whether a value is an outcome made by `ack`, `reject`, `retry`, `release` or `partial`, or that of a throw. */
export function isOutcome(value: unknown): value is Outcome {
  try {
    return typeof value === 'object' && value !== null && mark in value
  } catch {
    return false // A proxy refused to say.
  }
}
