import { expect } from 'vitest'
import { signal, test } from '../../support/database.js'
import { refuse } from '../../support/refusals.js'
import { fullRows } from '../../support/rows.js'

const most = { lease: '4611686018427387904', attempt: '1000000000' } as const

for (const [what, columns, values] of [
  ['a lease', 'lease', most.lease],
  ['an attempt', 'attempt', most.attempt],
  ['both', 'lease, attempt', `${most.lease}, ${most.attempt}`],
] as const) {
  test(`claims: a job at the bound of ${what} runs, as do those behind it`, async ({ db }) => {
    const bugle = db.bugle()
    await db.sql.unsafe(`insert into ${db.s}.job (queue, payload, ${columns}) values ('q', '1', ${values})`)
    await bugle.put('q', 2)
    const ran: unknown[] = []
    const consumer = await bugle.consume('q', ({ payload }) => void ran.push(payload), { concurrency: 1 })
    await consumer.idle()
    expect(ran).toEqual([1, 2])
    expect(await fullRows(db)).toEqual([])
  })
}

test('claims: the lease grows by a step of its own for each job of a claim', async ({ db }) => {
  const bugle = db.bugle()
  const held = signal()
  await bugle.putMany('q', Array(20).fill(null))
  const consumer = await bugle.consume('q', () => held.promise, { concurrency: 20 })
  const leases = (await fullRows(db)).map(({ lease }) => Number(lease))
  expect(new Set(leases).size).toBe(20)
  expect(Math.max(...leases)).toBeGreaterThan(1_000_000)
  expect(Math.max(...leases)).toBeLessThanOrEqual(2 ** 31)
  held.resolve()
  await consumer.idle()
})

for (const options of [{ concurrency: 1 }, { concurrency: 10 }, { concurrency: 10, prefetch: 5 }] as const) {
  test(`claims: jobs that a trigger refuses are passed over, all others run (${JSON.stringify(options)})`, async ({
    db,
  }) => {
    const bugle = db.bugle()
    const ids = await bugle.putMany(
      'q',
      Array.from({ length: 30 }, (_, n) => n),
    )
    const bad = [0, 7, 8, 29].map((n) => ids[n] ?? '')
    const mend = await refuse(db, 'update', `new.id in (${bad.join()}) and new.state = 'running'`)
    const errors = db.collect(bugle, 'claim:error')
    const acked = db.collect(bugle, 'job:acked')
    const consumer = await bugle.consume('q', () => {}, options)
    await consumer.idle()
    expect((await fullRows(db)).map(({ id, state, attempt }) => [id, state, attempt])).toEqual(
      bad.map((id) => [id, 'ready', 0]),
    )
    const told = errors.all.filter(({ error }) => 'code' in error && error.code === 'JOB_REFUSED')
    for (const id of bad) {
      expect(told.map(({ error }) => error.message)).toContainEqual(
        expect.stringMatching(`^job ${id} cannot be claimed, and is passed over for `),
      )
    }
    // A sleeping consumer takes what comes, and those that were passed over once they can be claimed.
    const later = await bugle.put('q', 'later')
    while (!acked.all.some(({ id }) => id === later)) await acked.next()
    await mend()
    while (acked.all.length < 31) await acked.next()
    expect(await fullRows(db)).toEqual([])
    expect(acked.all.map(({ id }) => id).sort()).toEqual([...ids, later].sort())
  })
}

test('claims: of the kinds that a consumer serves, those that are refused are passed over', async ({ db }) => {
  const bugle = db.bugle()
  const ids = await bugle.putMany('q', Array(6).fill(null), (_, n) => ({ kind: n % 2 === 0 ? 'a' : 'b' }))
  await refuse(db, 'update', `new.id = ${ids[0]} and new.state = 'running'`)
  const ran: string[] = []
  const consumer = await bugle.consume('q', { a: ({ id }) => void ran.push(id) })
  await consumer.idle()
  expect(ran).toEqual([ids[2], ids[4]])
  expect((await fullRows(db)).map(({ id }) => id)).toEqual([ids[0], ids[1], ids[3], ids[5]])
})

test('claims: a statement that is refused for no job as well passes nothing over', async ({ db }) => {
  const bugle = db.bugle()
  const ids = await bugle.putMany('q', [1, 2, 3])
  await db.sql.unsafe(`
    create function ${db.s}.closed() returns trigger language plpgsql as $$
    begin
      raise exception 'closed';
    end $$;
    create trigger closed before update on ${db.s}.job for each statement execute function ${db.s}.closed()`)
  const errors = db.collect(bugle, 'claim:error')
  const acked = db.collect(bugle, 'job:acked')
  const consuming = bugle.consume('q', () => {})
  expect((await errors.next()).error.message).toBe('closed')
  expect((await errors.next()).error.message).toBe('closed')
  await db.sql.unsafe(`drop function ${db.s}.closed cascade`)
  const consumer = await consuming
  await consumer.idle()
  expect(acked.all.map(({ id }) => id).sort()).toEqual([...ids].sort())
})

test('promotions: due jobs that a trigger refuses stay scheduled and are told of, the others run', async ({ db }) => {
  const bugle = db.bugle()
  const errors = db.collect(bugle, 'claim:error')
  const acked = db.collect(bugle, 'job:acked')
  const ids = await bugle.putMany('q', Array(8).fill(null), { delayMs: 300 })
  const bad = [ids[0] ?? '', ids[5] ?? '']
  const mend = await refuse(db, 'update', `new.id in (${bad.join()}) and new.state = 'ready'`)
  await bugle.consume('q', () => {})
  while (acked.all.length < 6) await acked.next()
  expect((await fullRows(db)).map(({ id, state }) => [id, state])).toEqual(bad.map((id) => [id, 'scheduled']))
  while (errors.all.length < 2) await errors.next()
  for (const id of bad) {
    expect(errors.all.map(({ error }) => error.message)).toContainEqual(
      expect.stringMatching(`^job ${id} is due and cannot be made ready, and is passed over for `),
    )
  }
  await mend()
  while (acked.all.length < 8) await acked.next()
  expect(await fullRows(db)).toEqual([])
})
