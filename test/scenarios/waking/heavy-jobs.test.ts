import { expect } from 'vitest'
import { untilRunning } from '../../support/counts.js'
import type { TestDatabase } from '../../support/database.js'
import { test } from '../../support/gates.js'
import { countUp, onceEach, sorted } from '../../support/runs.js'
import { fence } from '../../support/stopping.js'
import { until } from '../../support/until.js'

/** Jobs of two MB each, eight of which weigh 16 MB. @returns their ids */
async function putHeavy(db: TestDatabase, count: number): Promise<string[]> {
  const rows = await db.sql.unsafe<{ id: string }[]>(`
    insert into ${db.s}.job (queue, payload)
    select 'q', to_jsonb(repeat('x', 2000000)) from generate_series(1, ${count})
    returning id`)
  return rows.map(({ id }) => id)
}

async function putLight(db: TestDatabase, count: number): Promise<string[]> {
  return db.bugle().putMany('q', Array(count).fill('light'))
}

async function statesIn(db: TestDatabase): Promise<Record<string, number>> {
  const rows = await db.sql.unsafe<{ what: string; jobs: number }[]>(`
    select state || ', attempt ' || attempt as what, count(*)::int as jobs from ${db.s}.job group by 1`)
  return Object.fromEntries(rows.map(({ what, jobs }) => [what, jobs]))
}

/** @returns how many jobs each claim has taken from now on, but for those that took none */
async function watchClaims(db: TestDatabase): Promise<() => Promise<number[]>> {
  await db.sql.unsafe(`
    create table ${db.s}.seen (at int generated always as identity, jobs int);
    create function ${db.s}.see() returns trigger language plpgsql as $$
    begin
      insert into ${db.s}.seen (jobs) select count(*) from claimed where state = 'running';
      return null;
    end
    $$;
    create trigger zz_see after update on ${db.s}.job referencing new table as claimed
    for each statement execute function ${db.s}.see()`)
  return async () => {
    const rows = await db.sql.unsafe<{ jobs: number }[]>(`select jobs from ${db.s}.seen where jobs > 0 order by at`)
    return rows.map(({ jobs }) => jobs)
  }
}

test('of heavy jobs no more is held beyond the slots than 16 MB, whatever prefetch says', async ({ db, gate }) => {
  const blocked = gate()
  const runs = new Map<string, number>()
  const ids = await putHeavy(db, 12)
  const consumer = await db.bugle().consume(
    'q',
    async ({ id }) => {
      countUp(runs, id)
      await blocked.promise
    },
    { concurrency: 2, prefetch: 1_000 },
  )
  await untilRunning(db, 10)
  await fence(db)
  expect(await statesIn(db)).toEqual({ 'running, attempt 1': 10, 'ready, attempt 0': 2 })
  blocked.resolve()
  await consumer.idle()
  expect(sorted(runs)).toEqual(onceEach(ids))
  expect(await db.jobs()).toEqual([])
})

test('a claim of light jobs that meets heavy ones: what exceeds 16 MB goes back at once, attempts too', async ({
  db,
  gate,
}) => {
  const blocked = gate()
  const runs = new Map<string, number>()
  const attempts = new Set<number>()
  const ids = [...(await putLight(db, 2)), ...(await putHeavy(db, 12))]
  const consumer = await db.bugle().consume(
    'q',
    async ({ id, attempt }) => {
      countUp(runs, id)
      attempts.add(attempt)
      await blocked.promise
    },
    { concurrency: 2, prefetch: 1_000 },
  )
  await until(() => consumer.stats().released === 4)
  await fence(db)
  expect(await statesIn(db)).toEqual({ 'running, attempt 1': 10, 'ready, attempt 0': 4 })
  blocked.resolve()
  await consumer.idle()
  expect(sorted(runs)).toEqual(onceEach(ids))
  expect([...attempts]).toEqual([1])
  expect(await db.jobs()).toEqual([])
})

test('slots are filled with heavy jobs by several claims, each of which brings 16 MB', async ({ db, gate }) => {
  const blocked = gate()
  const claims = await watchClaims(db)
  // What they weigh is learned from the first one.
  await putHeavy(db, 1)
  const consumer = await db.bugle().consume('q', ({ id }) => (id === '1' ? undefined : blocked.promise), {
    concurrency: 10,
  })
  await consumer.idle()
  await putHeavy(db, 12)
  await untilRunning(db, 10)
  expect(await claims()).toEqual([1, 8, 2])
  blocked.resolve()
  await consumer.idle()
  expect(await db.jobs()).toEqual([])
})

test('a claim whose time is up is repeated for half as many jobs, down to one', async ({ db }) => {
  const bugle = db.bugle()
  const errors = db.collect(bugle, 'claim:error')
  const runs = new Map<string, number>()
  const ids = await putLight(db, 10)
  // What the server says when statement_timeout is over: for each claim of more than one job.
  await db.sql.unsafe(`
    create function ${db.s}.take_too_long() returns trigger language plpgsql as $$
    begin
      if (select count(*) from claimed where state = 'running') > 1 then
        raise exception 'canceling statement due to statement timeout' using errcode = '57014';
      end if;
      return null;
    end
    $$;
    create trigger zz_take_too_long after update on ${db.s}.job referencing new table as claimed
    for each statement execute function ${db.s}.take_too_long()`)
  const consumer = await bugle.consume('q', ({ id }) => countUp(runs, id), { concurrency: 8 })
  expect(errors.all).toHaveLength(3)
  await consumer.idle()
  expect(sorted(runs)).toEqual(onceEach(ids))
  expect(await db.jobs()).toEqual([])
  for (const { error } of errors.all) expect(error).toMatchObject({ code: '57014' })
})
