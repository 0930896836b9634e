/**
 * A transaction with an id is left open all along, while jobs come and go: what died since cannot be vacuumed, and
 * every claim meets it. Throughput, backlog, dead rows and the time of a claim as time goes by; and before it, the same
 * without.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { migrate, runsOf, startConsumer, stopAll } from './measure/consumers.mjs'
import { demandOnce, untilDone } from './measure/once.mjs'
import { putAtPace, startProducer } from './measure/producers.mjs'
import { untilAsleep } from './measure/sleepers.mjs'
import { between, claimsOf, startCountingServer, statementCounts } from './measure/statements.mjs'
import { openTransaction } from './measure/transaction.mjs'
import { median, quantile } from './statistics.mjs'

export const tries = 1
export const cases = ['800 jobs a second']

const queue = 'held'

/**
 * @typedef {object} Sample
 * @property {number} atS since the start of the phase
 * @property {number} runs in all
 * @property {number} sent in all: a put that waits for the server counts as well
 * @property {number} runsPerSecond since the sample before
 * @property {number} backlog
 * @property {number} claimMs the mean of the claims since the sample before, in the server; NaN: there was none
 * @property {number} deadRows
 * @property {number} tableMb with its indexes
 *
 * @typedef {{ samples: Sample[], p50: number[], p99: number[], behindMs: number }} Phase the quantiles of the
 *   latency for each sample; and how late the producer was at most
 * @typedef {{ without: Phase, held: Phase, backlogGoneS: number }} Measured
 */

/**
 * @param {import('./scenarios.mjs').RunOptions} options
 * @returns {AsyncIterable<import('./scenarios.mjs').Result>}
 */
export async function* run({ tries: wanted, isSmoke, seconds = isSmoke ? 3 : 180, tell }) {
  const perSecond = isSmoke ? 200 : 800
  const baselineSeconds = isSmoke ? 2 : 20
  const sampleMs = isSmoke ? 500 : 2_000
  /** @type {Measured[]} */
  const all = []
  const server = await startCountingServer()
  try {
    for (let number = 0; number < wanted; number += 1) {
      all.push(await runOnce(server, { perSecond, baselineSeconds, seconds, sampleMs, tell }))
    }
  } finally {
    await server.stop()
  }
  yield {
    case: cases[0] ?? '',
    settings: {
      putsPerSecond: perSecond,
      seconds,
      secondsBefore: baselineSeconds,
      handler: 'no-op',
      bugle: 'defaults (10 slots), one process',
      server: server.settings,
    },
    figures: figuresOf(all, perSecond),
    ratios: [
      { name: 'throughput to what is put', of: 'throughput, held', to: 'puts', wanted: '>= 0.99' },
      { name: 'backlog to allowed', of: 'backlog at the end', to: 'backlog allowed', wanted: '< 1' },
      { name: 'claim at the end to without', of: 'claim, at the end', to: 'claim, without' },
    ],
    series: seriesOf(all.at(-1)?.held),
  }
}

/**
 * @param {import('./server.mjs').Server} server
 * @param {{ perSecond: number, baselineSeconds: number, seconds: number, sampleMs: number, tell: (text: string) => void
 *   }} what
 */
async function runOnce(server, { perSecond, baselineSeconds, seconds, sampleMs, tell }) {
  const database = await server.freshDatabase('held')
  await migrate(database.url)
  const consumer = await startConsumer({ url: database.url, queues: [queue] })
  const producer = startProducer(database.url, queue)
  await untilAsleep(database, 1)
  const parts = { server, database, consumer, producer, perSecond, sampleMs, tell }
  const { put: warmUp } = await putAtPace(producer, { perSecond, seconds: 1 })
  await untilDone(database, { consumers: [consumer], expected: warmUp })
  const without = await measurePhase(parts, baselineSeconds)
  await untilDone(database, { consumers: [consumer], expected: await producer.ask('count') })
  // Or what died before would be held as well.
  await database.tidy()
  const other = await openTransaction(database.url)
  const held = await measurePhase(parts, seconds)
  await other.end()
  const put = await producer.ask('count')
  const endedAt = performance.now()
  await untilDone(database, { consumers: [consumer], expected: put, withinMs: 600_000 })
  const backlogGoneS = (performance.now() - endedAt) / 1_000
  await demandOnce(database, { expected: put, runs: [await runsOf(consumer)] })
  await stopAll([consumer, producer])
  await database.drop()
  return { without, held, backlogGoneS }
}

/**
 * @param {{ server: import('./server.mjs').Server, database: import('./server.mjs').Database,
 *   consumer: import('./processes.mjs').Child, producer: import('./processes.mjs').Child, perSecond: number,
 *   sampleMs: number, tell: (text: string) => void }} parts
 * @param {number} seconds
 * @returns {Promise<Phase>}
 */
async function measurePhase({ server, database, consumer, producer, perSecond, sampleMs, tell }, seconds) {
  const from = performance.now()
  /** @type {Sample[]} */
  const samples = []
  const firstRun = (await count()).runs
  const putting = putAtPace(producer, { perSecond, seconds })
  // Whoever throws first below: this one is told of at the end.
  putting.catch(() => {})
  let counts = await statementCounts(server, database)
  let before = await count()
  let beforeAt = from
  // None reaches beyond the last put.
  while (performance.now() + sampleMs <= from + seconds * 1_000) {
    await sleep(sampleMs)
    const now = await count()
    const at = performance.now()
    const newCounts = await statementCounts(server, database)
    const claims = claimsOf(between(counts, newCounts))
    const [row] = await database.query(
      `select n_dead_tup::int as dead, pg_total_relation_size(relid)::float8 / 1048576 as mb
       from pg_stat_user_tables
       where relname = 'job'`,
    )
    samples.push({
      ...now,
      atS: (at - from) / 1_000,
      runsPerSecond: ((now.runs - before.runs) * 1_000) / (at - beforeAt),
      backlog: Math.max(0, now.sent - now.runs),
      claimMs: claims.ms / claims.calls,
      deadRows: row.dead,
      tableMb: row.mb,
    })
    counts = newCounts
    before = now
    beforeAt = at
    if (samples.length % 10 === 0) {
      tell(`held-xmin ${((at - from) / 1_000).toFixed(0)} s: claim ${samples.at(-1)?.claimMs.toFixed(2)} ms`)
    }
  }
  const { behindMs } = await putting
  const { waitsMs } = await runsOf(consumer)
  const waits = samples.map(({ runs: until }, index) =>
    Array.from(waitsMs.subarray(samples[index - 1]?.runs ?? firstRun, until)),
  )
  return { samples, p50: waits.map((one) => median(one)), p99: waits.map((one) => quantile(one, 0.99)), behindMs }

  async function count() {
    const [{ runs }, sent] = await Promise.all([consumer.ask('count'), producer.ask('count')])
    return { runs, sent }
  }
}

/**
 * @param {readonly Measured[]} all
 * @param {number} perSecond
 * @returns {import('./scenarios.mjs').Result['figures']}
 */
function figuresOf(all, perSecond) {
  const of = (/** @type {string} */ unit, /** @type {(one: Measured) => number} */ value) => ({
    unit,
    values: all.map(value),
  })
  return {
    puts: { unit: 'jobs/s', values: [perSecond] },
    'producer behind, at most': of('ms', ({ held }) => held.behindMs),
    'throughput, without': of('jobs/s', ({ without }) => pace(without.samples)),
    'throughput, held': of('jobs/s', ({ held }) => pace(held.samples)),
    'claim, without': of('ms', ({ without }) => medianClaim(without.samples)),
    'claim, at the start': of('ms', ({ held }) => medianClaim(tenth(held.samples, 'first'))),
    'claim, at the end': of('ms', ({ held }) => medianClaim(tenth(held.samples, 'last'))),
    'put to start, p50, without': of('ms', ({ without }) => median(without.p50)),
    'put to start, p50, at the end': of('ms', ({ held }) => median(tenth(held.p50, 'last'))),
    'put to start, p99, without': of('ms', ({ without }) => median(without.p99)),
    'put to start, p99, at the end': of('ms', ({ held }) => median(tenth(held.p99, 'last'))),
    'backlog at the end': of('jobs', ({ held }) => median(tenth(held.samples, 'last').map(({ backlog }) => backlog))),
    'backlog gone, after the transaction': of('s', ({ backlogGoneS }) => backlogGoneS),
    // What comes in a second.
    'backlog allowed': { unit: 'jobs', values: [perSecond] },
    'dead rows at the end': of('rows', ({ held }) => held.samples.at(-1)?.deadRows ?? Number.NaN),
    'table and indexes at the end': of('MB', ({ held }) => held.samples.at(-1)?.tableMb ?? Number.NaN),
  }
}

/** @param {readonly Sample[]} samples */
function pace(samples) {
  const [first, last] = [samples[0], samples.at(-1)]
  if (first === undefined || last === undefined) return Number.NaN
  return (last.runs - first.runs) / (last.atS - first.atS)
}

/** @param {readonly Sample[]} samples */
function medianClaim(samples) {
  return median(samples.map(({ claimMs }) => claimMs).filter(Number.isFinite))
}

/**
 * @template T
 * @param {readonly T[]} values
 * @param {'first' | 'last'} which
 */
function tenth(values, which) {
  const size = Math.max(1, Math.ceil(values.length / 10))
  return which === 'first' ? values.slice(0, size) : values.slice(-size)
}

/** @param {Phase | undefined} phase */
function seriesOf(phase) {
  if (phase === undefined) return {}
  const x = phase.samples.map(({ atS }) => atS)
  const series = (/** @type {readonly number[]} */ y, /** @type {string} */ yUnit) => ({ x, y, xUnit: 's', yUnit })
  const of = (/** @type {keyof Sample} */ name, /** @type {string} */ unit) =>
    series(
      phase.samples.map((sample) => sample[name]),
      unit,
    )
  return {
    throughput: of('runsPerSecond', 'jobs/s'),
    backlog: of('backlog', 'jobs'),
    'dead rows': of('deadRows', 'rows'),
    claim: of('claimMs', 'ms'),
    'table and indexes': of('tableMb', 'MB'),
    'put to start, p50': series(phase.p50, 'ms'),
    'put to start, p99': series(phase.p99, 'ms'),
  }
}
