/** A scenario's result, with medians and ratios: as an object for the JSON line, and as a table for people. */
import { median, rounded, summary } from './statistics.mjs'

/**
 * @typedef {import('./scenarios.mjs').Result} Result
 * @typedef {{ unit: string, median: number, min: number, max: number, values: number[] }} Figure
 * @typedef {{ name: string, of: string, to?: string, value: number | null, wanted?: string, isMet?: boolean }} Measured
 */

/** @param {Result} result */
export function summarized({ figures, beside = {}, ratios = [], ...rest }) {
  const others = Object.entries(beside).map(([name, columns]) => [name, summaries(columns)])
  return {
    ...rest,
    figures: summaries(figures),
    ...(others.length > 0 && {
      beside: /** @type {Record<string, Record<string, Figure>>} */ (Object.fromEntries(others)),
    }),
    ratios: ratios.flatMap((ratio) => measured(ratio, figures, beside)),
  }
}

/**
 * @param {Result['figures']} figures
 * @returns {Record<string, Figure>}
 */
function summaries(figures) {
  /** @type {Record<string, Figure>} */
  const found = {}
  for (const [name, { unit, values }] of Object.entries(figures)) {
    // A figure of every second try, say, in a run of one; or one that cannot be known here.
    if (values.length === 0 || values.some(Number.isNaN)) continue
    const { median: middle, min, max } = summary(values)
    found[name] = {
      unit,
      median: rounded(middle),
      min: rounded(min),
      max: rounded(max),
      values: values.map(rounded),
    }
  }
  return found
}

/**
 * @param {import('./scenarios.mjs').Ratio} ratio
 * @param {Result['figures']} figures
 * @param {NonNullable<Result['beside']>} beside
 * @returns {Measured[]} with null when one of the two was not measured; none, if nothing was wanted of it either
 */
function measured({ name, of, to, wanted }, figures, beside) {
  const middle = (/** @type {string} */ what) => median((figures[what] ?? column(beside, what))?.values ?? [])
  const value = middle(of) / (to === undefined ? 1 : middle(to))
  const about = { name, of, ...(to !== undefined && { to }) }
  if (!Number.isFinite(value)) return wanted === undefined ? [] : [{ ...about, value: null, wanted, isMet: false }]
  return [{ ...about, value: rounded(value), ...(wanted !== undefined && { wanted, isMet: isMet(value, wanted) }) }]
}

/**
 * @param {NonNullable<Result['beside']>} beside
 * @param {string} name as `bugle: WAL`
 */
function column(beside, name) {
  const at = name.lastIndexOf(': ')
  return beside[name.slice(0, at)]?.[name.slice(at + 2)]
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
export function table(title, { figures, beside = {}, ratios, notes = [] }) {
  const lines = ['', title]
  const width = Math.max(
    0,
    ...Object.keys(figures).map(({ length }) => length),
    ...ratios.map(({ name }) => name.length),
  )
  const rows = Object.entries(figures).map(([name, figure]) => ({
    name,
    text: textOf(figure),
    columns: beside[name] ?? {},
  }))
  const textWidth = Math.max(0, ...rows.map(({ text }) => text.length))
  for (const { name, text, columns } of rows) {
    const others = Object.entries(columns).map(
      ([label, { unit, median }]) => `   ${label} ${shown(median).padStart(6)} ${unit}`,
    )
    lines.push(`  ${name.padEnd(width)}  ${others.length > 0 ? text.padEnd(textWidth) : text}${others.join('')}`)
  }
  for (const { name, to, value, wanted, isMet: met } of ratios) {
    const ratio = value === null ? 'not measured' : `${shown(value).padStart(9)}${to === undefined ? '' : ' x'}`
    const verdict = wanted && `   wanted ${wanted}${value === null ? '' : met ? ': met' : ': MISSED'}`
    lines.push(`  ${name.padEnd(width)}  ${ratio}${verdict ?? ''}`)
  }
  lines.push(...notes.map((note) => `  ${note}`))
  return lines.join('\n')
}

/** @param {Figure} figure */
function textOf({ unit, median, min, max, values }) {
  const spread = values.length > 1 ? `   ${shown(min)} to ${shown(max)}` : ''
  return `${shown(median).padStart(9)} ${unit}${spread}`
}

/** @param {number} value */
function shown(value) {
  return rounded(value).toLocaleString('en')
}
