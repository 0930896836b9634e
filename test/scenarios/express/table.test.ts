import { expect } from 'vitest'
import { tableFaults } from '../../../src/consume/express/statements.js'
import { type TestDatabase, test } from '../../support/database.js'
import { ackAll, openLane, putRows } from '../../support/express.js'
import { operator } from '../../support/operator.js'

// What an application may have done to the table of jobs: a lane is not opened there, and loses no job if it was.

const keeper = (s: string) => `
  create function ${s}.keeper() returns trigger language plpgsql as $$
  begin
    return case when old.payload = '2' then null else old end;
  end $$;`
const onDelete = (s: string) => `create trigger keeper before delete on ${s}.job
  for each row execute function ${s}.keeper();`

const faults: Record<string, { make: (s: string) => string; found: readonly [name: string, why: string][] }> = {
  'a trigger': {
    make: (s) => `${keeper(s)} ${onDelete(s)}`,
    found: [['keeper', 'is a trigger that may keep or change rows']],
  },
  'a foreign key': {
    make: (s) => `create table ${s}.note (job_id bigint references ${s}.job)`,
    found: [
      [expect.stringMatching(/^RI_/), 'is a trigger that may keep or change rows'],
      [expect.stringMatching(/^RI_/), 'is a trigger that may keep or change rows'],
    ],
  },
  'a rule': {
    make: (s) => `create rule keep as on delete to ${s}.job do instead nothing`,
    found: [['keep', 'is a rule of the table']],
  },
  'row level security': {
    make: (s) => `alter table ${s}.job enable row level security`,
    found: [['job', 'has row level security']],
  },
  'a child': {
    make: (s) => `create table ${s}.more () inherits (${s}.job)`,
    found: [[expect.stringMatching(/more$/), 'is a child of the table']],
  },
  'a parent': {
    make: (s) => `create table ${s}.base (); alter table ${s}.job inherit ${s}.base`,
    found: [[expect.stringMatching(/base$/), 'is a parent of the table']],
  },
  'triggers that do not matter': {
    make: (s) => `${keeper(s)} ${onDelete(s)}
      alter table ${s}.job disable trigger keeper;
      create trigger other before insert on ${s}.job for each row execute function ${s}.keeper();`,
    found: [],
  },
  nothing: { make: () => 'select', found: [] },
}

for (const [what, { make, found }] of Object.entries(faults)) {
  test(`express: the look at the table finds ${what}`, async ({ db }) => {
    await db.sql.unsafe(make(db.s))
    const { database } = operator(db)
    await database.ready()
    expect((await tableFaults(database.query)).map(({ name, why }) => [name, why])).toEqual(found)
  })
}

test('express: a table that is no heap is found', async ({ db }) => {
  const [{ version = 0 } = {}] = await db.sql<{ version: number }[]>`
    select current_setting('server_version_num')::int as version`
  if (version < 150_000) return
  const name = `heap of ${db.schema}`
  await db.sql.unsafe(`create access method "${name}" type table handler heap_tableam_handler`)
  try {
    await db.sql.unsafe(`alter table ${db.s}.job set access method "${name}"`)
    const { database } = operator(db)
    await database.ready()
    expect(await tableFaults(database.query)).toEqual([{ name, why: 'stores the table, and its rows may move' }])
  } finally {
    await db.sql.unsafe(`alter table ${db.s}.job set access method heap; drop access method "${name}"`)
  }
})

test('express: a trigger that keeps a row aborts the batch: that ack is stale, and the others are written', async ({
  db,
}) => {
  const [first = '', second = '', third = ''] = await putRows(db, 3)
  await db.sql.unsafe(`${keeper(db.s)} ${onDelete(db.s)}`)
  const { started, over, acked } = await openLane(db)
  ackAll(await started())
  expect(await over).toMatchObject({ is: 'failed', error: { code: '22012' } })
  expect(acked.toSorted()).toEqual([
    [first, 'durable'],
    [second, 'stale'],
    [third, 'durable'],
  ])
  expect(await db.jobs()).toMatchObject([{ id: second, state: 'ready' }])
})

test('express: a trigger that keeps an update aborts the batch: that job is lost to us, and the others run on', async ({
  db,
}) => {
  const [first = '', second = '', acks = ''] = await putRows(db, 3)
  await db.sql.unsafe(`${keeper(db.s)}
    create trigger keeper before update on ${db.s}.job for each row execute function ${db.s}.keeper()`)
  const { started, over, acked, lost } = await openLane(db)
  const jobs = await started()
  for (const job of jobs) job.begin()
  jobs[2]?.ack()
  // The trigger hands back the row as it was, so the first is not running either: nobody may believe that it is.
  expect(await Promise.all([jobs[0]?.keep(), jobs[1]?.keep()])).toEqual([true, false])
  expect(await over).toMatchObject({ is: 'failed', error: { code: '22012' } })
  expect(acked).toEqual([[acks, 'durable']])
  expect(lost).toEqual([second])
  expect((await db.jobs()).map(({ id }) => id)).toEqual([first, second])
})

test('express: a child’s row in the same place aborts the batch, and is not deleted', async ({ db }) => {
  const [id = ''] = await putRows(db, 1)
  await db.sql.unsafe(`
    create table ${db.s}.more () inherits (${db.s}.job);
    insert into ${db.s}.more (id, queue, payload) values (1000, 'other', '1')`)
  const { started, over, acked } = await openLane(db)
  ackAll(await started())
  expect(await over).toMatchObject({ is: 'failed', error: { code: '22012' } })
  expect(acked).toEqual([[id, 'durable']])
  expect(await db.jobs()).toMatchObject([{ id: '1000' }])
})

test('express: a rule that keeps rows ends the lane, and the acks are written when it is gone', async ({ db }) => {
  const [id = ''] = await putRows(db, 1)
  await db.sql.unsafe(`create rule keep as on delete to ${db.s}.job do instead nothing`)
  const { started, over, acked, lane } = await openLane(db)
  ackAll(await started())
  while (lane.state !== 'lost') await new Promise((resolve) => setImmediate(resolve))
  expect(acked).toEqual([])
  await db.sql.unsafe(`drop rule keep on ${db.s}.job`)
  expect(await over).toMatchObject({ is: 'failed' })
  expect(acked).toEqual([[id, 'durable']])
})

test('express: a foreign key of the application’s keeps its row; the others are written', async ({ db }) => {
  const [first = '', second = ''] = await putRows(db, 2)
  await db.sql.unsafe(`
    create table ${db.s}.note (job_id bigint references ${db.s}.job);
    insert into ${db.s}.note values (${first})`)
  const { started, over, acked, lane } = await openLane(db)
  ackAll(await started())
  while (acked.length === 0) await new Promise((resolve) => setImmediate(resolve))
  expect(lane.state).toBe('lost')
  expect(acked).toEqual([[second, 'durable']])
  await db.sql.unsafe(`delete from ${db.s}.note`)
  expect(await over).toMatchObject({ is: 'failed', error: { code: '23503' } })
  expect(acked).toEqual([
    [second, 'durable'],
    [first, 'durable'],
  ])
})

for (const how of ['', 'concurrently']) {
  test(`express: an index that is made${how && ` ${how}`} meanwhile waits for the batch, not the batch for it`, async ({
    db,
  }) => {
    const [id = ''] = await putRows(db, 1)
    const { started, over, acked } = await openLane(db)
    const jobs = await started()
    const builder = db.connect()
    const [{ pid = 0 } = {}] = await builder<{ pid: number }[]>`select pg_backend_pid() as pid`
    if (!how) await builder`begin`
    const built = builder.unsafe(`create index ${how} on ${db.s}.job (payload)`).execute()
    await untilWaiting(db, pid)
    ackAll(jobs)
    expect(await over).toEqual({ is: 'closed' })
    expect(acked).toEqual([[id, 'durable']])
    await built
    if (!how) await builder`rollback`
  })
}

async function untilWaiting(db: TestDatabase, pid: number): Promise<void> {
  for (;;) {
    const rows = await db.sql`select from pg_stat_activity where pid = ${pid} and wait_event_type = 'Lock'`
    if (rows.length > 0) return
  }
}
