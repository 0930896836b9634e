import { expect } from 'vitest'
import { type TestDatabase, test } from '../../support/database.js'
import { refusal } from '../../support/refusal.js'

async function failedJobs(db: TestDatabase, count: number): Promise<string[]> {
  const ids = await db.bugle().putMany(
    'q',
    Array.from({ length: count }, () => 1),
  )
  await db.sql.unsafe(
    `update ${db.s}.job
     set state = 'failed', finished_at = now() - interval '2 days',
       last_error = jsonb_build_object('at', 0, 'failedBy', 'rejected')`,
  )
  return ids
}

test('requeue by filter tells its progress, and an aborted signal ends it after the batch in flight', async ({
  db,
}) => {
  await failedJobs(db, 2_500)
  const bugle = db.bugle()
  const told: number[] = []
  const stop = new AbortController()
  const requeued = await bugle.requeue(
    { queue: 'q' },
    {
      signal: stop.signal,
      onProgress(total) {
        told.push(total)
        if (total === 2_000) stop.abort()
      },
    },
  )
  expect(requeued).toBe(2_000)
  expect(told).toEqual([1_000, 2_000])
  expect(await bugle.requeue({}, { signal: stop.signal })).toBe(0)
  expect(await bugle.requeue({}, { onProgress: (total) => told.push(total) })).toBe(500)
  expect(told).toEqual([1_000, 2_000, 500])
})

test('requeue by ids is one batch, or none where the signal is aborted', async ({ db }) => {
  const ids = await failedJobs(db, 2)
  const bugle = db.bugle()
  const told: number[] = []
  expect(await bugle.requeue(ids, { signal: AbortSignal.abort() })).toBe(0)
  expect(await bugle.requeue(ids, { onProgress: (total) => told.push(total) })).toBe(2)
  expect(told).toEqual([2])
})

test('collect tells its progress, and an aborted signal ends it after the batch in flight', async ({ db }) => {
  await failedJobs(db, 2_500)
  const told: number[] = []
  const stop = new AbortController()
  const report = await db.bugle().collect({
    failedOlderThanMs: 0,
    archivedOlderThanMs: 0,
    signal: stop.signal,
    onProgress(total) {
      told.push(total)
      if (total === 2_000) stop.abort()
    },
  })
  expect(report).toEqual({ failed: 2_000, archived: 0 })
  expect(told).toEqual([1_000, 2_000])
  expect(await db.jobs()).toHaveLength(500)
})

test('a collect that waits for its turn ends when its signal aborts', async ({ db }) => {
  await failedJobs(db, 1)
  const stop = new AbortController()
  const bugle = db.bugle()
  const holder = db.connect()
  await holder.unsafe(`select pg_advisory_lock('${db.s}.archive'::regclass::oid::int, 0)`)
  const collecting = bugle.collect({ failedOlderThanMs: 0, signal: stop.signal })
  stop.abort()
  expect(await collecting).toEqual({ failed: 0, archived: 0 })
  expect(await db.jobs()).toHaveLength(1)
})

test('what onProgress throws ends the call; wrong options are refused', async ({ db }) => {
  await failedJobs(db, 1_001)
  const bugle = db.bugle()
  const onProgress = () => {
    throw new Error('enough')
  }
  await expect(bugle.requeue({}, { onProgress })).rejects.toThrow('enough')
  expect((await db.jobs()).filter(({ state }) => state === 'ready')).toHaveLength(1_000)
  for (const options of [{ signal: 1 }, { onProgress: 1 }, { limit: 1 }]) {
    expect(await refusal(() => bugle.requeue({}, options as never))).toMatchObject({ code: 'INVALID_OPTION' })
  }
  expect(await refusal(() => bugle.collect({ failedOlderThanMs: 1, signal: 1 as never }))).toMatchObject({
    code: 'INVALID_OPTION',
  })
})

/** From now on a statement that changes or deletes more than two rows ends as by the server's statement_timeout. */
async function takeTooLong(db: TestDatabase, change: 'update' | 'delete'): Promise<void> {
  await db.sql.unsafe(`
    create function ${db.s}.take_too_long() returns trigger language plpgsql as $$
    begin
      if (select count(*) from changed) > 2 then
        raise exception 'canceling statement due to statement timeout' using errcode = '57014';
      end if;
      return null;
    end
    $$;
    create trigger zz_take_too_long after ${change} on ${db.s}.job
    referencing ${change === 'update' ? 'new' : 'old'} table as changed
    for each statement execute function ${db.s}.take_too_long()`)
}

test('a batch of a requeue that is too much for its time is sent again for half as many jobs, down to one', async ({
  db,
}) => {
  await failedJobs(db, 7)
  await takeTooLong(db, 'update')
  expect(await db.bugle().requeue({ queue: 'q', limit: 6 })).toBe(6)
  const rows = await db.jobs()
  expect(rows.map(({ state }) => state)).toEqual([...Array(6).fill('ready'), 'failed'])
})

test('a batch of a collect that is too much for its time is sent again for half as many jobs, down to one', async ({
  db,
}) => {
  await failedJobs(db, 7)
  await takeTooLong(db, 'delete')
  expect(await db.bugle().collect({ failedOlderThanMs: 0, limit: 6 })).toEqual({ failed: 6, archived: 0 })
  expect(await db.jobs()).toHaveLength(1)
})

test('a batch of one that is too much for its time ends the call', async ({ db }) => {
  await failedJobs(db, 1)
  await db.sql.unsafe(`
    create function ${db.s}.take_too_long() returns trigger language plpgsql as $$
    begin
      raise exception 'canceling statement due to statement timeout' using errcode = '57014';
    end
    $$;
    create trigger zz_take_too_long after update or delete on ${db.s}.job
    for each statement execute function ${db.s}.take_too_long()`)
  const bugle = db.bugle()
  await expect(bugle.requeue({})).rejects.toMatchObject({ code: '57014' })
  await expect(bugle.collect({ failedOlderThanMs: 0 })).rejects.toMatchObject({ code: '57014' })
  expect(await db.jobs()).toMatchObject([{ state: 'failed' }])
})
