import {
  delay,
  flagNames,
  functionOf,
  knownKeys,
  oneOf,
  runTimeMs,
  signalOf,
  wholeNumber,
  withoutUndefined,
} from '../checks.js'
import type { Duration } from '../duration.js'
import type { Job, Middleware } from '../job.js'
import {
  bugleDefaults,
  bugleOptionNames,
  consumeOptionNames,
  middlewareOption,
  type ResolvedBugleOptions,
  type ResolvedStopTimes,
  stopTimes,
} from '../options.js'
import { type ConstantDecision, defaultRetryStrategy, type RetryStrategy, retryStrategyOption } from '../retry.js'

/** What `consume` takes: `AnyJob` is the queue's job, `Owner` the instance's type, `Context` that of `context`. */
export interface ConsumeOptions<AnyJob = Job, Owner = unknown, Context = unknown> {
  /** Handlers at once in this process. @defaultValue 10 */
  readonly concurrency?: number | undefined
  /**
   * Jobs that may be claimed beyond the free slots, and wait in memory for one: a number, 0 for none; 'earned': only in
   * a backlog, and no more than a few milliseconds of work. At most 16 MB of payloads, as JSON, either way.
   * @defaultValue 'earned'
   */
  readonly prefetch?: number | 'earned' | undefined
  /** 'explicit': a handler must return an outcome; anything else is a reject. @defaultValue 'implicit' */
  readonly outcome?: 'implicit' | 'explicit' | undefined
  /**
   * What follows a run that threw, or asked for a retry: a function, one of `fixed`, `linear` and `exponential`, or a
   * constant answer such as `false`. Default: `exponential()`, 5 runs in all.
   */
  readonly retryStrategy?: RetryStrategy<AnyJob> | ConstantDecision | undefined
  /**
   * Called once a run of this consumer has failed its job for good, for whatever reason. It is waited for in the job's
   * slot. What it throws changes nothing. A job that never came to its handler has its payload as it is stored,
   * whatever its type says.
   */
  readonly onFailed?: ((job: AnyJob, error: Error) => unknown) | undefined
  /**
   * What becomes of jobs of other kinds, and of jobs without a kind, when there is a handler for each kind. 'leave':
   * they stay for consumers that have a handler; 'fail': failed at once. @defaultValue 'leave'
   */
  readonly unknownKinds?: 'leave' | 'fail' | undefined
  /** Takes no job that has one of these flags. @defaultValue [] */
  readonly withoutFlags?: readonly string[] | undefined
  /**
   * What is kept of jobs that are over. 'failed': those that failed; 'all': acked ones too, in the archive, with their
   * result, as long as the instance's `keep.archivedForMs` says; `{ archivedForMs }`: the same for so long, and then
   * for some minutes more at the most. @defaultValue 'failed'
   */
  readonly keep?: Keep | undefined
  /** Runs around the handler, inside of the instance's own. @defaultValue [] */
  readonly middleware?: readonly Middleware<Owner, NoInfer<Context>>[] | undefined
  /**
   * How long a run may take before its signal is aborted and it counts as failed. Default: no limit, and one warning of
   * a run that goes on for ten minutes.
   */
  readonly timeoutMs?: Duration | undefined
  /** As for `createBugle`. Default: the instance's. */
  readonly durableClaims?: boolean | undefined
  /** As for `createBugle`. Default: the instance's. */
  readonly express?: boolean | undefined
  /** As for `createBugle`. Default: the instance's. */
  readonly graceMs?: Duration | undefined
  /** As for `createBugle`. Default: the instance's. */
  readonly abortMs?: Duration | undefined
  /** What the handler needs: `ctx.context`. Default: the instance's. */
  readonly context?: Context | undefined
  /** Ends the wait for a database that is down, and later stops the consumer. */
  readonly signal?: AbortSignal | undefined
}

/** What a consumer keeps of jobs that are over. */
export type Keep = 'failed' | 'all' | { readonly archivedForMs: Duration }
export type ResolvedKeep = 'failed' | 'all' | { readonly archivedForMs: number }

export const consumerDefaults = {
  concurrency: 10,
  prefetch: 'earned',
  outcome: 'implicit',
  unknownKinds: 'leave',
  withoutFlags: [],
  keep: 'failed',
  middleware: [],
} as const satisfies Partial<ConsumeOptions>

export interface ConsumerOptions extends ResolvedStopTimes {
  readonly concurrency: number
  readonly prefetch: number | 'earned'
  readonly outcome: 'implicit' | 'explicit'
  readonly retryStrategy: RetryStrategy
  readonly onFailed: ((job: Job, error: Error) => unknown) | undefined
  readonly unknownKinds: 'leave' | 'fail'
  readonly withoutFlags: readonly string[]
  readonly keep: ResolvedKeep
  readonly middleware: readonly Middleware[]
  /** null: no limit. */
  readonly timeoutMs: number | null
  readonly durableClaims: boolean
  readonly express: boolean
  readonly context: unknown
  readonly signal: AbortSignal | undefined
}

/**
 * @param instance - whose context is the default, and whose middleware is the outer one
 * @throws BugleError `INVALID_OPTION`
 */
export function resolveConsumerOptions(
  options: object = {},
  instance: Pick<
    ResolvedBugleOptions,
    'context' | 'middleware' | 'durableClaims' | 'express' | 'graceMs' | 'abortMs'
  > = {
    ...bugleDefaults,
    context: undefined,
  },
): ConsumerOptions {
  knownKeys('consume options', options, consumeOptionNames, { createBugle: bugleOptionNames })
  const given = {
    ...consumerDefaults,
    signal: undefined,
    onFailed: undefined,
    ...withoutUndefined<ConsumeOptions>(options),
  }
  return Object.freeze({
    // A claim takes as many rows as there are free slots, at least; more than this in one statement gains nothing.
    concurrency: wholeNumber('concurrency', given.concurrency, { min: 1, max: 1_000 }),
    prefetch: given.prefetch === 'earned' ? 'earned' : wholeNumber('prefetch', given.prefetch, { min: 0, max: 10_000 }),
    outcome: oneOf('outcome', given.outcome, ['implicit', 'explicit']),
    retryStrategy: given.retryStrategy === undefined ? defaultRetryStrategy : retryStrategyOption(given.retryStrategy),
    onFailed:
      given.onFailed === undefined
        ? undefined
        : functionOf<NonNullable<ConsumerOptions['onFailed']>>('onFailed', given.onFailed),
    unknownKinds: oneOf('unknownKinds', given.unknownKinds, ['leave', 'fail']),
    withoutFlags: flagNames('withoutFlags', given.withoutFlags),
    keep: keepOption(given.keep),
    middleware: [...instance.middleware, ...middlewareOption(given.middleware)],
    timeoutMs: given.timeoutMs === undefined ? null : runTimeMs(given.timeoutMs),
    durableClaims: oneOf('durableClaims', given.durableClaims ?? instance.durableClaims, [true, false]),
    express: oneOf('express', given.express ?? instance.express, [true, false]),
    ...stopTimes({ graceMs: given.graceMs ?? instance.graceMs, abortMs: given.abortMs ?? instance.abortMs }),
    context: 'context' in given ? given.context : instance.context,
    signal: signalOf(given.signal),
  })
}

/** What `drain` takes: the options of `consume`, and one more. */
export interface DrainOptions<AnyJob = Job, Owner = unknown, Context = unknown>
  extends ConsumeOptions<AnyJob, Owner, Context> {
  /** 'ready': until nothing is ready; 'scheduled': until nothing is ready or scheduled. @defaultValue 'ready' */
  readonly until?: 'ready' | 'scheduled' | undefined
}

/** @throws BugleError `INVALID_OPTION` */
export function resolveDrainOptions(
  options: object = {},
  instance: Parameters<typeof resolveConsumerOptions>[1],
): ConsumerOptions & { readonly until: 'ready' | 'scheduled' } {
  knownKeys('drain options', options, [...consumeOptionNames, 'until'], { createBugle: bugleOptionNames })
  const { until = 'ready', ...rest } = options as DrainOptions
  return { ...resolveConsumerOptions(rest, instance), until: oneOf('until', until, ['ready', 'scheduled']) }
}

function keepOption(value: Keep): ResolvedKeep {
  if (typeof value !== 'object' || value === null) return oneOf('keep', value, ['failed', 'all'])
  knownKeys('keep', value, ['archivedForMs'])
  return Object.freeze({ archivedForMs: delay('keep.archivedForMs', value.archivedForMs) })
}
