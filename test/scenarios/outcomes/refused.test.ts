import { expect } from 'vitest'
import { ack, type BugleError, partial, reject, release, retry } from '../../../src/index.js'
import { together } from '../../support/barrier.js'
import { broken } from '../../support/broken.js'
import { test } from '../../support/gates.js'
import { refuse } from '../../support/refusals.js'
import { archivedRows, fullRows } from '../../support/rows.js'
import { until } from '../../support/until.js'

const hour = 3_600_000

/** How a run ends, and which change of its row that needs: the application's trigger refuses it. */
const ends: Record<string, { end: () => unknown; event: 'update' | 'delete'; when: string; state: string | null }> = {
  'an ack': { end: () => {}, event: 'delete', when: `old.payload = '3'`, state: null },
  'a kept result': { end: () => ack('well'), event: 'delete', when: `old.payload = '3'`, state: null },
  'a rejection': { end: () => reject('no'), event: 'update', when: `new.state = 'failed'`, state: 'failed' },
  'a throw without attempts left': { end: broken, event: 'update', when: `new.state = 'failed'`, state: 'failed' },
  'a retry': {
    end: () => retry({ delayMs: hour }),
    event: 'update',
    when: `new.state = 'scheduled'`,
    state: 'scheduled',
  },
  'a release': {
    end: () => release({ delayMs: hour }),
    event: 'update',
    when: `new.state = 'scheduled'`,
    state: 'scheduled',
  },
  progress: {
    end: () => partial(1, { delayMs: hour }),
    event: 'update',
    when: `new.state = 'scheduled'`,
    state: 'scheduled',
  },
}

// 54000 is what PostgreSQL says when the queue of its notifications is full.
for (const code of ['P0001', '54000']) {
  for (const [what, { end, event, when, state }] of Object.entries(ends)) {
    test(`F9 ${what} that is refused for its row (${code}) is kept until it is stored, others go on`, async ({
      db,
    }) => {
      const mend = await refuse(db, event, `${when} and ${event === 'delete' ? 'old' : 'new'}.payload = '3'`, { code })
      const bugle = db.bugle()
      const errors = db.collect(bugle, 'claim:error')
      const acked = db.collect(bugle, 'job:acked')
      const failed = db.collect(bugle, 'job:failed')
      const all = together(5)
      const keep = what === 'a kept result' ? 'all' : 'failed'
      const consumer = await bugle.consume(
        'q',
        async ({ payload }) => {
          if (typeof payload === 'string') return
          await all()
          return payload === 3 ? end() : undefined
        },
        { concurrency: 5, retryStrategy: what === 'a retry' && { maxAttempts: 4 }, keep },
      )
      const ids = await bugle.putMany('q', [1, 2, 3, 4, 5])
      const { error } = await errors.next()
      const id = ids[2] ?? ''
      expect(error).toMatchObject({
        code: 'JOB_REFUSED',
        message: expect.stringContaining(`job ${id} cannot be settled`),
      })
      expect((error as BugleError).cause).toMatchObject({ code })
      // Its slot is taken, and all others are free.
      for (let n = 0; n < 4; n += 1) await bugle.put('q', 'later')
      for (let n = 0; n < 8; n += 1) await acked.next()
      await until(() => consumer.activeJobs === 1)
      expect(await fullRows(db)).toMatchObject([{ id, state: 'running', attempt: 1, worker_id: bugle.workerId }])
      expect(failed.all).toEqual([])

      await mend()
      await consumer.idle()
      const rows = await fullRows(db)
      expect(rows.map((row) => [row.id, row.state])).toEqual(state === null ? [] : [[id, state]])
      if (keep === 'all')
        expect((await archivedRows(db)).find((row) => row.id === id)).toMatchObject({ result: 'well' })
      if (what === 'progress') expect(rows).toMatchObject([{ progress: 1 }])
      expect(rows.map(({ last_error }) => last_error?.failedBy ?? null)).not.toContain('invalid')
      await consumer.stop()
    })
  }
}

test('F9 an ack that a row of others refuses, which refers to the job, is kept until that row is gone', async ({
  db,
}) => {
  await db.sql.unsafe(`create table ${db.s}.letter (job bigint references ${db.s}.job)`)
  const bugle = db.bugle()
  const errors = db.collect(bugle, 'claim:error')
  const all = together(3)
  const [, second] = await bugle.putMany('emails', [0, 1, 2])
  await db.sql.unsafe(`insert into ${db.s}.letter values ($1)`, [second ?? ''])
  const consumer = await bugle.consume('emails', all, { concurrency: 3 })
  expect((await errors.next()).error).toMatchObject({ code: 'JOB_REFUSED', cause: { code: '23503' } })
  await until(async () => (await db.jobs()).length === 1)
  expect(await db.jobs()).toMatchObject([{ id: second, state: 'running', last_error: null }])
  await db.sql.unsafe(`delete from ${db.s}.letter`)
  await consumer.idle()
  expect(await db.jobs()).toEqual([])
  expect(await consumer.stop()).toMatchObject({ completed: 3, failed: 0 })
})

test('F9 a retry that a unique index of the application’s refuses is told, and waits until there is room', async ({
  db,
}) => {
  await db.sql.unsafe(`create unique index mine on ${db.s}.job ((payload ->> 'order')) where state = 'scheduled'`)
  const bugle = db.bugle()
  const errors = db.collect(bugle, 'claim:error')
  const [there] = await bugle.putMany('q', [{ order: '1' }], { delayMs: hour })
  const consumer = await bugle.consume('q', () => retry({ delayMs: hour }))
  const id = await bugle.put('q', { order: '1' })
  expect((await errors.next()).error).toMatchObject({ code: 'JOB_REFUSED', cause: { code: '23505' } })
  expect(await fullRows(db)).toMatchObject([{ id: there }, { id, state: 'running' }])
  await bugle.cancel(there ?? '')
  await consumer.idle()
  expect(await fullRows(db)).toMatchObject([
    { id: there, state: 'failed' },
    { id, state: 'scheduled', attempt: 1 },
  ])
})
