/**
 * 64 processes asleep on one queue, and one insert every 400 ms: how many statements each of them costs, beyond what
 * the processes send while nothing happens.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { migrate, runsOf, startConsumers } from '../measure/consumers.mjs'
import { addValue, processesName } from '../measure/figures.mjs'
import { countNotifications } from '../measure/notifications.mjs'
import { untilDone } from '../measure/once.mjs'
import { putAtPace, startProducer } from '../measure/producers.mjs'
import { untilAsleep } from '../measure/sleepers.mjs'
import { allCalls, between, claimsOf, startCountingServer, statementCounts } from '../measure/statements.mjs'
import { endFleet } from './end.mjs'

export const cases = ['an insert every 400 ms']

const queue = 'fleet'
const perSecond = 2.5
/** Statements that come more seldom are not told one by one. */
const leastShown = 0.1
/** On two processors they take a minute to start. */
const startMs = 300_000

/**
 * @param {import('../scenarios.mjs').RunOptions} options
 * @returns {AsyncIterable<import('../scenarios.mjs').Result>}
 */
export async function* run({ tries, isSmoke, seconds = isSmoke ? 2 : 20, tell }) {
  const processes = isSmoke ? 3 : 64
  /** @type {import('../measure/figures.mjs').Figures} */
  const figures = {}
  const server = await startCountingServer({ max_connections: 1_000 })
  try {
    for (let number = 0; number < tries; number += 1) {
      const measured = await runOnce(server, { processes, seconds })
      for (const [name, [unit, value]] of Object.entries(measured)) addValue(figures, name, unit, value)
      const [, statements = Number.NaN] = measured['statements per job'] ?? []
      tell(`fleet ${number + 1}: ${processesName(processes)}: ${statements.toFixed(1)} statements a job`)
    }
    yield {
      case: cases[0] ?? '',
      settings: {
        processes,
        putsPerSecond: perSecond,
        seconds,
        handler: 'no-op',
        bugle: 'defaults (10 slots a process)',
        server: server.settings,
      },
      figures: { ...figures, allowed: { unit: 'statements/job', values: [20] } },
      ratios: [{ name: 'statements per job', of: 'statements per job', to: 'allowed', wanted: '<= 1' }],
      notes: ['Statements of all sessions but the producer; those of an idle time of the same length are taken off.'],
    }
  } finally {
    await server.stop()
  }
}

/**
 * @param {import('../server.mjs').Server} server
 * @param {{ processes: number, seconds: number }} what
 */
async function runOnce(server, { processes, seconds }) {
  const database = await server.freshDatabase('fleet')
  await migrate(database.url)
  const consumers = await startConsumers(processes, { url: database.url, queues: [queue] })
  const producer = startProducer(database.url, queue)
  await untilAsleep(database, processes, { withinMs: startMs })
  const notified = await countNotifications(database)
  // The producer's first connection, and processes that know each other's pace.
  const warmUp = await putAtPace(producer, { perSecond, seconds: 2 })
  await untilDone(database, { consumers, expected: warmUp.put })
  const warmUpRuns = (await Promise.all(consumers.map(runsOf))).map(({ ids }) => ids.length)
  await notified()

  const before = await statementCounts(server, database)
  await sleep(seconds * 1_000)
  const idle = between(before, await statementCounts(server, database))
  const { put } = await putAtPace(producer, { perSecond, seconds })
  await untilDone(database, { consumers, expected: warmUp.put + put })
  const all = between(before, await statementCounts(server, database))
  const notifications = await notified()

  const waits = await endFleet(database, { consumers, producer, expected: warmUp.put + put, warmUpRuns })
  return /** @type {Record<string, readonly [unit: string, value: number]>} */ ({
    'statements per job': ['statements/job', (allCalls(all) - 2 * allCalls(idle)) / put - 1],
    'claims per job': ['claims/job', (claimsOf(all).calls - 2 * claimsOf(idle).calls) / put],
    'notified inserts': ['per job', notifications / put],
    'idle: statements of a process': ['per second', allCalls(idle) / seconds / processes],
    'put to start, p50': ['ms', waits.p50],
    'put to start, p99': ['ms', waits.p99],
    ...Object.fromEntries(
      [...all].flatMap(([name, { calls }]) => {
        const perJob = (calls - 2 * (idle.get(name)?.calls ?? 0)) / put
        return perJob < leastShown ? [] : [[`${name} per job`, ['statements/job', perJob]]]
      }),
    ),
  })
}
