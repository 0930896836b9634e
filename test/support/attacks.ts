import { expect } from 'vitest'
import type { TestDatabase } from './database.js'
import type { Roles } from './roles.js'

/** The refusals of PostgreSQL: a privilege is missing, or the role is neither owner nor superuser. */
const denied = /permission denied|must be owner|must be superuser/

interface Row {
  id: string
  queue: string
  kind: string | null
  payload: unknown
  state: string
  priority: number
  attempt: number
  worker_id: string | null
  key: string | null
  flags: string[] | null
  max_attempts: number | null
}

/** The jobs of the roles' schema, by id. */
export async function rows(db: TestDatabase, { s }: Roles): Promise<Row[]> {
  return [...(await db.sql.unsafe<Row[]>(`select * from ${s}.job order by id`))]
}

/** Expects that each call is refused, and that none changes anything. */
export async function expectRefusals(roles: Roles, calls: Record<string, () => Promise<unknown>>): Promise<void> {
  const before = await roles.snapshot()
  for (const [what, call] of Object.entries(calls)) {
    await expect.soft(call(), what).rejects.toThrow(denied)
    expect.soft(await roles.snapshot(), what).toEqual(before)
  }
}

/** Inserts a failed job. @returns one row, with its id */
export const failed = (roles: Roles, db: TestDatabase) =>
  db.sql.unsafe(
    `insert into ${roles.s}.job (queue, payload, state, finished_at)
     values ('q', '"failed"', 'failed', '2020-01-01') returning id::text`,
  )

/** Inserts an archived job. */
export const archived = (roles: Roles, db: TestDatabase, id: string) =>
  db.sql.unsafe(`
    insert into ${roles.s}.archive
      (id, queue, payload, priority, run_at, attempt, lease, crashes, created_at, finished_at)
    values (${id}, 'q', '"archived"', 0, now(), 1, 5, 0, now(), '2020-01-01')`)

/** SQL that a producer may not run, by what it tries. `{s}` stands for the schema, `{owner}` for its owner. */
export const attacks = {
  'update a payload': `update {s}.job set payload = '"mine"'`,
  'update a state': `update {s}.job set state = 'failed'`,
  'update without reading': `update {s}.job set run_at = 'now'`,
  'update a key': `update {s}.job set key = null`,
  delete: `delete from {s}.job`,
  'delete by id': `delete from {s}.job where id > 0`,
  truncate: `truncate {s}.job`,
  'read payloads': `select payload from {s}.job`,
  'read rows': `select * from {s}.job`,
  'read a whole row': `select job from {s}.job`,
  'read keys': `select key from {s}.job`,
  'read queues': `select queue from {s}.job`,
  'read by a filter': `select id from {s}.job where payload::text like '%secret%'`,
  'read what it inserts, and so anything': `insert into {s}.job (queue) values ('q') returning payload`,
  'read by copy': `copy {s}.job to stdout`,
  'lock a row': `select id from {s}.job for update`,
  'share a row': `select id from {s}.job for key share`,
  'lock the table': `do 'begin lock table {s}.job in access exclusive mode; end'`,
  'lock the table, a little': `do 'begin lock table {s}.job in row exclusive mode; end'`,
  'insert a running job': `insert into {s}.job (queue, state, worker_id) values ('q', 'running', 1)`,
  'insert a failed job': `insert into {s}.job (queue, state) values ('q', 'failed')`,
  'insert an owner': `insert into {s}.job (queue, worker_id) values ('q', null)`,
  'insert attempts': `insert into {s}.job (queue, attempt) values ('q', 9)`,
  'insert a lease': `insert into {s}.job (queue, lease) values ('q', 9)`,
  'insert crashes': `insert into {s}.job (queue, crashes) values ('q', 9)`,
  'insert under an id': `insert into {s}.job (id, queue) overriding system value values (1, 'q')`,
  'insert a birthday': `insert into {s}.job (queue, created_at) values ('q', '2020-01-01')`,
  'insert progress': `insert into {s}.job (queue, progress) values ('q', '1')`,
  'insert an error': `insert into {s}.job (queue, last_error) values ('q', '{}')`,
  'insert a cancel': `insert into {s}.job (queue, cancel_requested_at) values ('q', now())`,
  'insert or update': `
    insert into {s}.job (queue, key) values ('q', 'k')
    on conflict (queue, key) where key is not null and state in ('ready', 'scheduled') do update set payload = '1'`,
  'call requeue': `select {s}.requeue(1)`,
  'call requeue_many': `select {s}.requeue_many('{1}')`,
  'call cancel': `select {s}.cancel(1)`,
  'call pause': `select {s}.pause('q')`,
  'call resume': `select {s}.resume('q')`,
  'insert into the archive': `
    insert into {s}.archive (id, queue, payload, priority, run_at, attempt, lease, crashes, created_at)
    values (1, 'q', '1', 0, now(), 0, 0, 0, now())`,
  'read the archive': `select id from {s}.archive`,
  'delete from the archive': `delete from {s}.archive`,
  'pause a queue': `insert into {s}.queue (name, paused_at) values ('q', now())`,
  'read queues that are paused': `select name from {s}.queue`,
  'resume a queue': `update {s}.queue set paused_at = null`,
  'make a worker': `insert into {s}.worker (id, name, host, pid, version) values (1, 'n', 'h', 1, 'v')`,
  'read workers': `select id from {s}.worker`,
  'read taken keys': `select key from {s}.taken_key`,
  'forget taken keys': `delete from {s}.taken_key`,
  'bury workers': `delete from {s}.worker`,
  'remember a migration': `insert into {s}.migration (number, name) values (99, 'n')`,
  'forget a migration': `delete from {s}.migration`,
  'set the sequence': `select setval('{s}.job_id_seq', 1)`,
  'read the sequence': `select last_value from {s}.job_id_seq`,
  'turn a trigger off': `alter table {s}.job disable trigger job_wake_insert`,
  'turn triggers off': `set session_replication_role = replica`,
  'add a trigger': `create trigger mine before insert on {s}.job for each row execute function {s}.schedule()`,
  'add an index': `create index on {s}.job (id)`,
  'add a column': `alter table {s}.job add column mine int`,
  'drop a table': `drop table {s}.job`,
  'drop a function': `drop function {s}.put_keyed(text, json, text, boolean)`,
  'replace a function': `create or replace function {s}.cancel(id bigint) returns text language sql as 'select '''''`,
  'own a function': `alter function {s}.put_keyed(text, json, text, boolean) security invoker`,
  'create a table': `create table {s}.mine ()`,
  'create a function': `create function {s}.to_timestamp(bigint) returns timestamptz language sql as 'select now()'`,
  'create an operator': `create operator {s}.= (leftarg = text, rightarg = jsonb, function = pg_catalog.texteq)`,
  'drop the schema': `drop schema {s} cascade`,
  'become the owner': `set role {owner}`,
}
