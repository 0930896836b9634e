/** A scenario's result, with medians and ratios: as an object for the JSON line, and as a table for people. */
import { rounded, summary } from './statistics.mjs'

/**
 * @typedef {import('./scenarios.mjs').Result} Result
 * @typedef {{ unit: string, median: number, min: number, max: number, values: number[] }} Figure
 * @typedef {{ name: string, of: string, to: string, value: number, wanted?: string, isMet?: boolean }} Measured
 */

/** @param {Result} result */
export function summarized({ figures, ratios = [], ...rest }) {
  /** @type {Record<string, Figure>} */
  const summaries = {}
  for (const [name, { unit, values }] of Object.entries(figures)) {
    // A figure of every second try, say, in a run of one.
    if (values.length === 0) continue
    const { median, min, max } = summary(values)
    summaries[name] = {
      unit,
      median: rounded(median),
      min: rounded(min),
      max: rounded(max),
      values: values.map(rounded),
    }
  }
  return { ...rest, figures: summaries, ratios: ratios.flatMap((ratio) => measured(ratio, figures)) }
}

/**
 * @param {import('./scenarios.mjs').Ratio} ratio
 * @param {Result['figures']} figures
 * @returns {Measured[]} none when one of the two was not measured
 */
function measured({ name, of, to, wanted }, figures) {
  const [above, below] = [figures[of], figures[to]]
  if (above === undefined || below === undefined) return []
  const value = summary(above.values).median / summary(below.values).median
  if (!Number.isFinite(value)) return []
  return [{ name, of, to, value: rounded(value), ...(wanted !== undefined && { wanted, isMet: isMet(value, wanted) }) }]
}

/** @param {number} value @param {string} wanted */
export function isMet(value, wanted) {
  const [sign, limit] = wanted.split(' ')
  switch (sign) {
    case '>=':
      return value >= Number(limit)
    case '>':
      return value > Number(limit)
    case '<=':
      return value <= Number(limit)
    case '<':
      return value < Number(limit)
    default:
      throw new Error(`wanted is '>= 2.5' or the like; got '${wanted}'`)
  }
}

/**
 * @param {string} title
 * @param {ReturnType<typeof summarized>} result
 */
export function table(title, { figures, ratios, notes = [] }) {
  const lines = ['', title]
  const width = Math.max(
    0,
    ...Object.keys(figures).map(({ length }) => length),
    ...ratios.map(({ name }) => name.length),
  )
  for (const [name, { unit, median, min, max, values }] of Object.entries(figures)) {
    const spread = values.length > 1 ? `   ${shown(min)} to ${shown(max)}` : ''
    lines.push(`  ${name.padEnd(width)}  ${shown(median).padStart(9)} ${unit}${spread}`)
  }
  for (const { name, value, wanted, isMet: met } of ratios) {
    lines.push(
      `  ${name.padEnd(width)}  ${shown(value).padStart(9)} x${wanted ? `   wanted ${wanted}: ${met ? 'met' : 'MISSED'}` : ''}`,
    )
  }
  lines.push(...notes.map((note) => `  ${note}`))
  return lines.join('\n')
}

/** @param {number} value */
function shown(value) {
  return rounded(value).toLocaleString('en')
}
