import { expect } from 'vitest'
import { loadStatements } from '../../../src/database/statements.js'
import type { Bugle, Job } from '../../../src/index.js'
import { reject, release, retry } from '../../../src/index.js'
import { signal, type TestDatabase } from '../../support/database.js'
import { type Roles, test } from '../../support/roles.js'

/** What PostgreSQL says to whoever lacks a privilege: of a table or function, or as a mere non-owner. */
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

async function rows(db: TestDatabase, { s }: Roles): Promise<Row[]> {
  return [...(await db.sql.unsafe<Row[]>(`select * from ${s}.job order by id`))]
}

/** Each must be refused, and none may change anything. */
async function expectRefusals(roles: Roles, calls: Record<string, () => Promise<unknown>>): Promise<void> {
  const before = await roles.snapshot()
  for (const [what, call] of Object.entries(calls)) {
    await expect.soft(call(), what).rejects.toThrow(denied)
    expect.soft(await roles.snapshot(), what).toEqual(before)
  }
}

const failed = (roles: Roles, db: TestDatabase) =>
  db.sql.unsafe(
    `insert into ${roles.s}.job (queue, payload, state, finished_at) values ('q', '"failed"', 'failed', '2020-01-01') returning id::text`,
  )

const archived = (roles: Roles, db: TestDatabase, id: string) =>
  db.sql.unsafe(`
    insert into ${roles.s}.archive (id, queue, payload, priority, run_at, attempt, lease, crashes, created_at, finished_at)
    values (${id}, 'q', '"archived"', 0, now(), 1, 5, 0, now(), '2020-01-01')`)

test('K grants: a producer puts in every way, and the jobs are what was put', async ({ db, roles }) => {
  const bugle = roles.bugle('producer')
  const sql = roles.connect('producer')
  const later = { delayMs: 60_000 }

  await bugle.put('q', 'plain')
  await bugle.put('q', 'options', { kind: 'k', priority: 3, flags: ['eu'], maxAttempts: 2, timeoutMs: 9_000 })
  await bugle.put('q', 'later', later)
  await bugle.putMany('q', ['many 1', 'many 2'], { priority: 1 })
  await bugle.putMany('q', ['many 3', 'many 4'], later)
  const keyed = await bugle.put('q', 'replaced', { key: 'replace', ...later })
  expect(await bugle.put('q', 'replacement', { key: 'replace', kind: 'new' })).toBe(keyed)
  const kept = await bugle.put('q', 'kept', { key: 'keep' })
  expect(await bugle.put('q', 'not put', { key: 'keep', keyMode: 'keep' })).toBe(kept)
  await bugle.put('q', 'first', { key: 'reject', keyMode: 'reject' })
  await expect(bugle.put('q', 'second', { key: 'reject', keyMode: 'reject' })).rejects.toMatchObject({
    code: 'KEY_TAKEN',
  })
  const of = (keyMode: 'replace' | 'keep' | 'reject') => (payload: unknown) => ({
    key: `${payload} ${keyMode}`,
    keyMode,
  })
  for (const keyMode of ['replace', 'keep', 'reject'] as const) {
    const ids = await bugle.putMany('q', ['a', 'b'], of(keyMode))
    if (keyMode === 'reject')
      await expect(bugle.putMany('q', ['a'], of(keyMode))).rejects.toMatchObject({ code: 'KEY_TAKEN' })
    else expect(await bugle.putMany('q', ['b', 'a'], of(keyMode))).toEqual(ids.toReversed())
  }
  await sql.begin(async (tx) => {
    await bugle.put('q', 'in a transaction', { tx })
    await bugle.put('q', 'in a transaction, replacing', { key: 'replace', tx })
    await bugle.putMany('q', ['in a transaction, many'], { key: 'many', keyMode: 'keep', tx })
  })
  await sql
    .begin(async (tx) => {
      await bugle.put('q', 'rolled back', { tx })
      await bugle.put('q', 'rolled back', { key: 'replace', tx })
      throw new Error('no')
    })
    .catch(() => {})
  await sql.unsafe(`insert into ${roles.s}.job (queue, payload) values ('q', '"insert"') returning id`)
  await sql.unsafe(`select ${roles.s}.put('q', '"function"', 7, 'k', now() + interval '1 hour')`)
  const copy = await sql.unsafe(`copy ${roles.s}.job (queue, payload) from stdin`).writable()
  await new Promise((resolve, reject) => copy.on('finish', resolve).on('error', reject).end('q\t"copied"\n'))

  const found = await rows(db, roles)
  expect(found.map(({ payload, state }) => [payload, state])).toEqual([
    ['plain', 'ready'],
    ['options', 'ready'],
    ['later', 'scheduled'],
    ['many 1', 'ready'],
    ['many 2', 'ready'],
    ['many 3', 'scheduled'],
    ['many 4', 'scheduled'],
    ['in a transaction, replacing', 'ready'],
    ['kept', 'ready'],
    ['first', 'ready'],
    ...['a', 'b', 'a', 'b', 'a', 'b'].map((payload) => [payload, 'ready']),
    ['in a transaction', 'ready'],
    ['in a transaction, many', 'ready'],
    ['insert', 'ready'],
    ['function', 'scheduled'],
    ['copied', 'ready'],
  ])
  expect(found[1]).toMatchObject({ kind: 'k', priority: 3, flags: ['eu'], max_attempts: 2, timeout_ms: 9_000 })
  expect(found.find(({ id }) => id === keyed)).toMatchObject({ kind: null, key: 'replace' })
  expect(found.filter(({ attempt, worker_id }) => attempt !== 0 || worker_id !== null)).toEqual([])
})

test("K grants: a producer's jobs wake a consumer of another role that sleeps, in every mode", async ({ roles }) => {
  const producer = roles.bugle('producer')
  const sql = roles.connect('producer')
  const started: unknown[] = []
  let next = signal()
  // No sweep: only a notification wakes it.
  const consumer = await roles.bugle('consumer').consume('q', (job) => {
    started.push(job.payload)
    next.resolve()
  })
  const puts: (() => Promise<unknown>)[] = [
    () => producer.put('q', 1),
    () => producer.put('q', 2, { key: 'k', keyMode: 'replace' }),
    () => producer.put('q', 3, { key: 'k', keyMode: 'keep' }),
    () => producer.put('q', 4, { key: 'k', keyMode: 'reject' }),
    () => producer.putMany('q', [5], { priority: 1 }),
    () => sql.unsafe(`insert into ${roles.s}.job (queue, payload) values ('q', '6')`),
    () => sql.unsafe(`select ${roles.s}.put('q', '7')`),
  ]
  for (const put of puts) {
    await consumer.idle()
    next = signal()
    await put()
    await next.promise
  }
  expect(started).toEqual([1, 2, 3, 4, 5, 6, 7])
})

test('K grants: a producer is refused every other call, and nothing changes', async ({ db, roles }) => {
  const bugle = roles.bugle('producer')
  const id = await bugle.put('q', 'waits', { key: 'k' })
  const [row] = await failed(roles, db)
  await archived(roles, db, '999')
  await db.sql.unsafe(`insert into ${roles.s}.queue (name, paused_at) values ('paused', now())`)
  await expectRefusals(roles, {
    job: () => bugle.job(id),
    jobs: () => bugle.jobs(),
    'jobs, filtered': () => bugle.jobs({ queue: 'q', state: 'failed' }),
    requeue: () => bugle.requeue(String(row?.id)),
    'requeue of the archive': () => bugle.requeue('999'),
    'requeue by filter': () => bugle.requeue({}),
    'requeue by filter, of the archive': () => bugle.requeue({ state: 'archived' }),
    cancel: () => bugle.cancel(id),
    pause: () => bugle.pause('q'),
    resume: () => bugle.resume('paused'),
    'collect failed': () => bugle.collect({ failedOlderThanMs: 0 }),
    'collect archived': () => bugle.collect({ archivedOlderThanMs: 0 }),
    consume: () => bugle.consume('q', () => {}),
    drain: () => bugle.drain('q', () => {}),
    stats: () => bugle.stats(),
    'stats of a queue': () => bugle.stats('q'),
  })
  // It can tell whether it can put.
  expect(await bugle.health()).toMatchObject({ isHealthy: true, problems: [] })
  // There is nothing to migrate, and it looks before it acts.
  expect(await bugle.migrate()).toMatchObject({ applied: [] })
  await db.sql.unsafe(`delete from ${roles.s}.migration where number = (select max(number) from ${roles.s}.migration)`)
  await expectRefusals(roles, { migrate: () => roles.bugle('producer').migrate() })
})

/** By direct SQL. `{s}` is the schema. */
const attacks = {
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
  'drop a function': `drop function {s}.put_keep(text, json)`,
  'replace a function': `create or replace function {s}.cancel(id bigint) returns text language sql as 'select '''''`,
  'own a function': `alter function {s}.put_keep(text, json) security invoker`,
  'create a table': `create table {s}.mine ()`,
  'create a function': `create function {s}.to_timestamp(bigint) returns timestamptz language sql as 'select now()'`,
  'create an operator': `create operator {s}.= (leftarg = text, rightarg = jsonb, function = pg_catalog.texteq)`,
  'drop the schema': `drop schema {s} cascade`,
  'become the owner': `set role {owner}`,
}

test('K grants: a producer’s own SQL can do nothing but insert, and nothing changes', async ({ db, roles }) => {
  const producer = roles.bugle('producer')
  await producer.put('q', 'secret', { key: 'k' })
  await failed(roles, db)
  await archived(roles, db, '999')
  await db.sql.unsafe(`insert into ${roles.s}.queue (name, paused_at) values ('paused', now())`)
  const sql = roles.connect('producer')
  const fill = (text: string) =>
    text.replaceAll('{s}', () => roles.s).replaceAll('{owner}', () => `"${roles.names.owner}"`)
  await expectRefusals(
    roles,
    Object.fromEntries(Object.entries(attacks).map(([what, text]) => [what, () => sql.unsafe(fill(text)).execute()])),
  )
  // What it can see: that there are jobs.
  expect(await sql.unsafe(`select count(*)::int as jobs from ${roles.s}.job`)).toEqual([{ jobs: 2 }])
})

test('K grants: the functions with their owner’s rights do no more than a put', async ({ db, roles }) => {
  const own = await db.sql`
    select proname, array_to_string(proconfig, ' ') as settings, has_function_privilege('public', pg_proc.oid, 'execute') as open
    from pg_proc
    where prosecdef and pronamespace = (select oid from pg_namespace where nspname = ${roles.schema}) order by proname`
  const settings = `search_path=pg_catalog, ${roles.s}, pg_temp`
  expect(own).toEqual([
    { proname: 'put_keep', settings, open: false },
    { proname: 'put_replace', settings, open: false },
  ])

  // A job that runs under the key, and one that has failed: neither is theirs to change.
  await db.sql.unsafe(`
    insert into ${roles.s}.job (queue, payload, key, state, worker_id)
    values ('q', '"running"', 'k', 'running', 1), ('q', '"failed"', 'k', 'failed', null)`)
  const before = await rows(db, roles)
  const sql = roles.connect('producer')
  // Strangers' objects that come first in the caller's search_path, or are temporary.
  await db.sql.unsafe(`create schema "evil ${roles.schema.slice(0, 13)}"`)
  const evil = `"evil ${roles.schema.slice(0, 13)}"`
  try {
    await db.sql.unsafe(`
      create table ${evil}.called (by text);
      grant usage on schema ${evil} to public;
      grant insert on ${evil}.called to public;
      create function ${evil}.to_timestamp(float8) returns timestamptz language sql as
        'insert into ${evil}.called select current_user; select pg_catalog.to_timestamp($1)';
      create function ${evil}.clock_timestamp() returns timestamptz language sql as
        'insert into ${evil}.called select current_user; select pg_catalog.clock_timestamp()'`)
    await sql.unsafe(`create temp table job (like ${roles.s}.migration)`)
    await sql.unsafe(`set search_path = pg_temp, ${evil}, ${roles.s}, pg_catalog`)
    const jobs = JSON.stringify([
      { payload: 1, key: 'k', run_at: 0, state: 'failed', attempt: 9, lease: 9, crashes: 9, worker_id: 7, id: 1 },
    ])
    const put = async (name: string) =>
      (await sql.unsafe(`select * from ${roles.s}.${name}('q', $1::text::json)`, [jobs]))[0]
    const replaced = await put('put_replace')
    expect(await put('put_keep')).toEqual(replaced)
    expect(await db.sql.unsafe(`select by from ${evil}.called`)).toEqual([])
    const after = await rows(db, roles)
    expect(after.slice(0, 2)).toEqual(before)
    expect(after.slice(2)).toMatchObject([
      { id: replaced?.id, payload: 1, state: 'ready', attempt: 0, lease: '0', crashes: 0, worker_id: null },
    ])
  } finally {
    await db.sql.unsafe(`drop schema ${evil} cascade`)
  }
})

test('K grants: plain and keyed puts run under one search_path, for triggers to be planned once', async ({
  db,
  roles,
}) => {
  await db.sql.unsafe(`
    create table ${roles.s}.seen (path text);
    create function ${roles.s}.see() returns trigger language plpgsql security definer as
      $$ begin execute format('insert into %I.seen values ($1)', tg_table_schema) using current_schemas(true)::text; return null; end $$;
    create trigger see after insert or update on ${roles.s}.job for each row execute function ${roles.s}.see()`)
  const bugle = roles.bugle('producer', { poolSize: 2 })
  await bugle.put('q', 1)
  await bugle.put('q', 2, { delayMs: 60_000 })
  await bugle.put('q', 3, { key: 'k', keyMode: 'replace' })
  await bugle.put('q', 3, { key: 'k', keyMode: 'replace' })
  await bugle.put('q', 3, { key: 'k', keyMode: 'keep' })
  const seen = await db.sql.unsafe(`select path, count(*)::int as puts from ${roles.s}.seen group by path`)
  expect(seen).toEqual([{ path: expect.any(String), puts: 5 }])
})

test('K grants: a notification that anybody can send cancels no job', async ({ roles }) => {
  const worker = roles.bugle('consumer')
  const running = new Map<unknown, { job: Job; aborted: AbortSignal }>()
  const both = signal()
  const end = signal()
  const consumer = await worker.consume('q', async (job, { signal: aborted }) => {
    running.set(job.payload, { job, aborted })
    if (running.size === 2) both.resolve()
    await end.promise
  })
  const producer = roles.bugle('producer')
  await producer.putMany('q', ['forged', 'cancelled'])
  await both.promise
  const [forged, cancelled] = [running.get('forged'), running.get('cancelled')]
  const sql = roles.connect('producer')
  const [{ oid } = {}] = await sql`select ${`${roles.s}.job`}::regclass::oid as oid`
  await sql`select pg_notify(${`bugle_${oid}_cancel`}, ${`${worker.workerId} ${forged?.job.id}`})`
  const aborted = new Promise((resolve) => cancelled?.aborted.addEventListener('abort', resolve))
  expect(await worker.cancel(cancelled?.job.id ?? '')).toBe('requested')
  await aborted
  expect(cancelled?.aborted.reason).toMatchObject({ code: 'CANCELLED' })
  expect(forged?.aborted.aborted).toBe(false)
  end.resolve()
  await consumer.stop()
})

test('K grants: a consumer does all that an instance does', async ({ db, roles }) => {
  const rescueAfterMs = 300
  const bugle = roles.bugle('consumer', { rescueAfterMs })
  const rescued = signal<unknown>()
  bugle.on('worker:rescued', (event) => rescued.resolve(event))
  // Of a worker that has no row: what a process leaves that died.
  await db.sql.unsafe(
    `insert into ${roles.s}.job (queue, payload, state, worker_id, claimed_at) values ('q', '"orphan"', 'running', 7, now())`,
  )
  const seen: unknown[] = []
  const stuck = signal()
  const consumer = await bugle.consume(
    'q',
    async ({ payload, attempt }, context) => {
      seen.push(payload)
      if (payload === 'retried' && attempt === 1) return retry({ delayMs: 0 })
      if (payload === 'released' && seen.filter((one) => one === 'released').length === 1)
        return release({ delayMs: 0 })
      if (payload === 'fails') return reject('it does')
      if (payload === 'cancelled') {
        stuck.resolve()
        await new Promise((resolve) => context.signal.addEventListener('abort', resolve))
      }
      return 'done'
    },
    { keep: 'all' },
  )
  expect(await rescued.promise).toMatchObject({ deadWorkerId: '7', jobs: 1 })
  await bugle.putMany('q', ['retried', 'released', 'fails'])
  await bugle.put('q', 'keyed', { key: 'k' })
  const cancelled = await bugle.put('q', 'cancelled')
  await stuck.promise
  expect(await bugle.cancel(cancelled)).toBe('requested')
  await consumer.idle()
  expect([...new Set(seen)].sort()).toEqual(['cancelled', 'fails', 'keyed', 'orphan', 'released', 'retried'])

  expect(await bugle.pause('q')).toBe(true)
  expect(await bugle.resume('q')).toBe(true)
  expect(await bugle.stats('q')).toMatchObject({
    queues: [{ queue: 'q', failed: { count: 1 }, workers: 1, here: { failed: 1 } }],
    workers: [{ id: bugle.workerId, state: 'live' }],
  })
  expect(await bugle.health()).toMatchObject({ isHealthy: true, problems: [], isPresent: true })
  expect((await bugle.jobs({ state: 'failed' })).jobs).toMatchObject([{ payload: 'fails' }])
  const archive = (await bugle.jobs({ state: 'archived' })).jobs
  expect(archive.map(({ payload }) => payload).sort()).toEqual(['cancelled', 'keyed', 'orphan', 'released', 'retried'])
  await consumer.stop()
  expect(await bugle.job(archive[0]?.id ?? '')).toMatchObject({ state: 'archived', result: 'done' })
  expect(await bugle.requeue({ state: 'failed' })).toBe(1)
  expect(await bugle.requeue(archive[0]?.id ?? '')).toBe(1)
  const later = await bugle.put('q', 'later', { delayMs: 60_000 })
  expect(await bugle.cancel(later)).toBe('cancelled')
  expect(await bugle.collect({ failedOlderThanMs: 0, archivedOlderThanMs: 0 })).toMatchObject({
    failed: 1,
    archived: 4,
  })
  expect((await rows(db, roles)).map(({ state }) => state)).toEqual(['ready', 'ready'])
})

test('K grants: a consumer ends the sessions of a hung worker of its own role, and of no other', async ({ roles }) => {
  const statements = loadStatements(roles.schema)
  const hung = roles.connect('consumer')
  const stranger = roles.connect('producer')
  const consumer = roles.connect('consumer')
  await hung.unsafe(statements.presence_take, ['42'])
  expect(await consumer.unsafe(statements.presence_terminate, ['42'])).toMatchObject([{ terminated: true }])
  await stranger.unsafe(statements.presence_take, ['43'])
  await expect(consumer.unsafe(statements.presence_terminate, ['43'])).rejects.toThrow(
    /permission denied|must be a member/,
  )
})

test('K grants: a consumer owns nothing: it neither migrates nor changes what is there', async ({ db, roles }) => {
  await roles.bugle('producer').put('q', 1)
  const sql = roles.connect('consumer')
  const texts = Object.entries({
    truncate: `truncate {s}.job`,
    'turn a trigger off': attacks['turn a trigger off'],
    'add a trigger': attacks['add a trigger'],
    'drop a table': attacks['drop a table'],
    'create a function': attacks['create a function'],
    'own a function': attacks['own a function'],
    'set the sequence': attacks['set the sequence'],
    'remember a migration': attacks['remember a migration'],
    'forget a migration': attacks['forget a migration'],
    'turn triggers off': attacks['turn triggers off'],
    'forget a queue': `delete from {s}.queue`,
  })
  const calls = texts.map(([what, text]) => [what, () => sql.unsafe(text.replaceAll('{s}', () => roles.s)).execute()])
  await expectRefusals(roles, Object.fromEntries(calls))
  await db.sql.unsafe(`delete from ${roles.s}.migration where number = (select max(number) from ${roles.s}.migration)`)
  await expectRefusals(roles, { migrate: () => roles.bugle('consumer').migrate() })
})

test('K grants: an observer reads, payloads too, and changes nothing', async ({ db, roles }) => {
  const id = await roles.bugle('producer').put('q', 'read', { key: 'k' })
  const [row] = await failed(roles, db)
  await archived(roles, db, '999')
  await db.sql.unsafe(`insert into ${roles.s}.queue (name, paused_at) values ('paused', now())`)
  const bugle = roles.bugle('observer')
  expect(await bugle.job(id)).toMatchObject({ payload: 'read', state: 'ready' })
  expect((await bugle.jobs()).jobs.map(({ payload }) => payload)).toEqual(['archived', 'failed', 'read'])
  await expectLooks(bugle)
  await expectRefusals(roles, {
    ...changes(bugle, id, String(row?.id)),
    ...bySql(roles, 'observer', [
      'update a payload',
      'delete',
      'truncate',
      'lock a row',
      'call cancel',
      'call pause',
      'insert a running job',
      'make a worker',
      'bury workers',
      'delete from the archive',
      'resume a queue',
      'forget a migration',
      'set the sequence',
      'create a function',
    ]),
  })
})

test('K grants: an observer without payloads reads the rest', async ({ db, roles }) => {
  const id = await roles.bugle('producer').put('q', 'secret', { key: 'k' })
  const [row] = await failed(roles, db)
  await archived(roles, db, '999')
  await db.sql.unsafe(`insert into ${roles.s}.queue (name, paused_at) values ('paused', now())`)
  const bugle = roles.bugle('blind')
  const sql = roles.connect('blind')
  const read = `select queue, kind, state, run_at, attempt, key, worker_id from ${roles.s}.job where queue = 'q'`
  expect(await sql.unsafe(read)).toHaveLength(2)
  expect(await sql.unsafe(`select id, queue, finished_at from ${roles.s}.archive`)).toHaveLength(1)
  expect(await sql.unsafe(`select * from ${roles.s}.queue left join ${roles.s}.worker on true`)).toHaveLength(1)
  await expectLooks(bugle)
  await expectRefusals(roles, {
    ...changes(bugle, id, String(row?.id)),
    job: () => bugle.job(id),
    jobs: () => bugle.jobs(),
    ...bySql(roles, 'blind', ['read payloads', 'read rows', 'read a whole row', 'read by a filter', 'delete']),
    progress: () => sql.unsafe(`select progress from ${roles.s}.job`).execute(),
    'last error': () => sql.unsafe(`select last_error from ${roles.s}.job`).execute(),
    'archived payload': () => sql.unsafe(`select payload from ${roles.s}.archive`).execute(),
    result: () => sql.unsafe(`select result from ${roles.s}.archive`).execute(),
  })
})

/** What an observer is for: of a queue with a job that waits and one that has failed, and of one that is paused. */
async function expectLooks(bugle: Bugle): Promise<void> {
  expect(await bugle.stats()).toMatchObject({
    queues: [
      { queue: 'paused', isPaused: true },
      { queue: 'q', ready: { count: 1 }, failed: { count: 1 }, oldestReadyMs: expect.any(Number) },
    ],
    workers: [],
  })
  expect(await bugle.health()).toMatchObject({ isHealthy: true, problems: [] })
}

/** Every call of an instance that changes something. */
function changes(bugle: Bugle, waiting: string, failedId: string): Record<string, () => Promise<unknown>> {
  return {
    put: () => bugle.put('q', 1),
    'put replace': () => bugle.put('q', 1, { key: 'k', keyMode: 'replace' }),
    'put keep': () => bugle.put('q', 1, { key: 'k', keyMode: 'keep' }),
    'put reject': () => bugle.put('q', 1, { key: 'other', keyMode: 'reject' }),
    putMany: () => bugle.putMany('q', [1, 2]),
    requeue: () => bugle.requeue(failedId),
    'requeue by filter': () => bugle.requeue({}),
    cancel: () => bugle.cancel(waiting),
    pause: () => bugle.pause('q'),
    resume: () => bugle.resume('paused'),
    collect: () => bugle.collect({ failedOlderThanMs: 0 }),
    consume: () => bugle.consume('q', () => {}),
    drain: () => bugle.drain('q', () => {}),
  }
}

function bySql(
  roles: Roles,
  role: 'observer' | 'blind',
  which: readonly (keyof typeof attacks)[],
): Record<string, () => Promise<unknown>> {
  const sql = roles.connect(role)
  return Object.fromEntries(
    which.map((what) => [what, () => sql.unsafe(attacks[what].replaceAll('{s}', () => roles.s)).execute()]),
  )
}
