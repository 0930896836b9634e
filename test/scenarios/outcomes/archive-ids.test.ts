import { expect } from 'vitest'
import { type TestDatabase, test } from '../../support/database.js'

const rows = (db: TestDatabase) =>
  db.sql.unsafe<{ id: string; queue: string; payload: unknown; result: unknown }[]>(
    `select id, queue, payload, result from ${db.s}.archive order by id`,
  )

const above = 2n ** 62n

for (const queue of ['q', 'another']) {
  test(`keep: ids have begun anew, and a job of ${queue} does not overwrite the archived one of its id`, async ({
    db,
  }) => {
    const bugle = db.bugle()
    const first = await bugle.put('q', 'first')
    await bugle.drain('q', () => 'result of the first', { keep: 'all' })
    await db.sql.unsafe(`alter table ${db.s}.job alter column id restart with ${first}`)
    const second = await bugle.put(queue, 'second')
    expect(second).toBe(first)
    const acked = db.collect(bugle, 'job:acked')
    await bugle.drain(queue, () => 'result of the second', { keep: 'all' })
    expect(acked.all).toMatchObject([{ id: first, queue }])
    const [old, own, ...others] = await rows(db)
    expect(old).toEqual({ id: first, queue: 'q', payload: 'first', result: 'result of the first' })
    expect(own).toMatchObject({ queue, payload: 'second', result: 'result of the second' })
    expect(BigInt(own?.id ?? 0)).toBeGreaterThanOrEqual(above)
    expect(others).toEqual([])
    expect(await db.jobs()).toEqual([])

    // Both can be had, and run again.
    expect(await bugle.job(first)).toMatchObject({ payload: 'first' })
    expect(await bugle.requeue([first, own?.id ?? ''])).toBe(2)
    for (const name of new Set(['q', queue])) await bugle.drain(name, () => 'again', { keep: 'all' })
    expect(await rows(db)).toEqual([
      { ...old, result: 'again' },
      { ...own, result: 'again' },
    ])
  })
}

test('keep: of one job that somebody has put back by hand the later run is kept, in its one record', async ({ db }) => {
  const bugle = db.bugle()
  const id = await bugle.put('q', 'once')
  await bugle.drain('q', () => 'first', { keep: 'all' })
  await db.sql.unsafe(
    `insert into ${db.s}.job (id, queue, payload, created_at) overriding system value
     select id, queue, payload, created_at from ${db.s}.archive`,
  )
  await bugle.drain('q', () => 'later', { keep: 'all' })
  expect(await rows(db)).toEqual([{ id, queue: 'q', payload: 'once', result: 'later' }])
})

test('keep: ids begin anew in an ack within a transaction too', async ({ db }) => {
  const bugle = db.bugle()
  const id = await bugle.put('q', 'first')
  await bugle.drain('q', () => 1, { keep: 'all' })
  await db.sql.unsafe(`alter table ${db.s}.job alter column id restart with ${id}`)
  await bugle.put('q', 'second')
  await bugle.drain('q', (_job, ctx) => db.sql.begin((tx) => ctx.ack(tx, 2)), { keep: 'all' })
  expect((await rows(db)).map(({ payload, result }) => [payload, result])).toEqual([
    ['first', 1],
    ['second', 2],
  ])
})
