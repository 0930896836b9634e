/** What a phase did to a contender, from what its processes told. */
import { quantiles } from '../statistics.mjs'

/**
 * @typedef {object} Evidence
 * @property {ReadonlyMap<number, import('./load.mjs').Put>} puts
 * @property {readonly import('./load.mjs').Run[]} runs
 * @property {import('./phases.mjs').Harm} harm
 * @property {number} loadEndedAt
 * @property {number} givenUpAt when what had not been done counted as lost
 */

/**
 * @param {Evidence} evidence
 * @returns {Readonly<Record<string, readonly [unit: string, value: number]>>}
 */
export function accountOf({ puts, runs, harm: { from, to, overAt }, loadEndedAt, givenUpAt }) {
  const answered = [...puts.values()].filter(({ doneAt }) => doneAt !== undefined)
  /** @type {Map<number, number[]>} when a job was done, each time */
  const doneAt = new Map()
  for (const run of runs) {
    if (run.doneAt === null) continue
    const times = doneAt.get(run.n)
    if (times === undefined) doneAt.set(run.n, [run.doneAt])
    else times.push(run.doneAt)
  }
  const completions = runs.flatMap((run) => (run.doneAt === null ? [] : [run.doneAt])).sort((one, other) => one - other)
  /** @param {readonly number[]} moments @param {number} since @param {number} until */
  const countOf = (moments, since, until) => moments.filter((at) => since <= at && at < until).length
  const sentAt = [...puts.values()].map(({ at }) => at)
  const sentMeanwhile = countOf(sentAt, from, to)
  const sentLater = countOf(sentAt, to, loadEndedAt)
  const lost = answered.filter(({ n }) => !doneAt.has(n))
  const waits = answered
    .filter(({ at }) => at >= from)
    .map(({ n, at }) => Math.min(...(doneAt.get(n) ?? [givenUpAt])) - at)
  const { p99, max } = quantiles(waits)
  const silences = [from, ...completions.filter((at) => from < at && at < loadEndedAt), loadEndedAt]
  const silence = Math.max(...silences.slice(1).map((at, index) => at - (silences[index] ?? at)))
  const first = completions.find((at) => at > overAt)

  return {
    'done during it': ['% of the puts', (100 * countOf(completions, from, to)) / sentMeanwhile],
    'done after it, while putting': ['% of the puts', (100 * countOf(completions, to, loadEndedAt)) / sentLater],
    'first completion after it': ['ms', (first ?? givenUpAt) - overAt],
    'put to done, p99': ['ms', p99],
    'put to done, most': ['ms', max],
    'longest silence': ['ms', silence],
    'puts refused': ['jobs', puts.size - answered.length],
    lost: ['jobs', lost.length],
    // A run that a kill has cut is no effect.
    'run twice': ['jobs', [...doneAt.values()].filter(({ length }) => length > 1).length],
  }
}

/**
 * Why puts were refused, the commonest reason first.
 *
 * @param {ReadonlyMap<number, import('./load.mjs').Put>} puts
 * @returns {string[]} as '12 x Connection terminated unexpectedly'
 */
export function refusalsOf(puts) {
  /** @type {Map<string, number>} */
  const counts = new Map()
  for (const { error } of puts.values()) if (error !== undefined) counts.set(error, (counts.get(error) ?? 0) + 1)
  return [...counts].sort(([, one], [, other]) => other - one).map(([error, count]) => `${count} x ${error}`)
}

/** The columns of the table for people. */
const columns = /** @type {const} */ ({
  during: 'done during it',
  after: 'done after it, while putting',
  first: 'first completion after it',
  p99: 'put to done, p99',
  silence: 'longest silence',
  refused: 'puts refused',
  lost: 'lost',
  twice: 'run twice',
})

/**
 * One line a contender, medians.
 *
 * @param {readonly string[]} contenders
 * @param {(contender: string, figure: string) => number} medianOf
 */
export function tableOf(contenders, medianOf) {
  const width = Math.max(...contenders.map(({ length }) => length))
  const head = Object.keys(columns).map((name) => name.padStart(9))
  const lines = contenders.map((contender) => {
    const cells = Object.values(columns).map((figure) => {
      const unit = figure.startsWith('done') ? ' %' : /first|p99|silence/.test(figure) ? ' ms' : ''
      return `${Math.round(medianOf(contender, figure))}${unit}`.padStart(9)
    })
    return contender.padEnd(width) + cells.join('')
  })
  return [' '.repeat(width) + head.join(''), ...lines]
}
