import { expect } from 'vitest'
import { loadMigrations } from '../../src/database/statements.js'
import { expectedObjects, makingStatement } from '../../src/doctor/statements.js'
import { test } from '../support/clinic.js'

test('an index dropped, a function replaced, a trigger gone: told, and the remedies make them again', async ({
  clinic,
}) => {
  const { s, sql } = clinic
  await sql.unsafe(`drop index ${s}.job_ready`)
  await sql.unsafe(
    `create or replace function ${s}.wake() returns trigger language plpgsql as 'begin return null; end'`,
  )
  await sql.unsafe(`drop trigger job_schedule on ${s}.job`)
  await sql.unsafe(`drop index ${s}.job_failed; create index job_failed on ${s}.job (finished_at)`)
  const found = await clinic.findings('drift')
  expect(found.map(({ status, details: { object, is } }) => [status, object, is])).toEqual([
    ['trouble', 'function wake()', 'changed'],
    ['trouble', 'index job_failed', 'changed'],
    ['trouble', 'index job_ready', 'missing'],
    ['trouble', 'trigger job.job_schedule', 'missing'],
  ])
  for (const { remedy, details } of found) {
    // Statements that cannot share a transaction go one by one.
    const parts = details.object === 'index job_failed' ? (remedy ?? '').split('\n') : [remedy ?? '']
    for (const part of parts) await sql.unsafe(part)
  }
  expect(await clinic.findings('drift')).toMatchObject([{ status: 'ok' }])
})

test('what was added is trouble where it can refuse or slow what we write, and else a note', async ({ clinic }) => {
  const { s, sql } = clinic
  await sql.unsafe(`alter table ${s}.job add column tenant text, add constraint small check (priority < 100)`)
  await sql.unsafe(`create index own on ${s}.job (tenant)`)
  await sql.unsafe(`create trigger audit before delete on ${s}.job for each row execute function ${s}.schedule()`)
  const found = await clinic.findings('drift')
  const given = found.map(({ status, details: { object } }) => `${status} ${object}`).sort()
  expect(given).toEqual([
    'note index own',
    'trouble column job.tenant',
    'trouble constraint job.small',
    'trouble trigger job.audit',
  ])
  // The index goes with its column.
  for (const { remedy, details } of found) if (details.object !== 'index own') await sql.unsafe(remedy ?? '')
  expect(await clinic.findings('drift')).toMatchObject([{ status: 'ok' }])
})

test('a column of another type, an unlogged table, a domain that lets everything in, an invalid index', async ({
  clinic,
}) => {
  const { s, sql } = clinic
  await sql.unsafe(`alter table ${s}.archive set unlogged`)
  await sql.unsafe(`alter table ${s}.worker alter column pid type bigint`)
  await sql.unsafe(`alter domain ${s}.queue_name drop constraint queue_name_check`)
  await sql.unsafe(`update pg_index set indisvalid = false where indexrelid = '${s}.job_key'::regclass`)
  const found = await clinic.findings('drift')
  expect(found.map(({ status, details: { object, is } }) => `${status} ${object} ${is}`).sort()).toEqual([
    'trouble column worker.pid changed',
    'trouble domain queue_name changed',
    'trouble index job_key changed',
    'trouble table archive changed',
  ])
})

test('a schema that was renamed is drift: its functions look for their tables elsewhere', async ({ clinic }) => {
  await clinic.sql.unsafe(`alter schema ${clinic.s} rename to renamed`)
  const found = await clinic.findings('drift', { schema: 'renamed' })
  await clinic.sql.unsafe(`alter schema renamed rename to ${clinic.s}`)
  const functions = found.map(({ details: { object } }) => String(object).split('(')[0])
  expect(functions).toContain('function put')
  expect(functions).not.toContain('function wake')
  expect(await clinic.findings('drift')).toMatchObject([{ status: 'ok' }])
})

test('every index, trigger and function of ours but those of keys can be made again by a remedy', () => {
  const migrations = loadMigrations('bugle')
  const kinds = ['index', 'trigger', 'function']
  const without = expectedObjects().filter(
    (object) => kinds.includes(object.kind) && makingStatement(migrations, object) === null,
  )
  expect(without.map(({ name }) => name)).toEqual([
    'archive_pkey',
    'job_pkey',
    'migration_pkey',
    'queue_pkey',
    'taken_key_pkey',
    'worker_pkey',
  ])
})
