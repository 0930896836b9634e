/**
 * What a job's handler is to do; it travels as the job's payload.
 *
 * - `tx`: the run row and `ctx.ack` in one transaction of the handler's own
 * - `plain`: the run row is committed, then a return
 * - `slow`: as plain, for seconds, and ends at once when its signal is aborted
 * - `stubborn`: the same, and does not heed its signal
 * - `block`: the same, and blocks the event loop
 * - `throw`: throws in its first two attempts
 * - `retry`: returns `retry` in its first attempt
 * - `partial`: in two parts
 * - `release`: gives itself back once
 * - `reject`: refuses the job
 * - `exhaust`: throws always; the job has two attempts
 *
 * @typedef {'tx' | 'plain' | 'slow' | 'stubborn' | 'block' | 'throw' | 'retry' | 'partial' | 'release' | 'reject' |
 * 'exhaust'} Mode
 *
 * @typedef {object} Plan
 * @property {number} token names the job, also where its id was never heard
 * @property {Mode} mode
 * @property {number} ms how long it takes
 */

/** @type {Readonly<Record<Mode, number>>} */
const weights = {
  tx: 28,
  plain: 30,
  slow: 8,
  stubborn: 3,
  block: 0.5,
  throw: 7,
  retry: 4,
  partial: 5,
  release: 5,
  reject: 4,
  exhaust: 4,
}

/**
 * @param {number} token
 * @param {import('./random.mjs').Random} random
 * @returns {Plan}
 */
export function planJob(token, random) {
  const mode = random.weighted(weights)
  switch (mode) {
    case 'slow':
    case 'stubborn':
      return { token, mode, ms: random.between(500, 3_000) }
    case 'block':
      return { token, mode, ms: random.between(200, 1_000) }
    default:
      return { token, mode, ms: random.next() < 0.5 ? 0 : random.between(1, 60) }
  }
}

/** Attempts of a job whose handler always throws. */
export const exhaustAttempts = 2

/** How each job must end. @type {(mode: Mode) => 'archived' | 'failed'} */
export const endOf = (mode) => (mode === 'reject' || mode === 'exhaust' ? 'failed' : 'archived')

/** What a handler throws on purpose. */
export const plannedError = 'as planned'

/** The name of errors that handlers throw because their own connection failed. */
export const connectionError = 'HandlerConnectionError'

export const queues = /** @type {const} */ (['orders', 'mails'])
