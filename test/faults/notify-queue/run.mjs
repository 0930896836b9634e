import { setTimeout as sleep } from 'node:timers/promises'
import { runJournaled } from '../journaled.mjs'
import { createRandom } from '../random.mjs'
import { untilTrue, within } from '../within.mjs'
import { startCrew } from './crew.mjs'
import { fillNotifyQueue, settings } from './full-queue.mjs'
import { judge } from './judge.mjs'
import { startWriters } from './writers.mjs'

/**
 * Short, so that rescues happen within a run, and jobs start before a listener finds out that it is deaf: until then
 * a sweep comes every 30 s by default.
 */
const options = { rescueAfterMs: 2_000, hungAfterMs: 20_000, maxCrashes: 1_000, sweepMs: 1_000 }
const workers = 3
/**
 * After the last harm, until every job has ended by sweeps: a worker that began beside the full queue holds no presence
 * lock, and its death is noticed after a minute.
 */
const drainMs = 90_000
/** Of the stop at the end. */
const times = { graceMs: 3_000, abortMs: 1_000 }

/**
 * The server's NOTIFY queue is full, all the time, while jobs are put, throw, are retried, released, promoted, requeued
 * and rescued, and workers are stopped and killed. Every write must succeed, and every job end as its handler says:
 * a wake-up that cannot be sent is late, and nothing else.
 *
 * @param {import('../verdict.mjs').RunParts} parts
 */
export function runNotifyQueue({ seed, seconds, putsPerSecond, snapshot, tell }) {
  const serverSettings = { max_connections: 200, ...settings }
  return runJournaled({ snapshot, tell }, serverSettings, async (own) => {
    const { createBugle, server, journal, path, log, violation, cleanups } = own
    const { connectionString } = server
    const bugle = createBugle({ connectionString, name: 'producer', logger: { info: log, warn: log, error: log } })
    cleanups.push(() =>
      within(10_000, bugle.close(), 'the close of the producer').catch((error) => violation(error.message)),
    )
    await bugle.migrate()
    const args = { bugleUrl: snapshot.bugleUrl, connectionString, journal: path, options }
    const crew = startCrew({ workers, args, journal, random: createRandom(seed * 3 + 1), log, violation })
    cleanups.push(crew.killAll)
    await crew.started()
    // All of them asleep under their locks, which is where writers notify.
    await sleep(1_000)
    const queue = await fillNotifyQueue(connectionString)
    cleanups.push(queue.end)
    log('the NOTIFY queue is full')
    const random = createRandom(seed * 3)
    const writers = startWriters({ bugle, connectionString, putsPerSecond, journal, random, violation })
    cleanups.push(writers.end)

    const ended = AbortSignal.timeout(seconds * 1_000)
    await Promise.all([writers.run(ended), crew.harm(ended), watch(queue, ended, violation)])
    log('no more puts, no more harm')
    await crew.started()
    const drainedFrom = performance.now()
    if (!(await untilTrue(drainMs, async () => (await writers.left()).length === 0))) {
      violation(`not drained ${drainMs} ms after the last put: ${JSON.stringify(await writers.left())}`)
    }
    const drainedMs = performance.now() - drainedFrom
    const lack = await queue.lack()
    if (lack !== null) violation(`the NOTIFY queue was not full to the end: ${lack}`)
    await crew.stopAll(times)

    const account = judge({ put: writers.put, entries: journal.read(), ends: await writers.ends() })
    for (const one of account.violations) violation(one)
    const { runs, cut, lateMs } = account.figures
    const sorted = lateMs.toSorted((one, other) => one - other)
    const quantile = (/** @type {number} */ share) => Math.round(sorted[Math.floor(share * sorted.length)] ?? 0)
    return (
      `${writers.put.size} jobs put, ${writers.refused} puts refused, ${runs} runs, ${cut} cut by a kill; ` +
      `first runs late by ${quantile(0.5)} / ${quantile(0.99)} / ${Math.round(sorted.at(-1) ?? 0)} ms ` +
      `(p50, p99, most); drained ${(drainedMs / 1_000).toFixed(1)} s after the last put`
    )
  })
}

/**
 * Each second: were it not full for a moment, nothing would be shown.
 *
 * @param {Awaited<ReturnType<typeof fillNotifyQueue>>} queue
 * @param {AbortSignal} ended
 * @param {(text: string) => void} violation
 */
async function watch(queue, ended, violation) {
  while (!ended.aborted) {
    const lack = await queue.lack()
    if (lack !== null) violation(`the NOTIFY queue is not full: ${lack}`)
    await sleep(1_000, undefined, { signal: ended }).catch(() => {})
  }
}
