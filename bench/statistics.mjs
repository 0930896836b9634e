/** The figures of a list of numbers. Of an empty one each is NaN. */

/** @param {readonly number[]} values */
export function median(values) {
  const sorted = ascending(values)
  const half = sorted.length / 2
  const upper = sorted[Math.floor(half)] ?? Number.NaN
  const lower = sorted[Math.ceil(half) - 1] ?? Number.NaN
  // Of an odd number both are the same element.
  return sorted.length % 2 === 1 ? upper : (lower + upper) / 2
}

/**
 * The nearest-rank quantile: always one of the values.
 *
 * @param {readonly number[]} values
 * @param {number} share 0.99 for p99
 */
export function quantile(values, share) {
  const sorted = ascending(values)
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN
}

/**
 * p50, p95, p99 and the largest, with one sort.
 *
 * @param {readonly number[] | Float64Array} values
 */
export function quantiles(values) {
  const sorted = ascending(values)
  const at = (/** @type {number} */ share) => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN
  return { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1) }
}

/** @param {readonly number[]} values */
export function summary(values) {
  const sorted = ascending(values)
  return { median: median(values), min: sorted[0] ?? Number.NaN, max: sorted.at(-1) ?? Number.NaN }
}

/**
 * To four significant digits: more than any figure here is worth.
 *
 * @param {number} value
 */
export function rounded(value) {
  if (value === 0 || !Number.isFinite(value)) return value
  return Math.abs(value) >= 1_000 ? Math.round(value) : Number(value.toPrecision(4))
}

/**
 * Waiting times of arrivals that know nothing of each other (a Poisson process).
 *
 * @param {number} perSecond
 * @param {() => number} random
 * @returns {number} milliseconds until the next
 */
export function arrivalMs(perSecond, random) {
  return (-Math.log(1 - random()) * 1_000) / perSecond
}

/** @param {readonly number[] | Float64Array} values */
function ascending(values) {
  // A typed array sorts by number, and faster than a comparison for each pair.
  return Float64Array.from(values).sort()
}
