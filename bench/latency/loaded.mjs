import { openRun, rotated } from '../contenders/run.mjs'
import { nowMs } from '../processes.mjs'
import { quantiles } from '../statistics.mjs'
import { oneByOne, quantileFigures } from './idle.mjs'

/** Of the contender's own maximum. */
export const shares = [0.25, 0.5, 0.75]

/** Of the producer. More of them only wait for each other on a small machine. */
const connections = 16
/** A flood's first part: the consumers are not at full speed yet. */
const rampMs = 1_000
/** More than anybody puts and runs here: a flood stops at it. */
const mostPerSecond = 25_000

/**
 * @param {import('../server.mjs').Server} server
 * @param {readonly string[]} names
 * @param {number} repeat
 * @param {{ seconds: number, idleSamples: number, slots: number, warmUpJobs: number }} options
 * @param {(text: string) => void} tell
 */
export async function measureLoaded(server, names, repeat, options, tell) {
  /** @type {import('./idle.mjs').Measured[]} */
  const measured = []
  for (const name of rotated(names, repeat)) measured.push(...(await loaded(server, name, options, tell)))
  return measured
}

/**
 * @param {import('../server.mjs').Server} server
 * @param {string} name
 * @param {{ seconds: number, idleSamples: number, slots: number, warmUpJobs: number }} options
 * @param {(text: string) => void} tell
 */
async function loaded(server, name, { seconds, idleSamples, slots, warmUpJobs }, tell) {
  const mostOfFlood = mostPerSecond * (seconds + 1)
  // The loads, a second more than they last: arrivals are random.
  const mostOfLoads = shares.reduce((sum, share) => sum + share * mostPerSecond * (seconds + 1), 0)
  const shape = { jobs: idleSamples + mostOfFlood + Math.ceil(mostOfLoads), slots, warmUpJobs, connections }
  const run = await openRun(server, name, shape)
  const { producer, database } = run
  /** @type {import('./idle.mjs').Measured[]} */
  const measured = []
  let next = 0

  /** @param {number} added */
  async function settled(added) {
    next += added
    await run.untilRan(next)
    await run.untilNothingLeft()
    const { startedAt } = await run.proveOnce(next)
    await database.tidy()
    return startedAt.subarray(next - added)
  }

  try {
    run.start()
    const idle = quantiles(await oneByOne(run, 0, idleSamples))
    measured.push(...quantileFigures(`${name} idle`, { p50: idle.p50, p99: idle.p99 }))
    await settled(idleSamples)

    const floodedAt = nowMs()
    const added = await producer.ask('flood', {
      from: next,
      most: mostOfFlood,
      seconds: seconds + 1,
      outstanding: connections,
    })
    const endedAt = nowMs()
    const fromAt = floodedAt + Math.min(rampMs, (endedAt - floodedAt) / 2)
    const starts = (await settled(added)).filter((at) => at >= fromAt && at < endedAt).length
    const max = (starts * 1_000) / (endedAt - fromAt)
    measured.push([`${name} max`, 'jobs/s', max])
    tell(`${name}: idle p50 ${idle.p50.toFixed(2)} ms; at most ${Math.round(max)} jobs/s of ${added} put`)

    for (const share of shares) {
      const { at } = await producer.ask('arrivals', { from: next, perSecond: max * share, seconds })
      const startedAt = await settled(at.length)
      const { p50, p95, p99 } = quantiles(startedAt.map((started, index) => started - at[index]))
      const label = `${name} at ${share * 100} %`
      measured.push(...quantileFigures(label, { p50, p95, p99 }))
      tell(`${label}: p50 ${p50.toFixed(2)} ms, p95 ${p95.toFixed(2)}, p99 ${p99.toFixed(2)}, ${at.length} jobs`)
    }
    await run.stop()
    return measured
  } finally {
    await run.end()
  }
}
