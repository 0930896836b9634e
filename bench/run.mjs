// The driver: one scenario by name, one JSON line a case on stdout, the same for people on stderr. Needs a build (dist/).
// npm run bench -- recovery [--tries N] [--case NAME]
import { parseArgs } from 'node:util'
import { environment } from './environment.mjs'
import * as recovery from './recovery.mjs'

/**
 * @typedef {object} Result
 * @property {string} case
 * @property {Readonly<Record<string, readonly number[]>>} ms every repeat of each figure
 * @property {object} settings
 * @property {object} [peers]
 *
 * @typedef {object} Scenario
 * @property {number} tries
 * @property {readonly string[]} cases
 * @property {(options: { tries: number, cases: readonly string[], tell: (text: string) => void }) => AsyncIterable<Result>} run
 */

/** @type {Readonly<Record<string, Scenario>>} */
const scenarios = { recovery }

const { values, positionals } = parseArgs({
  options: { tries: { type: 'string' }, case: { type: 'string', multiple: true } },
  allowPositionals: true,
})
const [name = ''] = positionals
const scenario = scenarios[name]
if (scenario === undefined) throw new Error(`a scenario is one of ${Object.keys(scenarios).join(', ')}; got '${name}'`)
const tries = values.tries === undefined ? scenario.tries : Number(values.tries)
if (!Number.isInteger(tries) || tries < 1)
  throw new Error(`--tries must be a whole number from 1 up; got ${values.tries}`)
const cases = values.case ?? scenario.cases
for (const one of cases) {
  if (!scenario.cases.includes(one)) throw new Error(`--case is one of ${scenario.cases.join(', ')}; got ${one}`)
}

/** @param {string} text */
const tell = (text) => void process.stderr.write(`${text}\n`)

for await (const { ms, ...result } of scenario.run({ tries, cases, tell })) {
  /** @type {Record<string, object>} */
  const figures = {}
  tell(`\n${name}, ${result.case}, ${tries} tries (ms):`)
  for (const [figure, all] of Object.entries(ms)) {
    const sorted = all.toSorted((one, other) => one - other)
    const median = middle(sorted)
    const worst = sorted.at(-1) ?? Number.NaN
    figures[figure] = { median: round(median), worst: round(worst), all: all.map(round) }
    tell(
      `  ${figure.padEnd(36)} median ${String(round(median)).padStart(8)}   worst ${String(round(worst)).padStart(8)}`,
    )
  }
  for (const [peer, documented] of Object.entries(result.peers ?? {})) tell(`  ${peer.padEnd(36)} ${documented}`)
  process.stdout.write(`${JSON.stringify({ scenario: name, ...result, tries, ms: figures, ...environment() })}\n`)
}

/** @param {readonly number[]} sorted */
function middle(sorted) {
  const half = sorted.length / 2
  const upper = sorted[Math.floor(half)] ?? Number.NaN
  const lower = sorted[Math.ceil(half) - 1] ?? Number.NaN
  return (lower + upper) / 2
}

/** @param {number} ms */
function round(ms) {
  return Math.round(ms * 10) / 10
}
