/**
 * `npm run bench -- charts`: SVG files in bench/charts/ from the newest lines of bench/results/*.jsonl, for its README.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { bars } from './drawing/bars.mjs'
import { render } from './drawing/canvas.mjs'
import { lines } from './drawing/lines.mjs'
import { quantile, titled } from './drawing/names.mjs'

/**
 * @typedef {object} Line of a results file
 * @property {string} case
 * @property {Readonly<Record<string, Figure>>} figures
 * @property {Readonly<Record<string, { x: number[], y: number[], xUnit: string, yUnit: string }>>} [series]
 *
 * @typedef {{ unit: string, median: number, min: number, max: number }} Figure
 * @typedef {ReadonlyMap<string, Line>} Lines by case
 * @typedef {{ file: string, scenario: string, draw: (lines: Lines) => import('./drawing/canvas.mjs').Drawing | null }}
 *   Chart
 */

/** @type {readonly Chart[]} */
const charts = [
  { file: 'throughput', scenario: 'throughput', draw: drawThroughput },
  { file: 'latency', scenario: 'latency', draw: drawLatency },
  { file: 'insert', scenario: 'insert', draw: (lines) => drawInsert(lines, 'absent', 'Single-row inserts') },
  {
    file: 'insert-slow-disk',
    scenario: 'insert',
    draw: (lines) => drawInsert(lines, 'absent, a flush of 1 ms', 'Single-row inserts, 1 ms for a flush of the WAL'),
  },
  { file: 'held-xmin', scenario: 'held-xmin', draw: drawHeldXmin },
  { file: 'depth', scenario: 'depth', draw: drawDepth },
]

/** @param {{ tell: (text: string) => void }} options */
export async function drawCharts({ tell }) {
  const folder = new URL('charts/', import.meta.url)
  mkdirSync(folder, { recursive: true })
  for (const { file, scenario, draw } of charts) {
    const drawing = draw(readLines(scenario))
    if (drawing === null) tell(`${file}: nothing was saved of ${scenario}; run npm run bench -- ${scenario} --save`)
    else {
      writeFileSync(new URL(`${file}.svg`, folder), await render(drawing))
      tell(`bench/charts/${file}.svg`)
    }
  }
}

/** The newest line of each case. @param {string} scenario @returns {Lines} */
function readLines(scenario) {
  const file = new URL(`results/${scenario}.jsonl`, import.meta.url)
  if (!existsSync(file)) return new Map()
  const texts = readFileSync(file, 'utf8').split('\n').filter(Boolean)
  const lines = texts.map((text) => JSON.parse(text)).sort((one, other) => (one.at < other.at ? -1 : 1))
  return new Map(lines.map((line) => [line.case, line]))
}

/** @param {Lines} all */
function drawThroughput(all) {
  const line = all.get('24 slots, no-op, 1 process')
  if (line === undefined) return null
  const contenders = Object.entries(line.figures).sort(([, one], [, other]) => other.median - one.median)
  return bars({
    title: 'Jobs a second: no-op handlers, 24 slots, one process',
    unit: 'jobs/s',
    categories: contenders.map(([name]) => titled(name)),
    ours: contenders.flatMap(([name]) => (name.startsWith('bugle') ? [titled(name)] : [])),
    groups: [{ name: 'median, least to most', figures: contenders.map(([, figure]) => figure) }],
  })
}

/** @param {Lines} all */
function drawLatency(all) {
  const line = all.get('idle')
  if (line === undefined) return null
  const names = Object.keys(line.figures).flatMap((name) => quantile(name, 'p50') ?? [])
  const median = (/** @type {string} */ name) => line.figures[`${name} p50`]?.median ?? 0
  names.sort((one, other) => median(one) - median(other))
  return bars({
    title: 'From put to the start of the handler, one job at a time',
    unit: 'ms',
    categories: names.map(titled),
    groups: ['p50', 'p95', 'p99'].map((part) => ({
      name: part,
      figures: names.map((name) => line.figures[`${name} ${part}`]),
    })),
  })
}

/** @param {Lines} all @param {string} name @param {string} title */
function drawInsert(all, name, title) {
  const line = all.get(name)
  if (line === undefined) return null
  const variants = { bare: 'bare table', none: 'without the trigger', ours: 'Bugle', always: 'always notify' }
  const clients = [1, 8, 32]
  return bars({
    title,
    unit: 'rows/s',
    categories: clients.map((count) => (count === 1 ? '1 client' : `${count} clients`)),
    groups: Object.entries(variants).map(([variant, title]) => ({
      name: title,
      figures: clients.map((count) => line.figures[`${variant}, ${count} clients`]),
    })),
  })
}

/** @param {Lines} all */
function drawDepth(all) {
  const line = all.get('beside 1,000,000')
  if (line === undefined) return null
  const names = Object.keys(line.figures).flatMap((name) => /^(.*): empty claim, p50$/.exec(name)?.[1] ?? [])
  const claims = Object.keys(line.figures).flatMap((name) => /^empty: (.*), p50$/.exec(name)?.[1] ?? [])
  return bars({
    title: 'The time of a claim, beside a million jobs of a state',
    unit: 'ms',
    categories: names,
    groups: claims.map((claim) => ({
      name: claim,
      figures: names.map((name) => line.figures[`${name}: ${claim}, p50`]),
    })),
  })
}

/** @param {Lines} all */
function drawHeldXmin(all) {
  const { series } = all.get('800 jobs a second') ?? {}
  if (series === undefined) return null
  return lines({
    title: 'A transaction is left open while 800 jobs a second come and go',
    rows: [
      { title: 'jobs/s', series: { throughput: series.throughput } },
      { title: 'ms', series: { claim: series.claim } },
      { title: 'ms', series: { 'put to start, p50': series['put to start, p50'] } },
      { title: 'jobs', series: { backlog: series.backlog } },
      { title: 'rows', series: { 'dead rows': series['dead rows'] } },
    ],
  })
}
