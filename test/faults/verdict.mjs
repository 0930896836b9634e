/**
 * What every kind of run is given.
 *
 * @typedef {object} RunParts
 * @property {number} seed
 * @property {number} seconds of faults
 * @property {number} rounds of faults, where they come in rounds
 * @property {number} putsPerSecond
 * @property {readonly string[]} only kinds of faults; empty: all
 * @property {import('./snapshot.mjs').Snapshot} snapshot
 * @property {(text: string) => void} tell
 */

/**
 * What is said during a run, and what was found.
 *
 * @param {RunParts['tell']} tell
 */
export function openVerdict(tell) {
  /** @type {string[]} */
  const violations = []
  /** @param {string} text */
  const log = (text) => tell(`${new Date().toISOString().slice(11, 23)} ${text}`)
  return {
    violations,
    log,
    /** @param {string} text */
    violation(text) {
      violations.push(text)
      log(`VIOLATION ${text}`)
    },
  }
}
