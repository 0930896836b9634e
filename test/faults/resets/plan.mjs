/**
 * What a job's handler is to do; it travels as the job's payload.
 *
 * - `ack`: returns
 * - `steps`: in four parts
 * - `retry`: throws in its first two attempts
 * - `reject`: refuses the job; it is requeued once, and refused again
 * - `parked`: due in a day, so it never runs: it is looked up and cancelled
 *
 * How it comes to its end: `turn`: in the turn in which it began; `immediate`, `read`, `timer`: in a later one, by
 * that.
 *
 * @typedef {'ack' | 'steps' | 'retry' | 'reject' | 'parked'} Mode
 * @typedef {'turn' | 'immediate' | 'read' | 'timer'} Wait
 *
 * @typedef {{ token: number, mode: Mode, wait: Wait }} Plan
 */

/** @type {Readonly<Record<Mode, number>>} */
const weights = { ack: 40, steps: 25, retry: 20, reject: 10, parked: 5 }
/** @type {Readonly<Record<Wait, number>>} */
const waits = { turn: 50, immediate: 20, read: 15, timer: 15 }

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
