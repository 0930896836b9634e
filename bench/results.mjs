/** A scenario's result, with medians and ratios: as an object for the JSON line, and as a table for people. */
import { median, rounded, summary } from './statistics.mjs'

/**
 * @typedef {import('./scenarios.mjs').Result} Result
 * @typedef {{ unit: string, median: number, min: number, max: number, values: number[] }} Figure
 * @typedef {{ name: string, of: string, to: string, value: number | null, wanted?: string, isMet?: boolean }} Measured
 */

/** @param {Result} result */
export function summarized({ figures, ratios = [], ...rest }) {
  /** @type {Record<string, Figure>} */
  const summaries = {}
  for (const [name, { unit, values }] of Object.entries(figures)) {
    // A figure of every second try, say, in a run of one.
    if (values.length === 0) continue
    const { median: middle, min, max } = summary(values)
    summaries[name] = {
      unit,
      median: rounded(middle),
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
 * @returns {Measured[]} with null when one of the two was not measured; none, if nothing was wanted of it either
 */
function measured({ name, of, to, wanted }, figures) {
  const value = median(figures[of]?.values ?? []) / median(figures[to]?.values ?? [])
  if (!Number.isFinite(value)) return wanted === undefined ? [] : [{ name, of, to, value: null, wanted, isMet: false }]
  return [{ name, of, to, value: rounded(value), ...(wanted !== undefined && { wanted, isMet: isMet(value, wanted) }) }]
}

/** @param {number} value @param {string} wanted */
function isMet(value, wanted) {
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
    const ratio = value === null ? 'not measured' : `${shown(value).padStart(9)} x`
    const verdict = wanted && `   wanted ${wanted}${value === null ? '' : met ? ': met' : ': MISSED'}`
    lines.push(`  ${name.padEnd(width)}  ${ratio}${verdict ?? ''}`)
  }
  lines.push(...notes.map((note) => `  ${note}`))
  return lines.join('\n')
}

/** @param {number} value */
function shown(value) {
  return rounded(value).toLocaleString('en')
}
