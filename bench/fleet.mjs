/**
 * Many processes with spare slots on one queue, at 1,000 single inserts a second; and one process at the same rate.
 *
 * Each insert finds somebody idle. What must not happen is that all of them wake for it: what a herd costs is claims that find
 * nothing, notifications (each takes a lock around its commit), and latency.
 */

import { migrate, runsOf, startConsumers, stopAll } from './measure/consumers.mjs'
import { addValue } from './measure/figures.mjs'
import { demandOnce, untilDone } from './measure/once.mjs'
import { untilAsleep } from './measure/sleepers.mjs'
import { between, claimsOf, startCountingServer, statementCounts } from './measure/statements.mjs'
import { spawnChild } from './processes.mjs'
import { quantiles } from './statistics.mjs'

export const tries = 3
export const cases = ['1,000 inserts a second']

const queue = 'fleet'
/** Enough for one process alone to have some to spare at this rate. */
const slots = 24

/**
 * @param {import('./scenarios.mjs').RunOptions} options
 * @returns {AsyncIterable<import('./scenarios.mjs').Result>}
 */
export async function* run({ tries: wanted, isSmoke, seconds = isSmoke ? 1 : 10, tell }) {
  const perSecond = isSmoke ? 200 : 1_000
  const fleet = isSmoke ? 3 : 16
  /** @type {import('./measure/figures.mjs').Figures} */
  const figures = {}
  const server = await startCountingServer()
  try {
    for (let number = 0; number < wanted; number += 1) {
      for (const processes of number % 2 === 0 ? [1, fleet] : [fleet, 1]) {
        const measured = await runOnce(server, { processes, perSecond, seconds })
        for (const [name, [unit, value]] of Object.entries(measured)) {
          addValue(figures, `${nameOf(processes)}: ${name}`, unit, value)
        }
        tell(`fleet ${number + 1}: ${nameOf(processes)}: p99 ${measured['put to start, p99'][1].toFixed(1)} ms`)
      }
    }
    figures.allowed = { unit: 'claims/job', values: [1] }
    yield {
      case: cases[0] ?? '',
      settings: {
        processes: [1, fleet],
        putsPerSecond: perSecond,
        seconds,
        arrivals: 'evenly spaced, from one process by put(), open loop',
        handler: 'no-op',
        bugle: `defaults, ${slots} slots a process`,
        postgresql: { version: server.version, ...server.settings },
      },
      figures,
      ratios: [
        {
          name: `empty claims per job, ${nameOf(fleet)}`,
          of: `${nameOf(fleet)}: empty claims per job`,
          to: 'allowed',
          wanted: '< 1',
        },
        {
          name: `p99, ${nameOf(fleet)} to 1`,
          of: `${nameOf(fleet)}: put to start, p99`,
          to: '1 process: put to start, p99',
          wanted: '<= 5',
        },
      ],
      notes: ['A claim that started nothing is an empty one; jobs of one claim start in one turn of the event loop.'],
    }
  } finally {
    await server.stop()
  }
}

/**
 * @param {import('./server.mjs').Server} server
 * @param {{ processes: number, perSecond: number, seconds: number }} what
 */
async function runOnce(server, { processes, perSecond, seconds }) {
  const database = await server.freshDatabase('fleet')
  await migrate(database.url)
  const consumers = await startConsumers(processes, { url: database.url, queues: [queue], concurrency: slots })
  const producer = spawnChild(new URL('./children/producer.mjs', import.meta.url), {
    url: database.url,
    queue,
    poolSize: 20,
  })
  await untilAsleep(database, processes)
  // A second of the same beforehand: connections, code that is compiled, processes that know each other's pace.
  const warmUp = await producer.ask('pace', { perSecond, seconds: 1 })
  await untilDone(database, { consumers, expected: warmUp.put })
  const [{ channel }] = await database.query(`select 'bugle_' || 'bugle.job'::regclass::oid as channel`)
  let notified = 0
  // Each is one commit's: here, one insert's.
  await database.listen(channel, () => {
    notified += 1
  })
  const batchesBefore = await batchesOf(consumers)
  const countsBefore = await statementCounts(server, database)
  const warmUpRuns = (await Promise.all(consumers.map(runsOf))).map(({ ids }) => ids.length)

  const { put } = await producer.ask('pace', { perSecond, seconds })
  const puts = quantiles((await producer.ask('putsMs')).subarray(warmUp.put))
  await untilDone(database, { consumers, expected: warmUp.put + put })

  const claims = claimsOf(between(countsBefore, await statementCounts(server, database))).calls
  const batches = (await batchesOf(consumers)) - batchesBefore
  const runs = await Promise.all(consumers.map(runsOf))
  await demandOnce(database, { expected: warmUp.put + put, runs })
  await stopAll([...consumers, producer])
  await database.drop()

  const waits = quantiles(runs.flatMap(({ waitsMs }, index) => [...waitsMs.subarray(warmUpRuns[index])]))
  return /** @type {const} */ ({
    'put to start, p50': ['ms', waits.p50],
    'put to start, p99': ['ms', waits.p99],
    'put to start, max': ['ms', waits.max],
    // A part of the former: nothing can start before it is committed.
    'put, p50': ['ms', puts.p50],
    'put, p99': ['ms', puts.p99],
    'claims per job': ['claims/job', claims / put],
    'empty claims per job': ['claims/job', (claims - batches) / put],
    'notified inserts': ['per job', notified / put],
  })
}

/** @param {readonly import('./processes.mjs').Child[]} consumers */
async function batchesOf(consumers) {
  const counts = await Promise.all(consumers.map((consumer) => consumer.ask('count')))
  return counts.reduce((sum, { batches }) => sum + batches, 0)
}

/** @param {number} processes */
function nameOf(processes) {
  return processes === 1 ? '1 process' : `${processes} processes`
}
