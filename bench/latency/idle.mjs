import { setTimeout as sleep } from 'node:timers/promises'
import { openRun, rotated } from '../contenders/run.mjs'
import { spawnChild } from '../processes.mjs'
import { quantiles } from '../statistics.mjs'

/** Long enough for every contender to write its result and to fall asleep again, and no regular beat. */
const pauseMs = { least: 8, most: 16 }
/** The first ones open connections and warm up what a warm-up by a drain has not. */
const before = 20
/** From a put to its start: more is a job that nobody runs. */
const lostMs = 60_000

/**
 * @typedef {[figure: string, unit: string, value: number]} Measured
 */

/**
 * @param {import('../server.mjs').Server} server
 * @param {readonly string[]} names
 * @param {number} repeat
 * @param {{ samples: number, slots: number, warmUpJobs: number }} options
 * @param {(text: string) => void} tell
 */
export async function measureIdle(server, names, repeat, { samples, slots, warmUpJobs }, tell) {
  /** @type {Measured[]} */
  const measured = []
  for (const name of rotated(names, repeat)) {
    const values =
      name === 'bare-insert'
        ? await bareInserts(server, samples)
        : await alone(server, name, { samples, slots, warmUpJobs })
    const { p50, p95, p99, max } = quantiles(values)
    tell(`${name}: p50 ${p50.toFixed(2)} ms, p95 ${p95.toFixed(2)}, p99 ${p99.toFixed(2)}, max ${max.toFixed(1)}`)
    measured.push(...quantileFigures(name, { p50, p95, p99, max }))
  }
  return measured
}

/**
 * @param {string} name
 * @param {Readonly<Record<string, number>>} values
 * @returns {Measured[]}
 */
export function quantileFigures(name, values) {
  return Object.entries(values).map(([quantile, value]) => [`${name} ${quantile}`, 'ms', value])
}

/**
 * @param {import('../server.mjs').Server} server
 * @param {string} name
 * @param {{ samples: number, slots: number, warmUpJobs: number }} options
 */
async function alone(server, name, { samples, slots, warmUpJobs }) {
  const run = await openRun(server, name, { jobs: before + samples, slots, warmUpJobs })
  try {
    await run.database.tidy()
    run.start()
    const values = await oneByOne(run, 0, before + samples)
    await run.untilNothingLeft()
    await run.stop()
    await run.proveOnce(before + samples)
    return values.slice(before)
  } finally {
    await run.end()
  }
}

/**
 * The one consumer tells of each start meanwhile, and only then: under load the messages would be a good part of what
 * is measured.
 *
 * @param {Awaited<ReturnType<typeof openRun>>} run
 * @param {number} from
 * @param {number} to
 */
export async function oneByOne({ producer, consumers: [consumer] }, from, to) {
  if (consumer === undefined) throw new Error('there is no consumer')
  const values = []
  await consumer.ask('tellStarts', true)
  for (let n = from; n < to; n += 1) {
    await sleep(pauseMs.least + Math.random() * (pauseMs.most - pauseMs.least))
    const { at } = await producer.ask('one', n)
    const started = await consumer.next('started', lostMs)
    if (started.n !== n) throw new Error(`job ${started.n} started, not ${n}`)
    values.push(started.at - at)
  }
  await consumer.ask('tellStarts', false)
  return values
}

/**
 * @param {import('../server.mjs').Server} server
 * @param {number} samples
 */
async function bareInserts(server, samples) {
  const database = await server.freshDatabase('bare')
  const producer = spawnChild(new URL('../contenders/producer.mjs', import.meta.url), {
    contender: 'bare-insert',
    url: database.url,
  })
  await producer.next('open')
  const values = []
  for (let n = 0; n < before + samples; n += 1) {
    await sleep(pauseMs.least + Math.random() * (pauseMs.most - pauseMs.least))
    const { at, doneAt } = await producer.ask('one', n)
    values.push(doneAt - at)
  }
  await producer.end('end')
  await database.drop()
  return values.slice(before)
}
