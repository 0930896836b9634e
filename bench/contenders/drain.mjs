import { countCosts, deadRows } from '../measure/costs.mjs'
import { nowMs } from '../processes.mjs'
import { openRun } from './run.mjs'

/**
 * One contender works off a backlog: from the word to consume until the last completion is in the database.
 *
 * @param {import('../server.mjs').Server} server
 * @param {string} name
 * @param {import('./run.mjs').Shape} shape
 */
export async function drain(server, name, shape) {
  const run = await openRun(server, name, shape)
  try {
    await run.producer.ask('load', { from: 0, to: shape.jobs })
    await run.database.tidy()
    const costsUpToNow = await countCosts(server, run.database)
    const startedAt = nowMs()
    run.start()
    await run.untilRan(shape.jobs)
    const doneAt = await run.untilNothingLeft()
    const { walBytes, serverMs } = await costsUpToNow()
    await run.stop()
    const { cpuMs } = await run.proveOnce(shape.jobs)
    await run.endProcesses()
    const dead = await deadRows(run.database)
    const usPerJob = (/** @type {number} */ of) => ({ unit: 'us/job', value: (of * 1_000) / shape.jobs })
    return {
      ms: doneAt - startedAt,
      costs: {
        WAL: { unit: 'B/job', value: walBytes / shape.jobs },
        'dead rows': { unit: 'per job', value: dead / shape.jobs },
        server: usPerJob(serverMs),
        client: usPerJob(cpuMs),
      },
    }
  } finally {
    await run.end()
  }
}
