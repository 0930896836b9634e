/**
 * What a job's handler is to do; it travels as the job's payload.
 *
 * - `ack`: returns
 * - `steps`: in four parts
 * - `retry`: throws in its first two attempts
 * - `reject`: refuses the job; it is requeued once, and refused again
 * - `parked`: due in a day, so it never runs: it is cancelled
 *
 * How it comes to its end: `turn`: in the turn in which it began; `immediate`, `reads`, `timer`: in a later one, by
 * that; `busy`: by reads too, and computes for some milliseconds before them, so that much comes at once when it is
 * done.
 *
 * @typedef {'ack' | 'steps' | 'retry' | 'reject' | 'parked'} Mode
 * @typedef {'turn' | 'immediate' | 'reads' | 'timer' | 'busy'} Wait
 *
 * @typedef {{ token: number, mode: Mode, wait: Wait }} Plan
 */

/** @type {Readonly<Record<Mode, number>>} */
const weights = { ack: 30, steps: 30, retry: 20, reject: 10, parked: 10 }
/** @type {Readonly<Record<Wait, number>>} */
const waits = { turn: 15, immediate: 15, reads: 30, timer: 15, busy: 25 }

/**
 * @param {number} token
 * @param {import('../random.mjs').Random} random
 * @returns {Plan}
 */
export function planJob(token, random) {
  return { token, mode: random.weighted(weights), wait: random.weighted(waits) }
}

export const steps = 4
export const throws = 2
export const parkedMs = 86_400_000

/** With and without prepared statements, side by side. */
export const queues = /** @type {const} */ ({ prepared: true, unprepared: false })
