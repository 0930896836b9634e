import { expect } from 'vitest'
import { cancel } from '../../../src/admin/cancel.js'
import { findJob } from '../../../src/admin/find.js'
import { requeue } from '../../../src/admin/requeue.js'
import { test } from '../../support/database.js'
import { insert, inserters } from '../../support/ended-jobs.js'
import { transaction } from '../../support/open-transaction.js'
import { operator } from '../../support/operator.js'

test('G1 cancel: a waiting job is failed at once and never runs', async ({ db }) => {
  const parts = operator(db)
  const claimed_at = '2024-01-01T00:00:00Z'
  const ready = await insert(db, 'job', { queue: 'emails', attempt: 2, claimed_at, key: 'ada' })
  const scheduled = await insert(db, 'job', { queue: 'emails', run_at: '2099-01-01T00:00:00Z' })
  for (const id of [ready, scheduled]) {
    expect(await cancel(parts, id)).toBe('cancelled')
    const record = await findJob(parts, id)
    expect(record).toMatchObject({ state: 'failed', workerId: null, claimedAt: null, waitMs: null, runMs: null })
    expect(record?.error).toEqual({
      name: 'BugleError',
      message: 'cancelled',
      code: 'CANCELLED',
      failedBy: 'cancelled',
      attempt: id === ready ? 2 : 0,
    })
    expect(record?.finishedAt).toBeInstanceOf(Date)
    expect(record?.cancelRequestedAt).toBeInstanceOf(Date)
    expect(await cancel(parts, id)).toBe('not-found')
    expect(await findJob(parts, id)).toEqual(record)
  }
  const seen: unknown[] = []
  const bugle = db.bugle()
  const consumer = await bugle.consume('emails', (job) => void seen.push(job.payload))
  await bugle.put('emails', 'marker')
  await consumer.idle()
  expect(seen).toEqual(['marker'])
  // It runs once it is requeued.
  expect(await requeue(parts, ready)).toBe(1)
  await consumer.idle()
  expect(seen).toEqual(['marker', null])
})

test('cancel: a running job is asked once and keeps its lease; what is over is not found', async ({ db }) => {
  const parts = operator(db)
  const running = await insert(db, 'job', { queue: 'emails', state: 'running', worker_id: 7, lease: 5 })
  expect(await cancel(parts, running)).toBe('requested')
  const first = await findJob(parts, running)
  expect(first).toMatchObject({ state: 'running', workerId: '7', error: null, finishedAt: null })
  expect(first?.cancelRequestedAt).toBeInstanceOf(Date)
  expect(await cancel(parts, running)).toBe('requested')
  expect(await findJob(parts, running)).toEqual(first)
  expect(await db.jobs()).toMatchObject([{ id: running, lease: '5' }])
  for (const id of [await inserters.failed(db), await inserters.archived(db), '123456789']) {
    expect(await cancel(parts, id)).toBe('not-found')
  }
})

const claims = `set state = 'running', worker_id = 7, attempt = attempt + 1, lease = lease + 1`

const settles = { acks: 'delete from', fails: 'update' } as const

for (const [end, answer, state] of [
  ['commit', 'requested', 'running'],
  ['rollback', 'cancelled', 'failed'],
] as const) {
  test(`cancel against a claim in flight that ends with ${end}: ${answer}`, async ({ db }) => {
    const parts = operator(db)
    const id = await insert(db, 'job', { queue: 'emails' })
    const endClaim = await transaction(db, `update ${db.s}.job ${claims} where id = ${id}`)
    const cancelled = cancel(parts, id)
    await parts.untilBlocked()
    await endClaim(end)
    expect(await cancelled).toBe(answer)
    expect(await findJob(parts, id)).toMatchObject({ state, cancelRequestedAt: expect.any(Date) })
  })
}

for (const [how, statement] of Object.entries(settles)) {
  test(`cancel against a settle in flight that ${how} the job: not-found`, async ({ db }) => {
    const parts = operator(db)
    const id = await insert(db, 'job', { queue: 'emails', state: 'running', worker_id: 7 })
    const change = how === 'fails' ? ` set state = 'failed', worker_id = null` : ''
    const endSettle = await transaction(db, `${statement} ${db.s}.job${change} where id = ${id}`)
    const cancelled = cancel(parts, id)
    await parts.untilBlocked()
    await endSettle('commit')
    expect(await cancelled).toBe('not-found')
    expect(await findJob(parts, id)).toEqual(
      how === 'acks' ? null : expect.objectContaining({ cancelRequestedAt: null }),
    )
  })
}
