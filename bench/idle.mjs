/**
 * What a process asks of the database, and what it costs, while there is nothing to do: with 1, 10, 100 and 1,000
 * queues, and with two transactions open all along: one that has written to another table of the same database, and one
 * in another database of the server. Such ones hold back what snapshots can prove, so falling asleep takes another way;
 * they must not keep anybody awake. After that a job is put now and then into one of the queues, whichever: how soon it
 * starts must not depend on how many there are.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { createBugle } from '../dist/index.js'
import { migrate, runsOf, startConsumer, stopAll } from './measure/consumers.mjs'
import { backendCpu, cpuBetween } from './measure/cpu.mjs'
import { counted } from './measure/figures.mjs'
import { untilAsleep } from './measure/sleepers.mjs'
import { allCalls, between, startCountingServer, statementCounts } from './measure/statements.mjs'
import { openTransaction } from './measure/transaction.mjs'
import { nowMs } from './processes.mjs'
import { median } from './statistics.mjs'

export const tries = 2
const queueCounts = [1, 10, 100, 1_000]
/** Between two jobs. */
const pauseMs = 50
const withTransactions = ', transactions open'
export const cases = ['', withTransactions].flatMap((suffix) =>
  queueCounts.map((count) => `${titleOf(count)}${suffix}`),
)

export const smokeCases = cases.filter((name) => name.startsWith('10 '))

/**
 * @typedef {{ statements: number, processMs: number, serverMs: number, byName: Record<string, number>, p50: number }}
 * Measured
 */

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
  /** What was measured with ten queues, beside a case of many. @param {string} name */
  const tenBeside = (name) => measured.get(name.replace(titleOf(1_000), titleOf(10)))?.map(({ p50 }) => p50)
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
        'processor time of the process': { unit: 'ms/s', values: all.map(({ processMs }) => processMs) },
        ...(all.every(({ serverMs }) => Number.isFinite(serverMs)) && {
          "processor time of the server's sessions": { unit: 'ms/s', values: all.map(({ serverMs }) => serverMs) },
        }),
        'put to start, p50': { unit: 'ms', values: all.map(({ p50 }) => p50) },
        ...(isOfMany(name) && tenBeside(name) && { [ofTen]: { unit: 'ms', values: tenBeside(name) ?? [] } }),
      },
      ratios: [
        { name: 'statements per second', of: 'all statements', wanted: isOfMany(name) ? '< 3' : '< 1' },
        ...(isOfMany(name)
          ? [{ name: 'p50 to that of 10 queues', of: 'put to start, p50', to: ofTen, wanted: '<= 2' }]
          : []),
      ],
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
  /** @type {number[]} */
  const p50s = []
  for (const sleeper of sleepers) p50s.push(await putToStart(sleeper, isSmoke ? 5 : 50))
  for (const { consumer, database, transaction } of sleepers) {
    await stopAll([consumer])
    await transaction?.end()
    await database.drop()
  }
  return measured.map((one, index) => ({ ...one, p50: p50s[index] ?? Number.NaN }))
}

/**
 * One job at a time, each into any of the queues, and a pause before the next.
 *
 * @param {Awaited<ReturnType<typeof fallAsleep>>} sleeper
 * @param {number} jobs
 * @returns {Promise<number>} from the put to the handler's start, p50 in ms
 */
async function putToStart({ database, consumer, queues }, jobs) {
  const bugle = createBugle({ connectionString: database.url, name: 'bench producer' })
  try {
    for (let put = 1; put <= jobs; put += 1) {
      await bugle.put(queues[Math.floor(Math.random() * queues.length)] ?? '', { putAt: nowMs() })
      while ((await consumer.ask('count')).runs < put) await sleep(2)
      await sleep(pauseMs)
    }
  } finally {
    await bugle.close()
  }
  return median([...(await runsOf(consumer)).waitsMs])
}

/** @param {import('./server.mjs').Server} server @param {number} queueCount @param {boolean} hasTransaction */
async function fallAsleep(server, queueCount, hasTransaction) {
  const database = await server.freshDatabase('idle')
  await migrate(database.url)
  const transaction = hasTransaction ? await openTransaction(database.url) : undefined
  const queues = Array.from({ length: queueCount }, (_, number) => `queue ${number + 1}`)
  const consumer = await startConsumer({ url: database.url, queues })
  await untilAsleep(database, queueCount)
  return { database, consumer, transaction, queues }
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
 * @returns {Omit<Measured, 'p50'>}
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

const ofTen = 'put to start, p50, 10 queues'

/** @param {string} name of a case */
function isOfMany(name) {
  return name.startsWith(titleOf(1_000))
}

/** @param {number} queueCount */
function titleOf(queueCount) {
  return counted(queueCount, 'queue', 'queues')
}
