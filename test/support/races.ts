import type postgres from 'postgres'
import type { Bugle } from '../../src/index.js'
import { signal, type TestDatabase } from './database.js'

/**
 * Races of writers against consumers that fall asleep.
 *
 * Each lane is a queue with one slot, so its consumer is without a free slot while a handler runs: it holds no lock
 * then, and writers are silent. A writer inserts in that time and commits at a random moment around the one when
 * the handler ends and the consumer goes to sleep.
 */
export interface Race {
  readonly lanes: number
  readonly rounds: number
  /** What a round does once its lane's handler runs. It commits one job with the given payload. */
  readonly round: (lane: Lane, payload: number) => Promise<void>
  /** Called when a job has not started by a margin; true: it is lost, and the race ends. */
  readonly givesUp: boolean
}

export interface Lane {
  readonly queue: string
  readonly sql: postgres.Sql
  /** A random moment around the one when the consumer falls asleep, which comes later on a busy machine. */
  moment(): Promise<void>
}

export interface RaceResult {
  readonly put: number
  readonly run: number
  readonly lost: number
}

// What a right protocol needs at the very most before it sees a row: its slowest look plus a noisy machine.
const lostAfterMs = 4_000

export async function race(db: TestDatabase, bugle: Bugle, plan: Race): Promise<RaceResult> {
  let put = 0
  let run = 0
  let lost = 0

  async function runLane(number: number): Promise<void> {
    const queue = `lane ${number}`
    const sql = db.connect()
    const lane: Lane = { queue, sql, moment: () => pause(Math.random() ** 2 * 40) }
    let started = signal()
    const consumer = await bugle.consume(
      queue,
      async () => {
        run += 1
        started.resolve()
        await pause(Math.random() * 5)
      },
      { concurrency: 1 },
    )
    for (let round = 0; round < plan.rounds && lost === 0; round += 1) {
      started = signal()
      put += 1
      await plan.round(lane, round)
      const isLost = plan.givesUp
        ? await Promise.race([started.promise.then(() => false), isLate()])
        : await started.promise
      if (isLost === true) lost += 1
    }
    if (lost === 0) await consumer.idle()
  }

  await Promise.all(Array.from({ length: plan.lanes }, (_, number) => runLane(number)))
  return { put, run, lost }
}

async function isLate(): Promise<true> {
  await pause(lostAfterMs)
  return true
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

/** The handler of the round before runs; the insert is silent; its commit comes at a random moment. */
export function lateCommit(isolation: 'read committed' | 'repeatable read', schema: string) {
  return async ({ queue, sql, moment }: Lane, payload: number): Promise<void> => {
    await pause(Math.random() * 2)
    await sql.unsafe(`begin isolation level ${isolation}`)
    await sql.unsafe(`insert into ${schema}.job (queue, payload) values ($1, to_jsonb($2::int))`, [queue, payload])
    await moment()
    await sql.unsafe('commit')
  }
}

/** The insert commits at once; then somebody locks the row, and lets it go at a random moment, still ready. */
export function lockedRow(schema: string) {
  const locks = [
    // a person's look
    { text: `select from ${schema}.job where queue = $1 and state = 'ready' for share skip locked`, end: 'commit' },
    // a claim that is rolled back
    { text: `select from ${schema}.job where queue = $1 and state = 'ready' for update skip locked`, end: 'rollback' },
    // an update that leaves it ready
    { text: `update ${schema}.job set priority = priority where queue = $1 and state = 'ready'`, end: 'commit' },
  ]
  return async ({ queue, sql, moment }: Lane, payload: number): Promise<void> => {
    const lock = locks[payload % locks.length]
    if (lock === undefined) throw new Error('no lock')
    await pause(Math.random() * 2)
    // One round trip: nobody else sees the row unlocked for long.
    await sql.unsafe(`insert into ${schema}.job (queue, payload) values ($1, to_jsonb($2::int))`, [queue, payload])
    await sql.unsafe('begin')
    await sql.unsafe(lock.text, [queue])
    await moment()
    await sql.unsafe(lock.end)
  }
}
