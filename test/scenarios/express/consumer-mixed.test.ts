import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import { reject, retry } from '../../../src/index.js'
import { test } from '../../support/database.js'
import { putRows } from '../../support/express.js'
import { lanesOpenSoon } from '../../support/lane-consumer.js'
import { until } from '../../support/until.js'

// Large backlogs of unlike jobs, with look-ahead as handlers earn it.

const laneConsumer = await lanesOpenSoon()

test('express: 30,000 short jobs, slow, throwing, retrying and rejected ones too: each is settled once', async ({
  db,
}) => {
  const ids = await putRows(db, 30_000)
  const runs = new Map<string, number>()
  const { bugle, consumer, lanes } = await laneConsumer(db, {
    ahead: 'earned',
    pauses: false,
    consume: { retryStrategy: { maxAttempts: 2, delaysMs: [1] } },
    handler: async ({ id, payload, attempt }) => {
      runs.set(id, (runs.get(id) ?? 0) + 1)
      const n = Number(payload)
      if (n % 500 === 0) await sleep(40)
      if (n % 1_000 === 1) throw new Error('twice')
      if (n % 1_000 === 2 && attempt === 1) throw new Error('once')
      if (n % 1_000 === 3 && attempt === 1) return retry({ delayMs: 5 })
      if (n % 1_000 === 4) return reject('never')
      return undefined
    },
  })
  const acked = db.collect(bugle, 'job:acked')
  const failed = db.collect(bugle, 'job:failed')
  const retrying = db.collect(bugle, 'job:retrying')
  const stale = db.collect(bugle, 'job:stale')
  await until(() => acked.all.length + failed.all.length >= ids.length)
  await consumer.idle()
  expect(stale.all).toEqual([])
  expect([acked.all.length, failed.all.length, retrying.all.length]).toEqual([29_940, 60, 90])
  expect(new Set([...acked.all, ...failed.all].map(({ id }) => id))).toEqual(new Set(ids))
  const expected = new Map(ids.map((id, at) => [id, [1, 2, 3].includes((at + 1) % 1_000) ? 2 : 1]))
  expect(runs).toEqual(expected)
  const left = await db.sql.unsafe<{ state: string; attempt: number; n: number }[]>(`
    select state, attempt, count(*)::int as n from ${db.s}.job group by 1, 2 order by attempt`)
  expect([...left]).toEqual([
    { state: 'failed', attempt: 1, n: 30 },
    { state: 'failed', attempt: 2, n: 30 },
  ])
  expect(consumer.stats()).toMatchObject({ completed: 29_940, failed: 60, retried: 90, active: 0 })
  expect(lanes.flatMap(({ batches }) => batches).length).toBeGreaterThan(20)
})

test('express: two instances with lanes on one queue run each of 10,000 jobs once', async ({ db }) => {
  const ids = await putRows(db, 10_000)
  const ran: string[] = []
  const handler = ({ id }: { readonly id: string }) => void ran.push(id)
  const first = await laneConsumer(db, { pauses: false, handler })
  const second = await laneConsumer(db, { pauses: false, handler })
  await Promise.all([first.consumer.idle(), second.consumer.idle()])
  await until(() => ran.length >= ids.length)
  await Promise.all([first.consumer.idle(), second.consumer.idle()])
  expect(first.lanes.length + second.lanes.length).toBeGreaterThan(0)
  expect(ran.length).toBe(ids.length)
  expect(new Set(ran)).toEqual(new Set(ids))
  expect(await db.jobs()).toEqual([])
})
