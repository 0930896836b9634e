/**
 * Whether a job that has failed runs again, and when.
 *
 * A strategy decides; `nextRun` asks it, applies the limits and never throws. Nothing here does I/O or sets a timer.
 */
import { delay, isPlainObject, kindOf, knownKeys, wholeNumber } from './checks.js'
import type { Duration } from './duration.js'
import { BugleError, describe, toError } from './errors.js'
import type { Job } from './job.js'
import { delayIfAny } from './retry-after.js'

/** What a strategy answers. */
export type RetryDecision =
  /**
   * Runs at most, the first included: 1 is no retry. The n-th delay comes before the n-th retry, and the last one
   * repeats; none, or `[]`, is 0. One alone is every delay. A job's own `maxAttempts` overrides this one, and
   * `retryAfterMs` on the error overrides the delay.
   */
  | { readonly maxAttempts: number; readonly delaysMs?: Duration | readonly Duration[] | undefined }
  /** Once more, after this delay. Nothing but a job's own `maxAttempts` limits it. */
  | { readonly delayMs: Duration }
  /** No further run, whatever the job's `maxAttempts`. */
  | false

/** A decision for every job and error: not `{ delayMs }`, which would be a retry for ever. */
export type ConstantDecision = Exclude<RetryDecision, { readonly delayMs: Duration }>

/**
 * Decides what follows a failed run. Called once for each, with the job as it was then (`attempt` is 1 after the first
 * run) and the error that it ended with.
 *
 * Waited for as long as it takes, like a handler: the job keeps its slot meanwhile.
 */
export type RetryStrategy<AnyJob = Job> = (job: AnyJob, error: Error) => RetryDecision | Promise<RetryDecision>

/** A class of errors, as it stands to the right of `instanceof`. */
export type ErrorClass = abstract new (...args: never[]) => Error

/** What every built-in strategy takes. */
interface RetryLimits {
  /** Runs at most, the first included, for jobs without a `maxAttempts` of their own. @defaultValue 5 */
  readonly maxAttempts?: number | undefined
  /** Errors that no retry mends: instances of these classes. An error's `cause` is not looked at. @defaultValue [] */
  readonly unless?: readonly ErrorClass[] | undefined
}

const limitDefaults = { maxAttempts: 5 } as const satisfies RetryLimits

/** What `fixed` takes. */
export interface FixedOptions extends RetryLimits {
  /** Before each retry. @defaultValue 1000 */
  readonly delayMs?: Duration | undefined
}

export const fixedDefaults = { delayMs: 1_000, ...limitDefaults } as const satisfies FixedOptions

/** What `linear` takes. */
export interface LinearOptions extends RetryLimits {
  /** Before the first retry, and what each further one adds; at most `maxMs`. @defaultValue 1000 */
  readonly baseMs?: Duration | undefined
  /** No delay is longer. @defaultValue 3600000 */
  readonly maxMs?: Duration | undefined
  /** The share of each delay that is random, 0 to 1; true is the default, false is 0. @defaultValue 0.2 */
  readonly jitter?: number | boolean | undefined
}

export const linearDefaults = {
  baseMs: 1_000,
  maxMs: 3_600_000,
  jitter: 0.2,
  ...limitDefaults,
} as const satisfies LinearOptions

/** What `exponential` takes. */
export interface ExponentialOptions extends LinearOptions {
  /** What each delay is multiplied by to get the next; a number from 1 up. @defaultValue 2 */
  readonly factor?: number | undefined
}

export const exponentialDefaults = {
  baseMs: 1_000,
  factor: 2,
  maxMs: 3_600_000,
  jitter: 0.2,
  ...limitDefaults,
} as const satisfies ExponentialOptions

/** Entries of `delaysMs`: what an array holds is checked as a whole, and an array can claim any length. */
const mostDelays = 1_000

/**
 * The same delay before each retry.
 *
 * @throws BugleError `INVALID_OPTION`
 */
export function fixed(options: FixedOptions = {}): RetryStrategy {
  knownKeys('fixed options', options, [...Object.keys(fixedDefaults), 'unless'])
  const { delayMs = fixedDefaults.delayMs } = options
  const wholeMs = delay('delayMs', delayMs)
  return limited(options, () => wholeMs)
}

/**
 * Delays that grow by the same amount: run n is followed by `n * baseMs`, at most `maxMs`, less the jitter.
 *
 * @param random - for tests: from 0 up to, not including, 1
 * @throws BugleError `INVALID_OPTION`
 */
export function linear(options: LinearOptions = {}, random: () => number = Math.random): RetryStrategy {
  knownKeys('linear options', options, [...Object.keys(linearDefaults), 'unless'])
  const { baseMs, maxMs, jitter } = growth(options)
  return limited(options, (attempt) => jittered(Math.min(maxMs, baseMs * attempt), jitter, random))
}

/**
 * Delays that grow by a factor: run n is followed by `baseMs * factor ** (n - 1)`, at most `maxMs`, less the jitter.
 *
 * The jitter keeps jobs that failed together from coming back together: with 0.2, a delay is 80 to 100 % of that.
 *
 * @param random - for tests: from 0 up to, not including, 1
 * @throws BugleError `INVALID_OPTION`
 */
export function exponential(options: ExponentialOptions = {}, random: () => number = Math.random): RetryStrategy {
  knownKeys('exponential options', options, [...Object.keys(exponentialDefaults), 'unless'])
  const { baseMs, maxMs, jitter } = growth(options)
  const { factor = exponentialDefaults.factor } = options
  numberWithin('factor', factor, 1)
  return limited(options, (attempt) => {
    // The power ends at Infinity, and 0 * Infinity is NaN.
    const delayMs = baseMs === 0 ? 0 : Math.min(maxMs, baseMs * factor ** (attempt - 1))
    return jittered(delayMs, jitter, random)
  })
}

/** What a consumer without a `retryStrategy` does: five runs, about 1, 2, 4 and 8 seconds apart. */
export const defaultRetryStrategy: RetryStrategy = exponential()

/**
 * A strategy's answer with the built-in limits: nothing for an error in `unless`, else the delay after this run.
 *
 * It answers with a delay also when its own limit is passed, so that a job's `maxAttempts` can allow more runs.
 */
function limited(options: RetryLimits, delayAfter: (attempt: number) => number): RetryStrategy {
  const { maxAttempts = limitDefaults.maxAttempts, unless = [] } = options
  wholeNumber('maxAttempts', maxAttempts, { min: 1 })
  const hopeless = errorClasses('unless', unless)
  return (job, error) => {
    if (hopeless.some((errorClass) => error instanceof errorClass)) return false
    return { maxAttempts, delaysMs: delayAfter(job.attempt) }
  }
}

function growth(options: LinearOptions): { baseMs: number; maxMs: number; jitter: number } {
  const { baseMs = linearDefaults.baseMs, maxMs = linearDefaults.maxMs, jitter = true } = options
  const checked = {
    baseMs: delay('baseMs', baseMs),
    maxMs: delay('maxMs', maxMs),
    jitter: typeof jitter === 'boolean' ? (jitter ? linearDefaults.jitter : 0) : numberWithin('jitter', jitter, 0, 1),
  }
  // Else a `baseMs` of two hours would be one hour, without a word.
  if (checked.baseMs > checked.maxMs) throw invalid(`baseMs must be at most maxMs, ${checked.maxMs}; got ${baseMs}`)
  return checked
}

function jittered(delayMs: number, share: number, random: () => number): number {
  return delayMs * (1 - share * random())
}

/** What a failed run is followed by. */
export type Verdict =
  /** One more run, after `delayMs`. `retriesLeft` may follow it: 0 if it is the last, Infinity without a limit. */
  | { readonly is: 'retry'; readonly delayMs: number; readonly retriesLeft: number }
  /** No further run: the strategy said so, or a limit is reached. */
  | { readonly is: 'exhausted' }
  /** No further run: the strategy failed or answered nonsense; `error` tells. */
  | { readonly is: 'broken'; readonly error: Error }

/**
 * What follows the run that has just failed. Never rejects, whatever strategy and error do.
 *
 * The limit is the job's `maxAttempts` if it has one, else the strategy's; `false` from the strategy ends it before
 * either. The delay is the first of these that is there: `given.delayMs`; a strategy's `{ delayMs }`; the error's
 * `retryAfterMs` (a finite number from 0 up, else not heeded); the strategy's `delaysMs`.
 *
 * @param job - with `attempt` as it was in the run that failed
 * @param given - `delayMs`: what the handler itself asked for
 * @returns `delayMs` as whole milliseconds, rounded up
 */
export async function nextRun(
  strategy: RetryStrategy,
  job: Job,
  error: Error,
  given: { readonly delayMs?: number | undefined } = {},
): Promise<Verdict> {
  let answer: unknown
  try {
    answer = await strategy(job, error)
  } catch (thrown) {
    return { is: 'broken', error: new Error(`retryStrategy() threw ${describe(thrown)}`, { cause: thrown }) }
  }
  try {
    return verdict(planned(answer, answers), job, error, given)
  } catch (refusal) {
    return { is: 'broken', error: toError(refusal) }
  }
}

function verdict(plan: Plan | false, job: Job, error: Error, given: { readonly delayMs?: number | undefined }) {
  const givenMs = given.delayMs === undefined ? undefined : delay("the outcome's delayMs", given.delayMs)
  if (plan === false) return { is: 'exhausted' } as const
  const runs = job.maxAttempts ?? plan.runs
  if (!(job.attempt < runs)) return { is: 'exhausted' } as const
  const askedMs = plan.heedsError ? retryAfterMs(error) : undefined
  const plannedMs = plan.delaysMs[Math.min(job.attempt, plan.delaysMs.length) - 1] ?? 0
  return { is: 'retry', delayMs: givenMs ?? askedMs ?? plannedMs, retriesLeft: runs - job.attempt - 1 } as const
}

/** What the error itself asks for. Other people's errors: what is no delay is no answer, and no reason to fail. */
function retryAfterMs(error: Error): number | undefined {
  try {
    return 'retryAfterMs' in error ? delayIfAny(error.retryAfterMs) : undefined
  } catch {
    return undefined
  }
}

/**
 * The option of `consume`: a strategy, or one decision for every job and error.
 *
 * @param value - a function, `false`, or `{ maxAttempts, delaysMs }`, of which a copy is taken
 * @throws BugleError `INVALID_OPTION`; for a decision that breaks a rule as well
 */
export function retryStrategyOption(value: unknown): RetryStrategy {
  if (typeof value === 'function') {
    if (makers.includes(value)) throw invalid(`retryStrategy must be what ${value.name}() returns; got ${value.name}`)
    return value as RetryStrategy
  }
  const plan = planned(value, constants)
  const decision = plan && Object.freeze({ maxAttempts: plan.runs, delaysMs: plan.delaysMs })
  return () => decision
}

const makers: readonly unknown[] = [fixed, linear, exponential]

/** A decision that was checked, each of its fields read once. */
interface Plan {
  /** Runs at most, the first included. */
  readonly runs: number
  readonly delaysMs: readonly number[]
  /** Whether a delay on the error goes first. */
  readonly heedsError: boolean
}

interface DecisionRules {
  /** Its name in messages. */
  readonly what: string
  readonly rule: string
  readonly keys: readonly string[]
}

const answers: DecisionRules = {
  what: 'retryStrategy()',
  rule: 'must be false, { maxAttempts, delaysMs } or { delayMs }',
  // The nearest name wins, then the first: for `delay` it is delayMs.
  keys: ['delayMs', 'maxAttempts', 'delaysMs'],
}
// No constant { delayMs }: it would be a retry for ever.
const constants: DecisionRules = {
  what: 'retryStrategy',
  rule: 'must be a function, false or { maxAttempts, delaysMs }',
  keys: ['maxAttempts', 'delaysMs'],
}

/** @throws BugleError `INVALID_OPTION`, for anything that is no decision */
function planned(value: unknown, { what, rule, keys }: DecisionRules): Plan | false {
  if (value === false) return false
  const { fields, shown } = copied(value, what)
  if (fields === undefined) throw invalid(`${what} ${rule}; got ${shown}`)
  demandRuns(what, fields)
  knownKeys(what, fields, keys)
  const { maxAttempts, delaysMs, delayMs } = fields
  if (delayMs !== undefined) {
    if (maxAttempts !== undefined || delaysMs !== undefined) throw invalid(`${what} ${rule}; got delayMs beside others`)
    return { runs: Number.POSITIVE_INFINITY, delaysMs: [delay(`${what}.delayMs`, delayMs)], heedsError: false }
  }
  return {
    runs: wholeNumber(`${what}.maxAttempts`, maxAttempts, { min: 1 }),
    delaysMs: Array.isArray(delaysMs)
      ? delaysMs.map((each, index) => delay(`${what}.delaysMs[${index}]`, each))
      : [delay(`${what}.delaysMs`, delaysMs === undefined ? 0 : delaysMs)],
    heedsError: true,
  }
}

/** Other libraries count retries, which are one less than runs. */
function demandRuns(what: string, { retries }: Record<string, unknown>): void {
  if (retries === undefined) return
  const instead = typeof retries === 'number' ? `maxAttempts: ${retries + 1}` : 'maxAttempts'
  throw invalid(`${what}: there is no option "retries"; give ${instead}, which counts the first run too`)
}

/**
 * The fields of a plain object, each read once and arrays copied, so that no getter or proxy can change or throw later.
 *
 * @throws BugleError `INVALID_OPTION`, where reading throws
 */
function copied(value: unknown, what: string): { fields?: Record<string, unknown>; shown: string } {
  try {
    if (typeof value !== 'object' || value === null) return { shown: describe(value) }
    if (!isPlainObject(value)) return { shown: kindOf(value) }
    const fields = { ...value }
    const { delaysMs } = fields
    if (Array.isArray(delaysMs)) {
      const length = wholeNumber(`${what}.delaysMs.length`, delaysMs.length, { min: 0, max: mostDelays })
      // Holes become undefined, which is refused.
      fields.delaysMs = Array.from({ length }, (_, index): unknown => delaysMs[index])
    }
    return { fields, shown: kindOf(value) }
  } catch (thrown) {
    const error = toError(thrown)
    throw error instanceof BugleError ? error : invalid(`${what} cannot be read: ${describe(thrown)}`, thrown)
  }
}

function numberWithin(name: string, value: unknown, min: number, max = Number.MAX_VALUE): number {
  if (typeof value === 'number' && value >= min && value <= max) return value
  const range = max === Number.MAX_VALUE ? `from ${min} up` : `from ${min} to ${max}`
  throw invalid(`${name} must be a number ${range}; got ${describe(value)}`)
}

function errorClasses(name: string, value: unknown): readonly ErrorClass[] {
  if (!Array.isArray(value)) throw invalid(`${name} must be an array of error classes; got ${kindOf(value)}`)
  return Array.from(value, (each: unknown, index) => {
    if (isConstructor(each)) return each
    throw invalid(`${name}[${index}] must be an error class; got ${describe(each)}`)
  })
}

/** Whether `new` takes it. Asked of the engine, which runs nothing of it: it is only the new object's class here. */
function isConstructor(value: unknown): value is ErrorClass {
  try {
    Reflect.construct(Object, [], value as typeof Object)
    return true
  } catch {
    return false
  }
}

function invalid(message: string, cause?: unknown): BugleError {
  return new BugleError('INVALID_OPTION', message, cause === undefined ? {} : { cause })
}
