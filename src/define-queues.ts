import { BugleError, describe } from './errors.js'

/** Only in types: see `QueueTypes`. */
declare const types: unique symbol

/** What `defineQueues` returns: the types of an instance's queues, for the option `queues` of `createBugle`. */
export interface QueueTypes<Queues extends object> {
  /** @internal Never there. */
  readonly [types]?: (queues: Queues) => Queues
}

const queueTypes = Object.freeze({})

/**
 * Types an instance's queues, where the compiler shall infer the types of its other options: `createBugle({ queues:
 * defineQueues<{ emails: { to: string } }>(), context: { mailer } })`. At run time it does nothing.
 *
 * With `createBugle<Queues>(…)` the compiler infers nothing more: `ctx.context` is unknown there, and a codec refused.
 */
export function defineQueues<Queues extends object>(): QueueTypes<Queues> {
  return queueTypes
}

/**
 * The option of `createBugle`.
 *
 * @throws BugleError `INVALID_OPTION`
 */
export function queuesOption(value: unknown): void {
  if (value === undefined || value === queueTypes) return
  throw new BugleError('INVALID_OPTION', `queues must be what defineQueues() returns; got ${describe(value)}`)
}
