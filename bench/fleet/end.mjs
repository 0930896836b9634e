import { runsOf, stopAll } from '../measure/consumers.mjs'
import { demandOnce } from '../measure/once.mjs'
import { quantiles } from '../statistics.mjs'

/**
 * The end of a measurement: every job has run once, the processes are stopped, the database is gone.
 *
 * @param {import('../server.mjs').Database} database
 * @param {object} what
 * @param {readonly import('../processes.mjs').Child[]} what.consumers
 * @param {import('../processes.mjs').Child} what.producer
 * @param {number} what.expected jobs, those of the warm-up included
 * @param {readonly number[]} what.warmUpRuns how many each consumer had run before
 * @returns how long jobs waited from their put to their start, those of the warm-up apart
 */
export async function endFleet(database, { consumers, producer, expected, warmUpRuns }) {
  const runs = await Promise.all(consumers.map(runsOf))
  await demandOnce(database, { expected, runs })
  await stopAll([...consumers, producer])
  await database.drop()
  return quantiles(runs.flatMap(({ waitsMs }, index) => [...waitsMs.subarray(warmUpRuns[index])]))
}
