import { execFile, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { promisify } from 'node:util'
import { expect } from 'vitest'
import type { TestDatabase } from '../../support/database.js'
import { type Roles, test } from '../../support/roles.js'
import { fullRows } from '../../support/rows.js'

const hasPsql = spawnSync('psql', ['--version']).error === undefined

/** Who inserts a row that is due in an hour, without a word about its state. */
const writers: Record<string, (db: TestDatabase) => Promise<unknown>> = {
  'put with a key': (db) => db.bugle().put('q', 1, { delayMs: 3_600_000, key: 'k' }),
  'put with keyMode replace': async (db) => {
    await db.bugle().put('q', 'before', { key: 'k' })
    await db.bugle().put('q', 1, { delayMs: 3_600_000, key: 'k', keyMode: 'replace' })
  },
  'an INSERT that skips a key that is taken': (db) =>
    db.sql.unsafe(
      `insert into ${db.s}.job (queue, run_at, key) values ('q', now() + interval '1 h', 'k'), ('q', now(), 'k')
       on conflict do nothing`,
    ),
  COPY: async (db) => {
    const copy = await db.sql.unsafe(`copy ${db.s}.job (queue, run_at) from stdin`).writable()
    copy.end(`q\t${new Date(Date.now() + 3_600_000).toISOString()}\n`)
    await once(copy, 'finish')
  },
  ...(hasPsql && {
    psql: (db) =>
      promisify(execFile)('psql', [
        '--no-psqlrc',
        '--set=ON_ERROR_STOP=1',
        `--command=insert into ${db.s}.job (queue, run_at) values ('q', now() + interval '1 h')`,
        db.connectionString,
      ]),
  }),
}

for (const [who, write] of Object.entries(writers)) {
  test(`B8 a row that ${who} writes with a run_at ahead is scheduled`, async ({ db }) => {
    await write(db)
    expect(await fullRows(db)).toMatchObject([{ queue: 'q', state: 'scheduled', attempt: 0 }])
  })
}

test('B8 RETURNING says that a row is scheduled, and a transaction that is rolled back leaves nothing', async ({
  db,
}) => {
  const insert = `insert into ${db.s}.job (queue, run_at) values ('q', now() + interval '1 h') returning state`
  const sql = db.connect()
  await sql.unsafe('begin')
  expect(await sql.unsafe(insert)).toMatchObject([{ state: 'scheduled' }])
  await sql.unsafe('rollback')
  expect(await fullRows(db)).toEqual([])
})

test('B8 a role that may neither set a state nor change a row schedules by its inserts', async ({ roles }) => {
  const [row] = await asProducer(roles, `now() + interval '1 h'`)
  const [due] = await asProducer(roles, `now() - interval '1 h'`)
  const rows = await roles
    .connect('owner')
    .unsafe(`select id, state from ${roles.s}.job where id = any ($1::bigint[]) order by id`, [
      [row?.id ?? '', due?.id ?? ''],
    ])
  expect(rows).toMatchObject([{ state: 'scheduled' }, { state: 'ready' }])
  const producer = roles.connect('producer')
  await expect(
    producer.unsafe(`insert into ${roles.s}.job (queue, state) values ('q', 'running')`).execute(),
  ).rejects.toMatchObject({ code: '42501' })
})

async function asProducer(roles: Roles, runAt: string): Promise<{ id: string }[]> {
  return roles
    .connect('producer')
    .unsafe<{ id: string }[]>(`insert into ${roles.s}.job (queue, run_at) values ('q', ${runAt}) returning id`)
}
