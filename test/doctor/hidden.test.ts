import { expect, onTestFinished } from 'vitest'
import { createBugle } from '../../src/index.js'
import { type Clinic, test } from '../support/clinic.js'
import { refusal } from '../support/refusal.js'
import { runGrants, withoutPsqlCommands } from '../support/roles.js'

const tables = ['archive', 'job', 'migration', 'queue', 'taken_key', 'worker']

/** A role that consumes, and does not own the tables. */
async function worker({
  connectionString,
  schema,
  connect,
}: Clinic): Promise<{ name: string; connectionString: string }> {
  const sql = connect()
  const name = `worker_${schema.replaceAll(/\W/g, '_')}`
  await sql.unsafe(`create role ${name} login`)
  const { stdout } = await runGrants(['--schema', schema, '--consumer', name, '--observer', name])
  await sql.unsafe(withoutPsqlCommands(stdout)).simple()
  const url = new URL(connectionString)
  url.username = name
  return { name, connectionString: url.href }
}

test('row level security by an event trigger: refused by name, told by the doctor, mended by its remedies', async ({
  clinic,
}) => {
  const { schema, sql } = clinic
  // The recipe of some hosted databases.
  await sql.unsafe(`
    create function public.secure() returns event_trigger language plpgsql as $$
    declare
      made record;
    begin
      for made in select * from pg_event_trigger_ddl_commands() where command_tag = 'CREATE TABLE' loop
        execute format('alter table %s enable row level security', made.object_identity);
      end loop;
    end $$`)
  await sql.unsafe(`create event trigger secure on ddl_command_end execute function public.secure()`)
  await sql.unsafe(`drop schema ${clinic.s} cascade`)
  await clinic.bugle.migrate()
  await sql.unsafe(`drop event trigger secure`)
  await sql.unsafe(`drop function public.secure`)
  const { name, connectionString } = await worker(clinic)
  const bugle = createBugle({ connectionString, schema, sweepMs: 0 })
  onTestFinished(() => bugle.close())

  const unusable = {
    code: 'SCHEMA_UNUSABLE',
    message: expect.stringMatching(
      new RegExp(`^row level security hides every row of ${tables.join(', ')} .*"${name}".*alter table`),
    ),
  }
  expect(await refusal(() => bugle.put('q', 1))).toMatchObject(unusable)
  expect(await refusal(() => bugle.consume('q', () => {}))).toMatchObject(unusable)
  expect(await refusal(() => bugle.stats())).toMatchObject(unusable)
  expect(await bugle.health()).toMatchObject({ isHealthy: false, database: { isUp: true } })

  // Looked at as that role, and as the owner, from whom nothing is hidden.
  const [seen] = await clinic.findings('schema', { connectionString })
  expect(seen).toMatchObject({ status: 'trouble', message: expect.stringMatching(/^row level security hides/) })
  const owned = await clinic.findings('drift')
  expect(owned.map(({ status, details: { object } }) => `${status} ${object}`)).toEqual(
    tables.map((table) => `trouble table ${table}`),
  )
  expect(owned.map(({ remedy }) => remedy).join('\n')).toBe(seen?.remedy)
  for (const { remedy } of owned) await sql.unsafe(remedy ?? '')
  expect(await clinic.findings('drift')).toMatchObject([{ status: 'ok' }])
  expect(await clinic.findings('schema', { connectionString })).toMatchObject([{ status: 'ok' }])
  await bugle.put('q', 1)
  const ran: unknown[] = []
  await bugle.drain('q', (job) => void ran.push(job.payload))
  expect(ran).toEqual([1])
  await bugle.close()
  await sql.unsafe(`drop owned by ${name}; drop role ${name}`)
})

test('row level security of the jobs alone: refused as well, until a policy shows them', async ({ clinic }) => {
  const { s, schema, sql } = clinic
  const { name, connectionString } = await worker(clinic)
  await sql.unsafe(`alter table ${s}.job enable row level security`)
  // A policy for others shows this role nothing.
  await sql.unsafe(`create policy others on ${s}.job to postgres using (true)`)
  const bugle = createBugle({ connectionString, schema, sweepMs: 0 })
  onTestFinished(() => bugle.close())
  expect(await refusal(() => bugle.consume('q', () => {}))).toMatchObject({
    code: 'SCHEMA_UNUSABLE',
    message: expect.stringMatching(/^row level security hides every row of job in schema/),
  })
  expect(await clinic.findings('schema', { connectionString })).toMatchObject([{ status: 'trouble' }])
  await sql.unsafe(`create policy own on ${s}.job to ${name} using (true)`)
  await bugle.put('q', 1)
  const ran: unknown[] = []
  await bugle.drain('q', (job) => void ran.push(job.payload))
  expect(ran).toEqual([1])
  // Somebody's choice, and no schema of ours all the same.
  expect(await clinic.findings('schema', { connectionString })).toMatchObject([{ status: 'ok' }])
  expect(await clinic.findings('drift')).toMatchObject([{ status: 'trouble', details: { object: 'table job' } }])
  await bugle.close()
  await sql.unsafe(`drop policy others on ${s}.job; drop policy own on ${s}.job; drop owned by ${name}`)
  await sql.unsafe(`drop role ${name}`)
})

test('a role that is read only by default is trouble, wherever that is set, and the remedy takes it back', async ({
  clinic,
}) => {
  // Whoever takes the setting back must be let write.
  const sql = clinic.connect()
  await sql.unsafe('set default_transaction_read_only = off')
  const { name, connectionString } = await worker(clinic)
  const places = {
    user: `alter role ${name} set default_transaction_read_only = on`,
    database: `alter database postgres set default_transaction_read_only = on`,
    'database user': `alter role ${name} in database postgres set default_transaction_read_only = on`,
  }
  for (const [source, setting] of Object.entries(places)) {
    await sql.unsafe(setting)
    const [found] = await clinic.findings('connection', { connectionString })
    expect(found).toMatchObject({ status: 'trouble', details: { source } })
    await sql.unsafe(found?.remedy ?? '')
    expect(await clinic.findings('connection', { connectionString })).toMatchObject([{ status: 'ok' }])
  }
  await sql.unsafe(`alter system set default_transaction_read_only = on`)
  await sql`select pg_reload_conf()`
  await expect
    .poll(async () => (await clinic.findings('connection', { connectionString }))[0]?.details.source)
    .toBe('configuration file')
  const [found] = await clinic.findings('connection', { connectionString })
  for (const part of found?.remedy?.split('; ') ?? []) await sql.unsafe(part)
  await expect.poll(async () => (await clinic.findings('connection', { connectionString }))[0]?.status).toBe('ok')
  await sql.unsafe(`drop owned by ${name}; drop role ${name}`)
})

test('a table `migration` of somebody else is trouble that names the schema', async ({ clinic }) => {
  await clinic.sql.unsafe(
    `create schema foreign_app; create table foreign_app.migration (number int, done_at timestamp)`,
  )
  expect(await clinic.findings('schema', { schema: 'foreign_app' })).toMatchObject([
    { status: 'trouble', message: expect.stringMatching(/"foreign_app" has a table "migration" that is not Bugle's/) },
  ])
  await clinic.sql.unsafe(`drop schema foreign_app cascade`)
})
