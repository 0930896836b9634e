import { readFileSync } from 'node:fs'
import { expect } from 'vitest'
import { test } from '../support/clinic.js'

// Why no consumer opens an express lane: something of the application's at the table, or a process that has died.

const faults: Record<string, { make: (s: string) => string; message: RegExp }> = {
  'a trigger': {
    make: (s) => `create function ${s}.keeper() returns trigger language plpgsql as $$ begin return old; end $$;
      create trigger "the keeper" before delete on ${s}.job for each row execute function ${s}.keeper()`,
    message: /^the keeper is a trigger that may keep or change rows: no consumer opens/,
  },
  'a rule': {
    make: (s) => `create rule "my rule" as on delete to ${s}.job do instead nothing`,
    message: /^my rule is a rule of the table: /,
  },
  'row level security': {
    make: (s) => `alter table ${s}.job enable row level security`,
    message: /^job has row level security: /,
  },
  'a child': {
    make: (s) => `create table ${s}."more jobs" () inherits (${s}.job)`,
    message: /^"more jobs" is a child of the table: /,
  },
  'a parent': {
    make: (s) => `create table ${s}.base (); alter table ${s}.job inherit ${s}.base`,
    message: /^base is a parent of the table: /,
  },
  'a foreign key': {
    make: (s) => `create table ${s}."my note" (job_id bigint constraint "of job" references ${s}.job)`,
    message: /^foreign key of job of table "my note" looks at every job that is deleted: no consumer opens/,
  },
}

test('what keeps consumers from express lanes is a note each, whose remedy lets them', async ({ clinic }) => {
  for (const { make } of Object.values(faults)) await clinic.sql.unsafe(make(clinic.s))
  const found = await clinic.findings('express')
  expect(found).toMatchObject(
    Object.values(faults).map(({ message }) => ({ status: 'note', message: expect.stringMatching(message) })),
  )
  // As psql does it after the doctor: names that are visible are written without their schema.
  const session = clinic.connect()
  await session.unsafe(`set search_path = ${clinic.s}`)
  for (const { remedy } of found) await session.unsafe(remedy ?? '')
  expect(await clinic.findings('express')).toMatchObject([{ status: 'ok', remedy: null }])
})

test('whatever the statement finds at the table has a remedy', async () => {
  const statement = readFileSync(new URL('../../sql/statements/express_table.sql', import.meta.url), 'utf8')
  const check = readFileSync(new URL('../../src/doctor/express.ts', import.meta.url), 'utf8')
  const whys = [...statement.matchAll(/'((?:is|has|stores) [^']+)'/g)].map(([, why]) => why ?? '')
  expect(whys).toHaveLength(6)
  for (const why of whys) expect(check).toContain(`'${why}': `)
})

test('a queue whose worker died with an express lane is calm: since when, why, for how long; exit code 0', async ({
  clinic,
}) => {
  const { sql, s, bugle } = clinic
  await bugle.put('before', {})
  await sql.unsafe(`insert into ${s}.queue (name, calm_until, calm_ms)
    values ('before', clock_timestamp() - interval '1 s', 60000)`)
  await sql.unsafe(`
    insert into ${s}.worker (id, name, host, pid, version, lanes) values (7, 'w', 'h', 1, '1', '{emails}')`)
  // As a heartbeat's answer would tell it to whoever buries.
  const [row] = await sql.unsafe<{ seen: string }[]>(
    `select to_char(seen_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') as seen from ${s}.worker`,
  )
  const bury = readFileSync(new URL('../../sql/statements/worker_bury.sql', import.meta.url), 'utf8')
  await sql.unsafe(bury.replaceAll(':"schema"', s), ['7', row?.seen ?? ''])

  const found = await clinic.findings('calm')
  expect(found).toMatchObject([{ status: 'note', remedy: null, details: { queue: 'emails' } }])
  const { sinceMs, leftMs } = { sinceMs: -1, leftMs: -1, ...found[0]?.details }
  expect(sinceMs).toBeGreaterThanOrEqual(0)
  expect(leftMs).toBeGreaterThan(0)
  expect(sinceMs + leftMs).toBeCloseTo(60_000, -1)
  expect(found[0]?.message).toMatch(/^queue emails is calm since .+, for .+ more: a process with an express lane on it/)
  const { code, stdout } = await clinic.doctor()
  expect(stdout).toMatch(/^note {5}calm .*emails/m)
  // The queue's job that nobody serves is the only trouble.
  expect(code).toBe(1)
  await sql.unsafe(`delete from ${s}.job`)
  expect((await clinic.doctor()).code).toBe(0)

  await sql.unsafe(`update ${s}.queue set calm_until = clock_timestamp()`)
  expect(await clinic.findings('calm')).toMatchObject([{ status: 'ok' }])
})
