/**
 * Jobs that are for an express lane: many at once, and short. Each travels with what it is to do, and with a number
 * that grows when somebody edits it: what it says then has to be run, whatever ran before.
 *
 * @typedef {object} Burst
 * @property {number} token below 0: the others are above
 * @property {number} version
 * @property {number} ms how long it takes
 * @property {boolean} throws in its first attempt
 */

export const burstQueue = 'bursts'

/** Longer than a lane waits. */
export const slowMs = { least: 25, most: 80 }

/**
 * Nearly all of them take no time. Some take longer than a lane waits; some throw; and in half of the bursts forty in a
 * row are slow, so that a lane lets go of those behind them.
 *
 * @param {number} first token
 * @param {number} count
 * @param {import('../random.mjs').Random} random
 * @returns {Burst[]}
 */
export function planBurst(first, count, random) {
  const slowFrom = random.next() < 0.5 ? random.between(0, count) : count
  return Array.from({ length: count }, (_, at) => {
    const isSlow = at >= slowFrom && at < slowFrom + 40
    const ms = isSlow ? 15 : random.next() < 0.005 ? random.between(slowMs.least, slowMs.most) : 0
    return { token: first - at, version: 1, ms, throws: random.next() < 0.01 }
  })
}
