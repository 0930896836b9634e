/**
 * What a backlog costs a consumer's process: its resident memory while it works on a queue of a million jobs, and beside an
 * empty one. Everything that working itself takes (compiled code, a younger heap that is larger) counts as the backlog's.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { migrate, runsOf, startConsumer, stopAll } from './measure/consumers.mjs'
import { fill } from './measure/fill.mjs'
import { demandOnce } from './measure/once.mjs'
import { median } from './statistics.mjs'

export const tries = 3
export const cases = ['a backlog of a million']

const handlerMs = 50
const allowedMb = 50

/**
 * @param {import('./scenarios.mjs').RunOptions} options
 * @returns {AsyncIterable<import('./scenarios.mjs').Result>}
 */
export async function* run({
  tries: wanted,
  isSmoke,
  jobs = isSmoke ? 10_000 : 1_000_000,
  seconds = isSmoke ? 1 : 15,
  tell,
  server: serverOf,
}) {
  const server = await serverOf()
  /** @type {Record<'empty' | 'backlog' | 'highest' | 'added', number[]>} */
  const mb = { empty: [], backlog: [], highest: [], added: [] }
  const database = await server.freshDatabase('memory')
  await migrate(database.url)
  const where = { url: database.url, queue: 'memory', seconds }
  tell(`memory: ${jobs.toLocaleString('en')} jobs are written`)
  await fill(database, { schema: 'bugle', queue: where.queue, jobs, state: 'ready' })
  await database.tidy()
  let left = jobs
  for (let number = 0; number < wanted; number += 1) {
    const empty = await residentMb({ ...where, queue: 'another' })
    const backlog = await residentMb(where)
    left -= backlog.runs.ids.length
    await demandOnce(database, { expected: backlog.runs.ids.length, runs: [backlog.runs], left })
    mb.empty.push(empty.typical)
    mb.backlog.push(backlog.typical)
    mb.highest.push(backlog.highest)
    mb.added.push(backlog.typical - empty.typical)
    tell(`memory ${number + 1}: ${empty.typical.toFixed(0)} MB, ${backlog.typical.toFixed(0)} MB with the backlog`)
  }
  await database.drop()
  yield {
    case: cases[0] ?? '',
    settings: {
      jobs,
      seconds,
      handlerMs,
      bugle: 'defaults (10 slots)',
      server: server.settings,
      figure: 'the median of the second half',
    },
    figures: {
      'beside an empty queue': { unit: 'MB', values: mb.empty },
      'with the backlog': { unit: 'MB', values: mb.backlog },
      'with the backlog, highest': { unit: 'MB', values: mb.highest },
      'the backlog adds': { unit: 'MB', values: mb.added },
      allowed: { unit: 'MB', values: [allowedMb] },
    },
    ratios: [{ name: 'added to allowed', of: 'the backlog adds', to: 'allowed', wanted: '< 1' }],
  }
}

/** @param {{ url: string, queue: string, seconds: number }} what */
async function residentMb({ url, queue, seconds }) {
  const consumer = await startConsumer({ url, queues: [queue], handlerMs })
  /** @type {number[]} */
  const samples = []
  for (let sample = 0; sample < seconds * 10; sample += 1) {
    await sleep(100)
    samples.push((await consumer.ask('count')).rssMb)
  }
  // What runs is settled first, so that the runs are all there are.
  await consumer.ask('pause')
  const runs = await runsOf(consumer)
  await stopAll([consumer])
  return { typical: median(samples.slice(samples.length / 2)), highest: Math.max(...samples), runs }
}
