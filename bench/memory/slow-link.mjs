/**
 * Ten jobs of 1 MB for ten slots, over a link of 1 MB a second: a claim of them all is longer on its way than a
 * statement may take. All must run.
 */
import { migrate, runsOf, startConsumer, stopAll } from '../measure/consumers.mjs'
import { addValue } from '../measure/figures.mjs'
import { fillLarge } from '../measure/fill.mjs'
import { demandOnce, untilDone } from '../measure/once.mjs'
import { startSlowProxy } from '../measure/slow-proxy.mjs'
import { nowMs } from '../processes.mjs'

export const cases = ['ten jobs of 1 MB over 1 MB a second']

const queue = 'memory'
const bytes = 1_000_000
const usualBytesPerSecond = 1_000_000
/** Six times what the bytes alone take. */
const withinMs = 60_000

/**
 * @param {import('../scenarios.mjs').RunOptions} options
 * @returns {AsyncIterable<import('../scenarios.mjs').Result>}
 */
export async function* run({ tries, cases: chosen, isSmoke, jobs = isSmoke ? 3 : 10, tell, server: serverOf }) {
  const server = await serverOf()
  const bytesPerSecond = isSmoke ? 10 * usualBytesPerSecond : usualBytesPerSecond
  for (const name of chosen) {
    /** @type {import('../measure/figures.mjs').Figures} */
    const figures = {}
    for (let number = 0; number < tries; number += 1) {
      const { firstMs, ms } = await runOnce(server, { jobs, bytesPerSecond })
      addValue(figures, 'first done after', 'ms', firstMs)
      addValue(figures, 'all done after', 'ms', ms)
      tell(`memory ${number + 1}: ${name}: all done after ${(ms / 1_000).toFixed(1)} s`)
    }
    yield {
      case: name,
      settings: { jobs, payloadBytes: bytes, bytesPerSecond, bugle: 'defaults (10 slots)', server: server.settings },
      figures,
    }
  }
}

/**
 * @param {import('../server.mjs').Server} server
 * @param {{ jobs: number, bytesPerSecond: number }} what
 */
async function runOnce(server, { jobs, bytesPerSecond }) {
  const database = await server.freshDatabase('slow_link')
  const link = await startSlowProxy(database.url, bytesPerSecond)
  try {
    await migrate(database.url)
    const consumer = await startConsumer({ url: link.url, queues: [queue] })
    await fillLarge(database, { queue, jobs, bytes })
    const startedAt = nowMs()
    await untilDone(database, { consumers: [consumer], expected: 1, left: jobs, withinMs })
    const firstMs = nowMs() - startedAt
    await untilDone(database, { consumers: [consumer], expected: jobs, withinMs })
    const ms = nowMs() - startedAt
    await demandOnce(database, { expected: jobs, runs: [await runsOf(consumer)] })
    await stopAll([consumer])
    return { firstMs, ms }
  } finally {
    await link.close()
    await database.drop()
  }
}
