import { expect } from 'vitest'
import type { BugleOptions } from '../../../src/index.js'
import { startCrashProcess } from '../../support/crash-process.js'
import type { TestDatabase } from '../../support/database.js'
import { test } from '../../support/gates.js'
import { heartbeats, holders, workerIds } from '../../support/presence.js'
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
  // It takes twice rescueAfterMs on a quiet machine.
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
    error: { code: 'CRASHED', message },
  })
  const last_error = { failedBy: 'crashed', code: 'CRASHED', attempt: 2, message }
  expect(await fullRows(db)).toMatchObject([{ id, state: 'failed', worker_id: null, crashes: 2, last_error }])
  expect((await fullRows(db))[0]?.finished_at).not.toBeNull()
})

test('F2 of ten jobs that die together one has killed the process: it alone fails, and the innocent are acked', async ({
  db,
}) => {
  const rescuer = db.bugle(quick)
  await rescuer.consume('other', () => {})
  const rescued = db.collect(rescuer, 'worker:rescued')
  const failed = db.collect(rescuer, 'job:failed')
  const ids = await rescuer.putMany(
    'q',
    Array.from({ length: 10 }, (_, n) => (n === 4 ? { does: 'die' } : { does: 'wait', ms: 30 })),
  )
  const killer = ids[4]
  for (let death = 1; death <= 3; death += 1) {
    const dying = await startCrashProcess(db, { options: quick, dies: true })
    await dying.ended
    expect(dying.runs.map(({ id }) => id)).toContain(killer)
    expect(await rescued.next()).toEqual({ queue: null, deadWorkerId: dying.workerId, jobs: death === 1 ? 10 : 1 })
  }
  expect(await failed.next()).toMatchObject({ id: killer, cause: 'crashed' })

  const last = await startCrashProcess(db, { options: quick })
  await until(async () => (await fullRows(db)).length === 1)
  expect(await fullRows(db)).toMatchObject([{ id: killer, state: 'failed', crashes: 3 }])
  const archived = await archivedRows(db)
  expect(archived.map(({ id }) => id).sort()).toEqual(ids.filter((id) => id !== killer).sort())
  for (const row of archived) expect(row).toMatchObject({ crashes: 1 })
  expect(failed.all).toHaveLength(1)
  await last.stop()
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
  // The rescuer ends its session and so its locks: writers must not notify for a process that does not read.
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

  // The process goes on under its new id.
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

test('F7 a claim whose answer is lost commits after the worker has looked: its rows come back without a crash', async ({
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

  // The server does not notice while it works: the claim goes on, and its answer reaches nobody.
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

/** From now on no claim of a job ends until it is released. */
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

/** Starts a process that dies of that job. @returns its worker's id, when it has died */
async function startDying(db: TestDatabase, id: string): Promise<string> {
  const dying = await startCrashProcess(db, { options: quick, dies: true })
  await dying.ran(1)
  expect(dying.runs).toMatchObject([{ id }])
  await dying.ended
  return dying.workerId
}
