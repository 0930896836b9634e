import { plannedError } from '../plan.mjs'

/**
 * What a job's handler is to do; it travels as the job's payload.
 *
 * - `ack`: returns
 * - `slow`: the same after seconds, and ends at once when its signal is aborted
 * - `throw`: throws in its first attempt
 * - `retry`: returns `retry` in its first attempt
 * - `release`: gives itself back while it is younger than a second
 * - `exhaust`: throws always; the job has two attempts
 * - `reject`: refuses the job; it is requeued once, and refused again
 *
 * @typedef {'ack' | 'slow' | 'throw' | 'retry' | 'release' | 'exhaust' | 'reject'} Mode
 *
 * @typedef {{ token: number, mode: Mode, ms: number, putAt: number, delayMs: number }} Plan `putAt`: ms since 1970
 */

/** @type {Readonly<Record<Mode, number>>} */
const weights = { ack: 40, slow: 6, throw: 12, retry: 10, release: 10, exhaust: 8, reject: 8 }

/**
 * @param {number} token
 * @param {import('../random.mjs').Random} random
 * @returns {Plan}
 */
export function planJob(token, random) {
  const mode = random.weighted(weights)
  const ms = mode === 'slow' ? random.between(500, 2_500) : random.between(0, 60)
  // Those are scheduled, and become ready by a promotion.
  const delayMs = random.next() < 0.25 ? random.between(200, 2_500) : 0
  return { token, mode, ms, putAt: Date.now(), delayMs }
}

/** Attempts of a job; null: the strategy's. @param {Mode} mode */
export const maxAttemptsOf = (mode) => (mode === 'exhaust' ? 2 : null)

/** @type {(mode: Mode) => 'archived' | 'failed'} */
export const endOf = (mode) => (mode === 'reject' || mode === 'exhaust' ? 'failed' : 'archived')

export const queue = 'orders'

export { plannedError }
