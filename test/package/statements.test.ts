import postgres from 'postgres'
import { expect, onTestFinished } from 'vitest'
import { test } from '../support/database.js'
import { blocks, userDocuments } from '../support/documents.js'
import { documentsDatabase } from '../support/documents-database.js'

async function connect(): Promise<postgres.Sql> {
  const sql = postgres(await documentsDatabase('migrated'), { max: 1, onnotice: () => {} })
  onTestFinished(() => sql.end())
  return sql
}

/** Those columns of other libraries' tables that the statements name. */
const peers = `
  create schema graphile_worker;
  create table graphile_worker._private_tasks (id int primary key, identifier text not null);
  create table graphile_worker._private_jobs (
    id bigint primary key,
    task_id int not null,
    payload json not null,
    priority smallint not null,
    run_at timestamptz not null,
    attempts smallint not null,
    max_attempts smallint not null,
    key text,
    locked_at timestamptz
  );
  insert into graphile_worker._private_tasks values (1, 'send_email'), (2, 'other');
  insert into graphile_worker._private_jobs values
    (1, 1, '{"to": "now"}', -5, now() - interval '1 min', 1, 25, 'a key', null),
    (2, 1, '{"to": "later"}', 0, now() + interval '1 hour', 0, 25, null, null),
    (3, 1, '{"to": "running"}', 0, now(), 1, 25, null, now()),
    (4, 2, '{"to": "another task"}', 0, now(), 0, 25, null, null);
  create schema pgboss;
  create type pgboss.job_state as enum ('created', 'retry', 'active', 'completed', 'cancelled', 'failed');
  create table pgboss.job (
    id uuid primary key default gen_random_uuid(),
    name text not null,
    data jsonb,
    priority int not null default 0,
    state pgboss.job_state not null default 'created',
    retry_limit int not null default 2,
    retry_count int not null default 0,
    start_after timestamptz not null default now(),
    singleton_key text
  );
  insert into pgboss.job (name, data, priority, state, retry_count, start_after, singleton_key) values
    ('send-email', '{"to": "now"}', 5, 'created', 0, now() - interval '1 min', 'its key'),
    ('send-email', '{"to": "later"}', 0, 'retry', 1, now() + interval '1 hour', null),
    ('send-email', '{"to": "running"}', 0, 'active', 0, now(), null),
    ('send-email', '{"to": "done"}', 0, 'completed', 0, now(), null),
    ('other', '{"to": "another queue"}', 0, 'created', 0, now(), null)`

for (const { path } of userDocuments().filter(({ path }) => blocks('sql', path).length > 0)) {
  test(`every statement of ${path} is carried out`, async () => {
    const sql = await connect()
    await sql.unsafe(peers)
    await sql`insert into bugle.job (queue) select 'emails' from generate_series(1, 20)`
    for (const text of blocks('sql', path)) await sql.unsafe(text)
  })
}

test('the statements of the migrating guide move waiting jobs with time, priority, key and runs left', async () => {
  const moved = (to: string, more: object) => ({ queue: 'emails', payload: { to }, key: null, priority: 0, ...more })
  const statements = blocks('sql', 'src/guides/migrating.md')
  expect(statements).toHaveLength(2)
  for (const [peer, statement] of statements.entries()) {
    const sql = await connect()
    await sql.unsafe(peers)
    await sql.unsafe(statement)
    expect(await sql`select queue, payload, key, priority, state, max_attempts from bugle.job order by id`).toEqual([
      moved('now', { key: ['a key', 'its key'][peer], priority: 5, state: 'ready', max_attempts: [24, 3][peer] }),
      moved('later', { state: 'scheduled', max_attempts: [25, 2][peer] }),
    ])
    const left =
      peer === 0
        ? sql`select payload->>'to' as to from graphile_worker._private_jobs order by id`
        : sql`select data->>'to' as to from pgboss.job order by name, state desc`
    expect((await left).map(({ to }) => to).sort()).toEqual(
      peer === 0 ? ['another task', 'running'] : ['another queue', 'done', 'running'],
    )
  }
})

test("the SQL guide's statements put what they say", async () => {
  const sql = await connect()
  for (const text of blocks('sql', 'src/guides/sql.md').filter((text) => !text.includes('bugle.pause')))
    await sql.unsafe(text)
  const jobs =
    await sql`select queue, kind, payload, priority, state, key, flags, max_attempts from bugle.job order by id`
  const plain = { kind: null, priority: 0, state: 'ready', key: null, flags: null, max_attempts: null }
  const email = (to: string, more = {}) => ({ ...plain, queue: 'emails', payload: { to }, ...more })
  expect(jobs).toEqual([
    email('a@example.org'),
    email('a@example.org', { kind: 'welcome', priority: 10, state: 'scheduled' }),
    { ...plain, queue: 'sync', payload: { user: 17 }, key: 'user-17', flags: ['heavy'], max_attempts: 3 },
    { ...plain, queue: 'index', payload: { document: 'readme' }, key: 'readme', state: 'scheduled' },
    email('ada@example.org'),
    email('grace@example.org'),
    email('ada@example.org'),
  ])
  const columns = await sql`
    select column_name as name from information_schema.columns where table_schema = 'bugle' and table_name = 'job'`
  const text = userDocuments().find(({ path }) => path === 'src/guides/sql.md')?.text ?? ''
  const listed = [...text.matchAll(/^\| `(\w+)` \| [\w[\]]+ \|/gm)].map(([, name]) => name)
  expect(listed.sort()).toEqual(columns.map(({ name }) => name).sort())
})
