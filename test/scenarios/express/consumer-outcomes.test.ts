import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import type { BugleEventName, Job, JobContext } from '../../../src/index.js'
import { ack, partial, reject, release, retry } from '../../../src/index.js'
import { type TestDatabase, test } from '../../support/database.js'
import { putRows } from '../../support/express.js'
import { lanesOpenSoon } from '../../support/lane-consumer.js'
import { aborted } from '../../support/stopping.js'
import { libraries, openLibrary } from '../../support/transactions.js'
import { until } from '../../support/until.js'

// Handlers of a lane's jobs end in each way that there is: rows and events are those of any other job.

const laneConsumer = await lanesOpenSoon()
const laterMs = 3_600_000

type Behaviour = (job: Job, context: Pick<JobContext, 'signal'>) => unknown

const behaviours: Record<string, Behaviour> = {
  returns: () => {},
  'returns a result': () => ({ some: 'result' }),
  'returns ack': () => ack('result'),
  'takes longer than a batch': async () => void (await sleep(30)),
  throws: () => {
    throw new Error('it threw')
  },
  'throws late': async () => {
    await sleep(30)
    throw new Error('it threw late')
  },
  'asks for a retry': () => retry({ delayMs: laterMs, reason: 'once more' }),
  'asks for a retry late': async () => {
    await sleep(30)
    return retry({ delayMs: laterMs, reason: 'once more' })
  },
  'is rejected': () => reject('never'),
  'is released': () => release({ delayMs: laterMs }),
  'is partial': () => partial({ done: 1 }, { delayMs: laterMs }),
  'times out': async (_job, context) => {
    throw await aborted(context)
  },
}

const events = [
  'job:started',
  'job:acked',
  'job:failed',
  'job:retrying',
  'job:partial',
  'job:released',
  'job:timeout',
  'job:stale',
  'job:interrupted',
  'callback:error',
] as const satisfies readonly BugleEventName[]

interface Played {
  readonly told: string[]
  readonly row: object | null
}

/** What is told of one job of each behaviour, and its row afterwards. */
async function play(db: TestDatabase, express: boolean): Promise<Record<string, Played>> {
  await putRows(db, 2_000)
  const names = Object.keys(behaviours)
  const nameOf = new Map<string, string>()
  const told = new Map<string, string[]>(names.map((name) => [name, []]))
  const tell = (id: string, word: string) => void told.get(nameOf.get(id) ?? '')?.push(word)
  let isDurable = false
  const { consumer, lanes, bugle, isOnLane } = await laneConsumer(db, {
    consume: { express, timeoutMs: 1_500, concurrency: 20, retryStrategy: { maxAttempts: 1 } },
    before(bugle) {
      for (const event of events) {
        bugle.on(event, (data) => {
          const { id = '', error, cause, reason, attempt } = data as unknown as Record<string, string>
          const about = [event, attempt, cause, reason, (error as unknown as Error | undefined)?.message]
          tell(
            id,
            about
              .filter((part) => part !== undefined)
              .join(' ')
              .replaceAll(id, 'N'),
          )
        })
      }
    },
    onFailed: ({ id }) => tell(id, 'onFailed'),
    handler(job, context, { isOnLane }) {
      if (!nameOf.has(job.id) && (express ? isOnLane(job.id) : isDurable)) {
        const name = names.shift()
        if (name !== undefined) {
          nameOf.set(job.id, name)
          // Told before its name was known.
          tell(job.id, `job:started ${job.attempt}`)
          return behaviours[name]?.(job, context)
        }
      }
      isDurable = true
      return undefined
    },
  })
  await consumer.idle()
  await until(() => [...told.values()].every((words) => words.length > 1))
  expect(nameOf.size).toBe(Object.keys(behaviours).length)
  if (express) expect([...nameOf.keys()].every(isOnLane)).toBe(true)
  else expect(lanes).toEqual([])
  await bugle.close()
  const rows = await db.sql.unsafe(`
    select id, state, attempt, progress, last_error - 'at' - 'stack' as error, worker_id from ${db.s}.job`)
  return Object.fromEntries(
    [...nameOf].map(([id, name]) => {
      const found = rows.find((row) => row.id === id)
      const row =
        found === undefined ? null : { ...found, id: null, error: JSON.stringify(found.error)?.replaceAll(id, 'N') }
      return [name, { told: told.get(name) ?? [], row }]
    }),
  )
}

test('express: each way in which a handler ends has the row and the events that it has without a lane', async ({
  db,
}) => {
  const durable = await play(db, false)
  await db.sql.unsafe(`delete from ${db.s}.job`)
  const express = await play(db, true)
  expect(Object.keys(express).sort()).toEqual(Object.keys(behaviours).sort())
  expect(express).toEqual(durable)
  // What they agree on is what is meant.
  expect(express.returns).toEqual({ told: ['job:started 1', 'job:acked 1'], row: null })
  expect(express['is partial']).toMatchObject({ row: { state: 'scheduled', progress: { done: 1 } } })
  expect(express.throws).toMatchObject({ row: { state: 'failed', attempt: 1 } })
})

for (const end of ['commit', 'rollback'] as const) {
  test(`express: ctx.ack(tx) on a lane, and a ${end}: the job is a running one first; no lane follows`, async ({
    db,
  }) => {
    const ids = await putRows(db, 1_500)
    const [library] = libraries
    if (library === undefined) throw new Error('no library')
    const { transaction } = await openLibrary(db, library)
    let itself = ''
    const states: string[] = []
    const { consumer, lanes, isOnLane, backends } = await laneConsumer(db, {
      // Nothing but the ack in the transaction cuts the batch.
      mostMs: 60_000,
      pauses: false,
      consume: { concurrency: 5, retryStrategy: { maxAttempts: 1 } },
      handler: async ({ id }, ctx, { isOnLane }) => {
        if (itself !== '' || !isOnLane(id)) return
        itself = id
        await transaction(async ({ tx, insert }) => {
          await insert('Ada')
          await ctx.ack(tx)
          states.push(...(await db.jobs()).filter((job) => job.id === id).map(({ state }) => state))
          if (end === 'rollback') throw new Error('rolled back')
        })
      },
    })
    await consumer.idle()
    expect(isOnLane(itself)).toBe(true)
    expect(states).toEqual(['running'])
    const rest = end === 'commit' ? [] : [{ id: itself, state: 'failed', attempt: 1 }]
    expect(await db.jobs()).toMatchObject(rest)
    expect(await db.sql.unsafe(`select count(*)::int as n from ${db.s}.account`)).toMatchObject([
      { n: end === 'commit' ? 1 : 0 },
    ])
    await putRows(db, 1_500)
    await until(async () => (await db.jobs()).length === rest.length)
    await consumer.idle()
    expect(lanes.length).toBe(1)
    expect(await backends()).toEqual([])
    expect(consumer.stats().completed).toBe(ids.length * 2 - rest.length)
  })
}

test('express: ctx.ack(tx) on a lane as the first statement of a repeatable read sees the running row', async ({
  db,
}) => {
  await putRows(db, 1_500)
  let itself = ''
  const { bugle, consumer, isOnLane } = await laneConsumer(db, {
    mostMs: 60_000,
    consume: { concurrency: 5 },
    handler: async ({ id }, ctx, { isOnLane }) => {
      if (itself !== '' || !isOnLane(id)) return
      itself = id
      await db.connect().begin('isolation level repeatable read', (tx) => ctx.ack(tx as never))
    },
  })
  const retrying = db.collect(bugle, 'job:retrying')
  await consumer.idle()
  expect(isOnLane(itself)).toBe(true)
  expect(retrying.all).toEqual([])
  expect(await db.jobs()).toEqual([])
})
