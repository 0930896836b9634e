/**
 * Large jobs, default options, and a heap of 256 MB (`--max-old-space-size`): what is claimed ahead must be bounded in
 * bytes, not in jobs. All must run; a process that is out of memory ends, and the scenario fails.
 */
import { migrate, runsOf, startConsumer, stopAll } from '../measure/consumers.mjs'
import { addValue } from '../measure/figures.mjs'
import { fillLarge } from '../measure/fill.mjs'
import { demandOnce, untilDone } from '../measure/once.mjs'
import { nowMs } from '../processes.mjs'

/** Half of it where there are a quarter of the jobs. @param {boolean} isSmoke */
const heapMbOf = (isSmoke) => (isSmoke ? 128 : 256)
const sizes = new Map([
  ['4,000 jobs of 250 KB', { jobs: 4_000, bytes: 250_000 }],
  ['1,500 jobs of 1 MB', { jobs: 1_500, bytes: 1_000_000 }],
])
export const cases = [...sizes.keys()]

const queue = 'memory'

/**
 * @param {import('../scenarios.mjs').RunOptions} options
 * @returns {AsyncIterable<import('../scenarios.mjs').Result>}
 */
export async function* run({ tries, cases: chosen, isSmoke, jobs: asked, tell, server: serverOf }) {
  const server = await serverOf()
  for (const name of chosen) {
    const size = sizes.get(name) ?? { jobs: 0, bytes: 0 }
    const jobs = asked ?? (isSmoke ? size.jobs / 4 : size.jobs)
    const heapMb = heapMbOf(isSmoke)
    /** @type {import('../measure/figures.mjs').Figures} */
    const figures = {}
    for (let number = 0; number < tries; number += 1) {
      const { peakMb, ms } = await runOnce(server, { jobs, bytes: size.bytes, heapMb })
      addValue(figures, 'resident at most', 'MB', peakMb)
      addValue(figures, 'all done after', 'ms', ms)
      addValue(figures, 'bytes', 'MB/s', (jobs * size.bytes) / 1_000 / ms)
      tell(`memory ${number + 1}: ${name}: ${peakMb.toFixed(0)} MB at most, ${(ms / 1_000).toFixed(1)} s`)
    }
    yield {
      case: name,
      settings: {
        jobs,
        payloadBytes: size.bytes,
        payload: 'one letter again and again: small in the table, large on its way and in memory',
        handler: 'no-op',
        bugle: 'defaults (10 slots)',
        node: `--max-old-space-size=${heapMb}`,
        server: server.settings,
      },
      figures,
    }
  }
}

/**
 * @param {import('../server.mjs').Server} server
 * @param {{ jobs: number, bytes: number, heapMb: number }} what
 */
async function runOnce(server, { jobs, bytes, heapMb }) {
  const database = await server.freshDatabase('memory')
  try {
    await migrate(database.url)
    await fillLarge(database, { queue, jobs, bytes })
    await database.tidy()
    const startedAt = nowMs()
    const consumer = await startConsumer(
      { url: database.url, queues: [queue] },
      { execArgv: [`--max-old-space-size=${heapMb}`] },
    )
    await untilDone(database, { consumers: [consumer], expected: jobs, withinMs: 300_000 })
    const ms = nowMs() - startedAt
    const { peakRssMb } = await consumer.ask('count')
    await demandOnce(database, { expected: jobs, runs: [await runsOf(consumer)] })
    await stopAll([consumer])
    return { peakMb: peakRssMb, ms }
  } finally {
    await database.drop()
  }
}
