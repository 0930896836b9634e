import { expect } from 'vitest'
import type { Job } from '../../../src/index.js'
import { archived, attacks, expectRefusals, failed, rows } from '../../support/attacks.js'
import { signal } from '../../support/database.js'
import { test } from '../../support/roles.js'

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
  expect(await bugle.put('q', 'replacement', { key: 'replace', keyMode: 'replace', kind: 'new' })).toBe(keyed)
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
    await bugle.put('q', 'in a transaction, replacing', { key: 'replace', keyMode: 'replace', tx })
    await bugle.putMany('q', ['in a transaction, many'], { key: 'many', keyMode: 'keep', tx })
  })
  await sql
    .begin(async (tx) => {
      await bugle.put('q', 'rolled back', { tx })
      await bugle.put('q', 'rolled back', { key: 'replace', keyMode: 'replace', tx })
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
  // It can ask whether it is able to put.
  expect(await bugle.health()).toMatchObject({ isHealthy: true, problems: [] })
  // There is nothing to migrate, and `migrate` looks before it writes.
  expect(await bugle.migrate()).toMatchObject({ applied: [] })
  await db.sql.unsafe(`delete from ${roles.s}.migration where number = (select max(number) from ${roles.s}.migration)`)
  await expectRefusals(roles, { migrate: () => roles.bugle('producer').migrate() })
})

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
  // It can see how many jobs there are, and no more.
  expect(await sql.unsafe(`select count(*)::int as jobs from ${roles.s}.job`)).toEqual([{ jobs: 2 }])
})

test('K grants: the function with its owner’s rights does no more than a put', async ({ db, roles }) => {
  const own = await db.sql`
    select proname, array_to_string(proconfig, ' ') as settings,
      has_function_privilege('public', pg_proc.oid, 'execute') as open
    from pg_proc
    where prosecdef and pronamespace = (select oid from pg_namespace where nspname = ${roles.schema}) order by proname`
  const settings = `search_path=pg_catalog, ${roles.s}, pg_temp`
  expect(own).toEqual([{ proname: 'put_keyed', settings, open: false }])

  // One job runs under the key, and one has failed: the function may change neither.
  await db.sql.unsafe(`
    insert into ${roles.s}.job (queue, payload, key, state, worker_id)
    values ('q', '"running"', 'k', 'running', 1), ('q', '"failed"', 'k', 'failed', null)`)
  const before = await rows(db, roles)
  const sql = roles.connect('producer')
  // Objects of strangers, which come first in the caller's search_path or are temporary.
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
    const put = async (mode: string) =>
      (await sql.unsafe(`select * from ${roles.s}.put_keyed('q', $1::text::json, $2, false)`, [jobs, mode]))[0]
    const replaced = await put('replace')
    expect(await put('keep')).toEqual(replaced)
    expect(await put('reject')).toBeUndefined()
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
      $$ begin
        execute format('insert into %I.seen values ($1)', tg_table_schema) using current_schemas(true)::text;
        return null;
      end $$;
    create trigger see after insert or update on ${roles.s}.job for each row execute function ${roles.s}.see()`)
  const bugle = roles.bugle('producer', { poolSize: 2 })
  await bugle.put('q', 1)
  await bugle.put('q', 2, { delayMs: 60_000 })
  await bugle.put('q', 3, { key: 'k', keyMode: 'replace' })
  await bugle.put('q', 3, { key: 'k', keyMode: 'replace' })
  await bugle.put('q', 3, { key: 'k', keyMode: 'keep' })
  await bugle.put('q', 3, { key: 'another', keyMode: 'reject' })
  // The one that keeps the waiting job writes nothing.
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
