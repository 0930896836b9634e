import { expect } from 'vitest'
import { loadStatements } from '../../../src/database/statements.js'
import type { Bugle, BugleOptions } from '../../../src/index.js'
import { startCrashProcess } from '../../support/crash-process.js'
import type { TestDatabase } from '../../support/database.js'
import { test } from '../../support/gates.js'
import { operator } from '../../support/operator.js'
import { startProxy } from '../../support/proxy.js'
import { archivedRows, fullRows } from '../../support/rows.js'
import { until } from '../../support/until.js'

const rescueAfterMs = 1_000
const quick = { rescueAfterMs, hungAfterMs: 300_000 } as const satisfies BugleOptions

test('F1 a process is killed with 20 running jobs: all run elsewhere, and the crash is counted', async ({ db }) => {
  const dying = await startCrashProcess(db, { options: quick, concurrency: 20 })
  const survivor = db.bugle(quick)
  const rescued = db.collect(survivor, 'worker:rescued')
  const ids = await survivor.putMany(
    'q',
    Array.from({ length: 20 }, () => ({ does: 'hold' })),
  )
  await dying.ran(20)
  const started = db.collect(survivor, 'job:started')
  const consumer = await survivor.consume('q', () => {}, { concurrency: 20, keep: 'all' })
  await dying.kill('SIGKILL')
  const killedAt = performance.now()

  expect(await rescued.next()).toEqual({ queue: null, deadWorkerId: dying.workerId, jobs: 20 })
  while (started.all.length < 20) await started.next()
  const tookMs = performance.now() - killedAt
  console.log(
    `F1: 20 jobs of a killed process run again after ${Math.round(tookMs)} ms, rescueAfterMs ${rescueAfterMs}`,
  )
  // Twice rescueAfterMs on a machine of its own.
  expect(tookMs).toBeLessThan(10 * rescueAfterMs)
  await consumer.idle()
  const archived = await archivedRows(db)
  expect(archived.map(({ id }) => id).sort()).toEqual([...ids].sort())
  for (const row of archived) expect(row).toMatchObject({ attempt: 2, crashes: 1, worker_id: survivor.workerId })
  expect(await workerIds(db)).toEqual([survivor.workerId])
})

test('F2 a job that kills its process is failed after maxCrashes, by whoever rescues it', async ({ db }) => {
  const rescuer = db.bugle({ ...quick, maxCrashes: 2 })
  await rescuer.consume('other', () => {})
  const rescued = db.collect(rescuer, 'worker:rescued')
  const failed = db.collect(rescuer, 'job:failed')
  const id = await rescuer.put('q', { does: 'die' })
  for (let crashes = 0; crashes < 2; crashes += 1) {
    const dying = await startDying(db, id)
    expect(await rescued.next()).toEqual({ queue: null, deadWorkerId: dying, jobs: 1 })
    expect((await fullRows(db))[0]?.crashes).toBe(crashes + 1)
  }
  const message = 'its process died while it ran: crash 2, attempt 2'
  expect(await failed.next()).toMatchObject({
    queue: 'q',
    id,
    kind: null,
    attempt: 2,
    cause: 'crashed',
    error: { message },
  })
  expect(await fullRows(db)).toMatchObject([
    { id, state: 'failed', worker_id: null, crashes: 2, last_error: { failedBy: 'crashed', attempt: 2, message } },
  ])
  expect((await fullRows(db))[0]?.finished_at).not.toBeNull()
})

test('F3 a stopped process is declared hung, another finishes its job, and its own outcome changes nothing', async ({
  db,
}) => {
  const options = { rescueAfterMs: 500, hungAfterMs: 1_500 }
  const hung = await startCrashProcess(db, { options })
  const bugle = db.bugle(options)
  const rescued = db.collect(bugle, 'worker:rescued')
  const id = await bugle.put('q', { does: 'hold' })
  await hung.ran(1)
  const acked = db.collect(bugle, 'job:acked')
  const consumer = await bugle.consume('q', () => {}, { keep: 'all' })
  const [session] = await holders(db, hung.workerId)
  await hung.kill('SIGSTOP')

  expect(await rescued.next()).toMatchObject({ deadWorkerId: hung.workerId, jobs: 1 })
  expect(await acked.next()).toMatchObject({ id, attempt: 2 })
  const settled = await archivedRows(db)
  expect(settled).toMatchObject([{ id, attempt: 2, crashes: 1, worker_id: bugle.workerId }])
  // Its locks are taken from it: writers must not notify for a process that does not read.
  await until(async () => !(await holders(db, hung.workerId)).includes(session ?? 0))

  await consumer.stop()
  await hung.kill('SIGCONT')
  const { workerId, newWorkerId } = await hung.event('worker:lost')
  expect(workerId).toBe(hung.workerId)
  expect(newWorkerId).not.toBe(workerId)
  expect(hung.aborts).toEqual([{ id, code: 'LEASE_LOST' }])
  hung.go()
  expect(await hung.event('job:stale')).toMatchObject({ id, attempt: 1, workerId: hung.workerId })
  expect(await archivedRows(db)).toEqual(settled)
  expect(await fullRows(db)).toEqual([])

  // It goes on under its new id.
  const next = await bugle.put('q', {})
  await hung.ran(2)
  expect(hung.runs[1]).toMatchObject({ id: next, attempt: 1 })
  expect(await hung.event('job:acked')).toMatchObject({ id: next, workerId: newWorkerId })
  expect(await workerIds(db)).toEqual([newWorkerId])
  await hung.stop()
  expect(await workerIds(db)).toEqual([])
})

test('F4 a handler that blocks the event loop for several times rescueAfterMs is not run twice', async ({ db }) => {
  const blocked = await startCrashProcess(db, { options: { rescueAfterMs: 500 } })
  const bugle = db.bugle({ rescueAfterMs: 500 })
  const rescued = db.collect(bugle, 'worker:rescued')
  const id = await bugle.put('q', { does: 'block', ms: 4_000 })
  await blocked.ran(1)
  const started = db.collect(bugle, 'job:started')
  await bugle.consume('q', () => {}, { keep: 'all' })
  await blocked.event('job:acked')
  expect((await blocked.event('worker:lag')).ms).toBeGreaterThan(1_000)
  expect(await archivedRows(db)).toMatchObject([{ id, attempt: 1, crashes: 0, worker_id: blocked.workerId }])
  expect([...rescued.all, ...started.all, ...blocked.events('worker:lost')]).toEqual([])
  await blocked.stop()
})

test('F7 a claim whose answer was lost commits after the worker has looked: its rows come back without a crash', async ({
  db,
}) => {
  const { hostname, port } = new URL(db.connectionString)
  const proxy = await startProxy({ host: hostname, port: Number(port) })
  const through = new URL(db.connectionString)
  through.port = String(proxy.port)
  const bugle = db.bugle({ connectionString: through.href, rescueAfterMs: 300 })
  const started = db.collect(bugle, 'job:started')
  const rescued = db.collect(bugle, 'worker:rescued')
  const claims = await holdClaims(db)
  const consumer = await bugle.consume('q', () => {}, { keep: 'all' })
  const id = await bugle.put('q', {})
  await claims.held()

  // The server does not notice while it works: the claim goes on, and nobody will hear of it.
  await proxy.refuse()
  await proxy.heal()
  await heartbeats(db, bugle, 5)
  expect(started.all).toEqual([])
  await claims.release()
  expect(await started.next()).toMatchObject({ id, attempt: 1 })
  await consumer.idle()
  expect(await archivedRows(db)).toMatchObject([{ id, attempt: 1, crashes: 0 }])
  expect([...rescued.all, ...started.all.slice(1)]).toEqual([])
  await bugle.close()
  await proxy.close()
})

test('F8 a claim that commits after its worker was buried: its rows come back', async ({ db }) => {
  const dying = await startCrashProcess(db, { options: quick })
  const bugle = db.bugle(quick)
  const rescued = db.collect(bugle, 'worker:rescued')
  const claims = await holdClaims(db)
  const id = await bugle.put('q', {})
  await claims.held()
  const started = db.collect(bugle, 'job:started')
  const consumer = await bugle.consume('q', () => {}, { keep: 'all' })
  await dying.kill('SIGKILL')

  const deadWorkerId = dying.workerId
  expect(await rescued.next()).toEqual({ queue: null, deadWorkerId, jobs: 0 })
  expect(await workerIds(db)).toEqual([bugle.workerId])
  await claims.release()
  expect(await rescued.next()).toEqual({ queue: null, deadWorkerId, jobs: 1 })
  expect(await started.next()).toMatchObject({ id, attempt: 2 })
  await consumer.idle()
  expect(await archivedRows(db)).toMatchObject([{ id, attempt: 2, crashes: 1 }])
})

test('B9 a rescued job wakes a sleeper, sweeps off', async ({ db, gate }) => {
  const dead = '42'
  const bugle = db.bugle({ rescueAfterMs: 300 })
  const started = db.collect(bugle, 'job:started')
  const consumer = await bugle.consume('q', () => gate().promise)
  await consumer.idle()
  // Put as running: no trigger tells of it.
  const [id] = await orphans(db, 1, { worker_id: dead })
  expect(await started.next()).toMatchObject({ id, attempt: 2 })
})

test('rescue: two at once share the work, and every job goes back once', async ({ db }) => {
  await orphans(db, 3_000)
  const rescuers = [operator(db), operator(db), operator(db)]
  const counts = await Promise.all(
    rescuers.map(async ({ database }) => {
      await database.ready()
      let all = 0
      for (;;) {
        const rows = await database.query('rescue', [3, 100])
        all += rows.length
        if (rows.length === 0) return all
      }
    }),
  )
  // Whoever finds all that is left locked by the others has found nothing.
  expect(counts.reduce((all, count) => all + count)).toBe(3_000)
  const rows = await fullRows(db)
  for (const row of rows) expect(row).toMatchObject({ state: 'ready', worker_id: null, crashes: 1, attempt: 1 })
  expect(rows).toHaveLength(3_000)
})

test('rescue: of many workers, a batch takes no job whose worker has a row', async ({ db }) => {
  const [alive] = await orphans(db, 1, { worker_id: '50' })
  await db.sql.unsafe(`insert into ${db.s}.worker (id, name, host, pid, version) values (50, 'w', 'h', 1, '1')`)
  for (let worker = 1; worker < 100; worker += 1) if (worker !== 50) await orphans(db, 2, { worker_id: String(worker) })
  const { database } = operator(db)
  await database.ready()
  const batches: number[] = []
  for (;;) {
    const rows = await database.query<{ owner: string }>('rescue', [3, 70])
    if (rows.length === 0) break
    batches.push(rows.length)
    expect(rows.map(({ owner }) => owner)).not.toContain('50')
  }
  expect(batches).toEqual([70, 70, 56])
  const running = (await fullRows(db)).filter(({ state }) => state === 'running')
  expect(running).toMatchObject([{ id: alive, worker_id: '50', crashes: 0 }])
})

test('rescue: the lease grows, so that what the former owner still writes does not match', async ({ db }) => {
  const [id] = await orphans(db, 1, { worker_id: '7', lease: '100' })
  const { database } = operator(db)
  await database.ready()
  await database.query('rescue', [3, 100])
  const missed = await database.query('settle', ['7', `{${id}}`, '{100}'])
  expect(missed).toMatchObject([{ id, state: 'ready' }])
  const [row] = await fullRows(db)
  expect(Number(row?.lease)).toBeGreaterThan(100)
})

test('rescue: cancelled, out of attempts or out of crashes is failed, with its cause; the rest waits', async ({
  db,
}) => {
  const bugle = db.bugle({ rescueAfterMs: 300, maxCrashes: 3 })
  const failed = db.collect(bugle, 'job:failed')
  const [cancelled, exhausted, crashed, waits] = [
    await orphans(db, 1, { cancel_requested_at: '2020-01-01', crashes: '2' }),
    await orphans(db, 1, { max_attempts: '1' }),
    await orphans(db, 1, { crashes: '2', max_attempts: '9' }),
    await orphans(db, 1, { crashes: '1', max_attempts: '2' }),
  ].flat()
  await bugle.consume('other', () => {})
  for (let n = 0; n < 3; n += 1) await failed.next()
  expect(Object.fromEntries(failed.all.map(({ id, cause }) => [id, cause]))).toEqual({
    [cancelled ?? '']: 'cancelled',
    [exhausted ?? '']: 'crashed',
    [crashed ?? '']: 'crashed',
  })
  expect(await fullRows(db)).toMatchObject([
    { id: cancelled, state: 'failed', last_error: { failedBy: 'cancelled', code: 'CANCELLED', message: 'cancelled' } },
    { id: exhausted, state: 'failed', crashes: 1, last_error: { failedBy: 'crashed' } },
    { id: crashed, state: 'failed', crashes: 3, last_error: { failedBy: 'crashed' } },
    { id: waits, state: 'ready', crashes: 2, last_error: null },
  ])
  expect((await bugle.job(crashed ?? ''))?.state).toBe('failed')
})

test('rescue: a job whose key waits again goes back without it', async ({ db }) => {
  const bugle = db.bugle({ rescueAfterMs: 300 })
  const [id] = await orphans(db, 1, { key: 'k' })
  const waiting = await bugle.put('q', 'newer', { key: 'k' })
  const rescued = db.collect(bugle, 'worker:rescued')
  await bugle.consume('other', () => {})
  await rescued.next()
  expect(await fullRows(db)).toMatchObject([
    { id, state: 'ready', key: null, crashes: 1 },
    { id: waiting, state: 'ready', key: 'k', crashes: 0 },
  ])
})

test('burial: a worker that has confirmed its presence since it was observed keeps its row', async ({ db }) => {
  const { database } = operator(db)
  await database.ready()
  await database.query('worker_insert', ['7', 'w', 'h', 1, '1', 300, 300_000])
  const observed = async (): Promise<string> => {
    const [row] = await database.query<{ others: string }>('heartbeat', ['8', 300, 300_000, '[]', '[]'])
    return JSON.parse(row?.others ?? '')[0].seen_at
  }
  const before = await observed()
  await database.query('heartbeat', ['7', 300, 300_000, '[]', '[]'])
  expect(await database.query('worker_bury', ['7', before])).toEqual([])
  expect(await workerIds(db)).toEqual(['7'])
  expect(await database.query('worker_bury', ['7', await observed()])).toEqual([{ id: '7' }])
  expect(await workerIds(db)).toEqual([])
})

test('survivors do not rob each other when all control sessions are killed at once', async ({ db, gate }) => {
  const { promise, resolve } = gate()
  const bugles = [db.bugle({ rescueAfterMs: 300 }), db.bugle({ rescueAfterMs: 300 }), db.bugle({ rescueAfterMs: 300 })]
  const told = bugles.flatMap((bugle) => [db.collect(bugle, 'worker:rescued'), db.collect(bugle, 'worker:lost')])
  const started = bugles.map((bugle) => db.collect(bugle, 'job:started'))
  for (const [n, bugle] of bugles.entries()) {
    await bugle.consume(`q${n}`, () => promise, { keep: 'all' })
    await bugle.put(`q${n}`, n)
    await started[n]?.next()
  }
  for (let n = 0; n < 3; n += 1) {
    await db.kill(await db.backends('control'))
    for (const bugle of bugles) await lockHeld(db, bugle)
    for (const bugle of bugles) await heartbeats(db, bugle, 4)
  }
  expect(told.flatMap(({ all }) => all as unknown[])).toEqual([])
  resolve()
  await Promise.all(bugles.map((bugle) => bugle.close()))
  for (const row of await archivedRows(db)) expect(row).toMatchObject({ attempt: 1, crashes: 0 })
  expect(await archivedRows(db)).toHaveLength(3)
})

test('one that is back first does not rob one that is back later: three times its rescueAfterMs', async ({
  db,
  gate,
}) => {
  const { hostname, port } = new URL(db.connectionString)
  const proxy = await startProxy({ host: hostname, port: Number(port) })
  const through = new URL(db.connectionString)
  through.port = String(proxy.port)
  const late = db.bugle({ connectionString: through.href, rescueAfterMs })
  const first = db.bugle({ rescueAfterMs })
  const told = [late, first].flatMap((bugle) => [db.collect(bugle, 'worker:rescued'), db.collect(bugle, 'worker:lost')])
  const { promise, resolve } = gate()
  const started = db.collect(late, 'job:started')
  await late.consume('q', () => promise, { keep: 'all' })
  const id = await late.put('q', {})
  await started.next()
  await first.consume('other', () => {})
  for (const bugle of [late, first]) await lockHeld(db, bugle)

  // As at a restart: every session ends, and one of them finds its way back later than the other.
  await proxy.refuse()
  await db.kill([...(await db.backends('control')), ...(await db.backends('listener')), ...(await db.backends(''))])
  await lockHeld(db, first)
  // So many heartbeats take more than one and a half times rescueAfterMs, and less than twice that.
  await heartbeats(db, first, 6)
  await proxy.heal()
  await lockHeld(db, late)
  resolve()
  await late.close()
  expect(told.flatMap(({ all }) => all as unknown[])).toEqual([])
  expect(await archivedRows(db)).toMatchObject([{ id, attempt: 1, crashes: 0 }])
  await proxy.close()
})

test('a new control session takes the presence lock beside its predecessor, and ends that', async ({ db }) => {
  const bugle = db.bugle({ rescueAfterMs: 300 })
  await bugle.consume('q', () => {})
  await lockHeld(db, bugle)
  // A stranger plays the half-open predecessor: its server process lives, and nobody is behind it.
  const predecessor = db.connect()
  const [own] = await predecessor<{ pid: number }[]>`select pg_backend_pid() as pid`
  const held = predecessor.unsafe(loadStatements(db.schema).presence_take, [bugle.workerId])
  await held
  expect(await holders(db, bugle.workerId)).toHaveLength(2)
  await db.kill(await db.backends('control'))
  await lockHeld(db, bugle)
  await until(async () => {
    const pids = await holders(db, bugle.workerId)
    return pids.length === 1 && !pids.includes(own?.pid ?? 0)
  })
})

test('presence: the row asks for rescueAfterMs where the lock is held, and for a minute where it is not', async ({
  db,
}) => {
  const direct = db.bugle(quick)
  await direct.consume('q', () => {})
  await lockHeld(db, direct)
  const blind = db.bugle({ ...quick, listen: false })
  await blind.consume('q', () => {})
  await heartbeats(db, blind, 2)
  expect(await words(db, direct)).toEqual({ rescue_after_ms: 1_000, hung_after_ms: 300_000 })
  expect(await words(db, blind)).toEqual({ rescue_after_ms: 60_000, hung_after_ms: 300_000 })
  expect(await holders(db, direct.workerId)).toEqual(await db.backends('control'))
})

test('presence: a worker that finds its row gone takes a new id and goes on', async ({ db, gate }) => {
  const bugle = db.bugle({ rescueAfterMs: 300 })
  const lost = db.collect(bugle, 'worker:lost')
  const { promise, resolve } = gate()
  const reasons: string[] = []
  const started = db.collect(bugle, 'job:started')
  await bugle.consume('q', async (job, ctx) => {
    if (job.payload !== 'first') return
    ctx.signal.addEventListener('abort', () => reasons.push(ctx.signal.reason.code))
    await promise
  })
  await bugle.put('q', 'first')
  await started.next()
  const { workerId } = bugle
  await db.sql.unsafe(`delete from ${db.s}.worker`)
  const told = await lost.next()
  expect(told).toEqual({ queue: null, workerId, newWorkerId: bugle.workerId })
  expect(told.newWorkerId).not.toBe(workerId)
  expect(reasons[0]).toBe('LEASE_LOST')
  await lockHeld(db, bugle)
  await bugle.put('q', 'second')
  for (;;) if ((await started.next()).workerId === bugle.workerId) break
  resolve()
})

test('presence: rows that nothing explains are given back when the worker leaves, and its row goes', async ({ db }) => {
  // No heartbeat comes before that.
  const bugle = db.bugle({ rescueAfterMs: 3_600_000, hungAfterMs: 3_600_000 })
  const consumer = await bugle.consume('q', () => {})
  await consumer.idle()
  const [id] = await orphans(db, 1, { worker_id: bugle.workerId })
  await consumer.stop()
  expect(await fullRows(db)).toMatchObject([{ id, state: 'ready', attempt: 0, crashes: 0, worker_id: null }])
  expect(await workerIds(db)).toEqual([])
})

test('presence: it outlasts the instance while an abandoned handler runs, whose outcome still counts', async ({
  db,
  gate,
}) => {
  const { promise, resolve } = gate()
  const bugle = db.bugle({ rescueAfterMs: 300 })
  const other = db.bugle({ rescueAfterMs: 300 })
  const rescued = db.collect(other, 'worker:rescued')
  await other.consume('other', () => {})
  const started = db.collect(bugle, 'job:started')
  const acked = db.collect(bugle, 'job:acked')
  await bugle.consume('q', () => promise, { keep: 'all' })
  const id = await bugle.put('q', {})
  await started.next()
  await lockHeld(db, bugle)
  await bugle.close({ graceMs: 0, abortMs: 0 })
  await heartbeats(db, bugle, 8)
  // Its pool and listener are gone, its control session is not: both instances have one.
  expect(await db.backends('control')).toHaveLength(2)
  expect(await db.backends('listener')).toHaveLength(1)
  resolve()
  expect(await acked.next()).toMatchObject({ id, attempt: 1 })
  await until(async () => !(await workerIds(db)).includes(bugle.workerId))
  await until(async () => (await db.backends('control')).length <= 1)
  expect(await archivedRows(db)).toMatchObject([{ id, attempt: 1, crashes: 0 }])
  expect(rescued.all).toEqual([])
})

/** Running jobs whose worker is dead and buried. Values are SQL text without quotes. */
async function orphans(db: TestDatabase, count: number, given: Record<string, string> = {}): Promise<string[]> {
  const columns = { queue: 'q', state: 'running', worker_id: '42', attempt: '1', lease: '7', ...given }
  const names = Object.keys(columns).join()
  const values = Object.values(columns).map((value) => `'${value}'`)
  const rows = await db.sql.unsafe<{ id: string }[]>(
    `insert into ${db.s}.job (${names}) select ${values} from generate_series(1, ${count}) returning id::text`,
  )
  return rows.map(({ id }) => id)
}

/** Claims of a job do not end until they are released. */
async function holdClaims(db: TestDatabase): Promise<{ held(): Promise<void>; release(): Promise<unknown> }> {
  await db.sql.unsafe(`
    create table ${db.s}.hold (n int);
    insert into ${db.s}.hold values (1);
    create function ${db.s}.hold() returns trigger language plpgsql as $$
    begin
      while exists (select from ${db.s}.hold) loop
        perform pg_sleep(0.01);
      end loop;
      return new;
    end
    $$;
    create trigger hold before update on ${db.s}.job for each row
    when (new.state = 'running') execute function ${db.s}.hold()`)
  return {
    async held() {
      const sleeping = () => db.sql`
        select from pg_stat_activity
        where query like '%' || ${db.schema} || '%' and query like '%bugle claim%' and wait_event = 'PgSleep'`
      await until(async () => (await sleeping()).length > 0)
    },
    release: () => db.sql.unsafe(`delete from ${db.s}.hold`),
  }
}

async function workerIds(db: TestDatabase): Promise<string[]> {
  const rows = await db.sql.unsafe<{ id: string }[]>(`select id::text from ${db.s}.worker order by worker.id`)
  return rows.map(({ id }) => id)
}

async function words(db: TestDatabase, bugle: Bugle): Promise<unknown> {
  const [row] = await db.sql.unsafe(
    `select rescue_after_ms, hung_after_ms from ${db.s}.worker where id = ${bugle.workerId}`,
  )
  return row
}

/** Backends that hold a worker's presence lock. */
async function holders(db: TestDatabase, workerId: string): Promise<number[]> {
  const rows = await db.sql.unsafe<{ pid: number }[]>(loadStatements(db.schema).presence_holders, [`{${workerId}}`])
  return rows.map(({ pid }) => pid)
}

/** Until its lock is held, and its row says so. */
async function lockHeld(db: TestDatabase, bugle: Bugle): Promise<void> {
  const says = async () =>
    (
      await db.sql.unsafe<{ ms: number }[]>(`select rescue_after_ms as ms from ${db.s}.worker where id = $1`, [
        bugle.workerId,
      ])
    )[0]
  await until(async () => {
    const isHeld = (await holders(db, bugle.workerId)).length > 0
    return isHeld && ((await says())?.ms ?? 60_000) < 60_000
  })
}

/** Until so many heartbeats have been written from now on. */
async function heartbeats(db: TestDatabase, bugle: Bugle, count: number): Promise<void> {
  const seen = new Set<string>()
  await until(async () => {
    const [row] = await db.sql.unsafe<{ at: string }[]>(
      `select seen_at::text as at from ${db.s}.worker where id = $1`,
      [bugle.workerId],
    )
    if (row) seen.add(row.at)
    return seen.size > count
  })
}

/** @returns the id of a worker that has died of that job */
async function startDying(db: TestDatabase, id: string): Promise<string> {
  const dying = await startCrashProcess(db, { options: quick, dies: true })
  await dying.ran(1)
  expect(dying.runs).toMatchObject([{ id }])
  await dying.ended
  return dying.workerId
}
