/**
 * What a process asks of the database, and what it costs, while there is nothing to do: with 1, 10, 100 and 1,000
 * queues, and with two transactions open all along: one that has written to another table of the same database, and one
 * in another database of the server. Such ones hold back what snapshots can prove, so falling asleep takes another way;
 * they must not keep anybody awake.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { migrate, startConsumer, stopAll } from './measure/consumers.mjs'
import { backendCpu, cpuBetween } from './measure/cpu.mjs'
import { counted } from './measure/figures.mjs'
import { untilAsleep } from './measure/sleepers.mjs'
import { allCalls, between, startCountingServer, statementCounts } from './measure/statements.mjs'
import { openTransaction } from './measure/transaction.mjs'

export const tries = 2
const queueCounts = [1, 10, 100, 1_000]
const withTransactions = ', transactions open'
export const cases = ['', withTransactions].flatMap((suffix) =>
  queueCounts.map((count) => `${titleOf(count)}${suffix}`),
)

export const smokeCases = cases.filter((name) => name.startsWith('10 '))

/** @typedef {{ statements: number, processMs: number, serverMs: number, byName: Record<string, number> }} Measured */

/**
 * @param {import('./scenarios.mjs').RunOptions} options
 * @returns {AsyncIterable<import('./scenarios.mjs').Result>}
 */
export async function* run({ tries: wanted, cases: chosen, isSmoke, seconds = isSmoke ? 2 : 60, tell }) {
  /** @type {Map<string, Measured[]>} */
  const measured = new Map(chosen.map((name) => [name, []]))
  const server = await startCountingServer()
  try {
    for (let number = 0; number < wanted; number += 1) {
      for (const suffix of ['', withTransactions]) {
        const now = queueCounts.filter((count) => measured.has(`${titleOf(count)}${suffix}`))
        if (now.length === 0) continue
        const elsewhere = suffix === '' ? null : await openTransaction(server.url)
        const figures = await measure(server, now, { seconds, isSmoke, hasTransaction: elsewhere !== null })
        for (const [index, count] of now.entries()) {
          const figure = figures[index]
          if (figure) measured.get(`${titleOf(count)}${suffix}`)?.push(figure)
          tell(`idle ${number + 1}: ${titleOf(count)}${suffix}: ${figure?.statements.toFixed(2)} statements/s`)
        }
        await elsewhere?.end()
      }
    }
  } finally {
    await server.stop()
  }
  for (const [name, all] of measured) {
    yield {
      case: name,
      settings: {
        seconds,
        bugle: 'defaults, one process',
        server: server.settings,
      },
      figures: {
        'all statements': { unit: 'statements/s', values: all.map(({ statements }) => statements) },
        allowed: { unit: 'statements/s', values: [1] },
        'processor time of the process': { unit: 'ms/s', values: all.map(({ processMs }) => processMs) },
        ...(all.every(({ serverMs }) => Number.isFinite(serverMs)) && {
          "processor time of the server's sessions": { unit: 'ms/s', values: all.map(({ serverMs }) => serverMs) },
        }),
      },
      ratios: [{ name: 'statements a second', of: 'all statements', to: 'allowed', wanted: '< 1' }],
      notes: [
        `by statement, a second: ${Object.entries(all.at(-1)?.byName ?? {})
          .map(([statement, perSecond]) => `${statement} ${perSecond.toFixed(3)}`)
          .join(', ')}`,
      ],
    }
  }
}

/**
 * All at once, in databases of their own: they do next to nothing, and a look takes a minute.
 *
 * @param {import('./server.mjs').Server} server
 * @param {readonly number[]} counts of queues
 * @param {{ seconds: number, isSmoke: boolean, hasTransaction: boolean }} options
 */
async function measure(server, counts, { seconds, isSmoke, hasTransaction }) {
  const sleepers = []
  for (const count of counts) sleepers.push(await fallAsleep(server, count, hasTransaction))
  // What falling asleep costs is over then, also where it takes looks at other people's transactions.
  await sleep(isSmoke ? 500 : 8_000)
  const before = []
  for (const sleeper of sleepers) before.push(await look(server, sleeper))
  await sleep(seconds * 1_000)
  const measured = []
  for (const [index, sleeper] of sleepers.entries()) {
    const first = before[index]
    if (first) measured.push(difference(first, await look(server, sleeper)))
  }
  for (const { consumer, database, transaction } of sleepers) {
    await stopAll([consumer])
    await transaction?.end()
    await database.drop()
  }
  return measured
}

/** @param {import('./server.mjs').Server} server @param {number} queueCount @param {boolean} hasTransaction */
async function fallAsleep(server, queueCount, hasTransaction) {
  const database = await server.freshDatabase('idle')
  await migrate(database.url)
  const transaction = hasTransaction ? await openTransaction(database.url) : undefined
  const queues = Array.from({ length: queueCount }, (_, number) => `queue ${number + 1}`)
  const consumer = await startConsumer({ url: database.url, queues })
  await untilAsleep(database, queueCount)
  return { database, consumer, transaction }
}

/** @param {import('./server.mjs').Server} server @param {Awaited<ReturnType<typeof fallAsleep>>} sleeper */
async function look(server, { database, consumer }) {
  return {
    at: performance.now(),
    counts: await statementCounts(server, database),
    serverCpu: await backendCpu(server, database),
    processCpuMs: (await consumer.ask('count')).cpuMs,
  }
}

/**
 * @param {Awaited<ReturnType<typeof look>>} before
 * @param {Awaited<ReturnType<typeof look>>} after
 * @returns {Measured}
 */
function difference(before, after) {
  const took = (after.at - before.at) / 1_000
  const counts = between(before.counts, after.counts)
  return {
    statements: allCalls(counts) / took,
    processMs: (after.processCpuMs - before.processCpuMs) / took,
    serverMs: cpuBetween(before.serverCpu, after.serverCpu) / took,
    byName: Object.fromEntries([...counts].map(([name, { calls }]) => [name, calls / took])),
  }
}

/** @param {number} queueCount */
function titleOf(queueCount) {
  return counted(queueCount, 'queue', 'queues')
}
