import { expect } from 'vitest'
import { type Clinic, test } from '../support/clinic.js'
import { startCrashProcess } from '../support/crash-process.js'
import { until } from '../support/until.js'

async function insertRunning(clinic: Clinic, workerId: string, age: string): Promise<string> {
  const [row] = await clinic.sql.unsafe<{ id: string }[]>(
    `insert into ${clinic.s}.job (queue, state, worker_id, claimed_at, attempt)
     values ('media', 'running', ${workerId}, clock_timestamp() - interval '${age}', 2) returning id`,
  )
  return row?.id ?? ''
}

async function insertWorker(clinic: Clinic, id: number, consumers: unknown = []): Promise<void> {
  await clinic.sql.unsafe(
    `insert into ${clinic.s}.worker (id, name, host, pid, version, consumers)
     values (${id}, 'staged', 'somewhere', 7, '1', $1::text::jsonb)`,
    [JSON.stringify(consumers)],
  )
}

test('a disabled trigger is named, and its remedy enables it; exit code 1', async ({ clinic }) => {
  await clinic.sql.unsafe(`alter table ${clinic.s}.job disable trigger job_wake_insert`)
  await clinic.sql.unsafe(`alter table ${clinic.s}.queue enable replica trigger queue_resume`)
  const found = await clinic.findings('triggers')
  expect(found.map(({ status, details }) => ({ status, trigger: details.trigger }))).toEqual([
    { status: 'trouble', trigger: 'job_wake_insert' },
    { status: 'trouble', trigger: 'queue_resume' },
  ])
  const { code, stdout } = await clinic.doctor()
  expect(code).toBe(1)
  expect(stdout).toContain(found[0]?.message)
  expect(stdout).toContain(`alter table ${clinic.s}."job" enable trigger "job_wake_insert";`)
  for (const { remedy } of found) await clinic.sql.unsafe(remedy ?? '')
  expect(await clinic.findings('triggers')).toMatchObject([{ status: 'ok' }])
})

test('a role whose session_replication_role is replica is named', async ({ clinic }) => {
  await clinic.sql.unsafe(`create role loader`)
  await clinic.sql.unsafe(`alter role loader set session_replication_role = replica`)
  const [found] = await clinic.findings('triggers')
  expect(found).toMatchObject({ status: 'trouble', details: { role: 'loader', database: null } })
  await clinic.sql.unsafe(found?.remedy ?? '')
  expect(await clinic.findings('triggers')).toMatchObject([{ status: 'ok' }])
  await clinic.sql.unsafe(`drop role loader`)
})

test('a transaction left open is told with its pid and age, and its remedy ends it', async ({ clinic }) => {
  const forgetful = clinic.connect()
  await forgetful.unsafe(`begin`)
  await forgetful.unsafe(`delete from ${clinic.s}.job`)
  const [session] = await forgetful<{ pid: number }[]>`select pg_backend_pid() as pid`
  expect(await clinic.findings('vacuum-horizon')).toMatchObject([{ status: 'ok' }])
  const { code, stdout } = await clinic.doctor(['--json', '--transaction-older-than', '0'])
  expect(code).toBe(1)
  const [found] = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
    .filter(({ check }) => check === 'vacuum-horizon')
  expect(found).toMatchObject({ status: 'trouble', kind: 'session', pid: session?.pid, state: 'idle in transaction' })
  expect(found.ageMs).toBeGreaterThanOrEqual(0)
  await clinic.sql.unsafe(found.remedy)
  await until(
    async () => (await clinic.sql`select from pg_stat_activity where pid = ${session?.pid ?? 0}`).length === 0,
  )
  expect(await clinic.findings('vacuum-horizon', { thresholds: { transactionOlderThanMs: 0 } })).toMatchObject([
    { status: 'ok' },
  ])
})

test('a prepared transaction holds vacuum back', async ({ clinic }) => {
  const sql = clinic.connect()
  await sql.unsafe(`begin`)
  await sql.unsafe(`create table ${clinic.s}.other ()`)
  await sql.unsafe(`prepare transaction 'left''over'`)
  const [found] = await clinic.findings('vacuum-horizon', { thresholds: { transactionOlderThanMs: 0 } })
  expect(found).toMatchObject({ status: 'trouble', details: { kind: 'prepared', name: "left'over" } })
  await clinic.sql.unsafe((found?.remedy ?? '').replace(/--.*/, ''))
  expect(await clinic.sql`select from pg_prepared_xacts`).toHaveLength(0)
})

test('a worker that was killed, and its job, are found; after others have given it back all is well', async ({
  clinic,
}) => {
  const dead = await startCrashProcess(clinic, { queue: 'q' })
  const id = await clinic.bugle.put('q', { does: 'hold' })
  await dead.ran(1)
  expect(await clinic.findings('workers')).toMatchObject([{ status: 'ok', details: { workers: 1 } }])
  await dead.kill('SIGKILL')
  // The server notices the end of its sessions a moment later. Nobody can wait for five seconds here, so its last sign
  // of life is made older.
  const ofDead = () => clinic.sql`select from pg_stat_activity where application_name like 'crash%'`
  await until(async () => (await ofDead()).length === 0)
  await clinic.sql.unsafe(`update ${clinic.s}.worker set seen_at = seen_at - interval '1 min'`)
  const [found, ...others] = await clinic.findings('workers')
  expect(found).toMatchObject({ status: 'trouble', details: { workerId: dead.workerId, pid: dead.pid, state: 'dead' } })
  expect(found?.message).toContain('no other is there')
  expect(others).toEqual([])

  // Buried, by somebody who died before he gave its jobs back.
  await clinic.sql.unsafe(`delete from ${clinic.s}.worker`)
  expect(await clinic.findings('workers')).toMatchObject([
    { status: 'trouble', details: { workerId: dead.workerId, jobs: 1 } },
  ])
  await clinic.sql.unsafe(`update ${clinic.s}.job set state = 'failed', worker_id = null where id = ${id}`)
  expect(await clinic.findings('workers')).toMatchObject([{ status: 'ok' }])
})

test('running jobs without a worker are told together, beside those of workers that are gone', async ({ clinic }) => {
  for (const worker of ['null', '42', 'null']) await insertRunning(clinic, worker, '1 h')
  const found = await clinic.findings('workers')
  expect(found.map(({ status, details: { workerId, jobs } }) => [status, workerId, jobs]).sort()).toEqual([
    ['trouble', null, 2],
    ['trouble', '42', 1],
  ])
  expect(found.map(({ message }) => message).sort()[1]).toMatch(/^2 running jobs without a worker were not given back/)
})

test('a worker that is connected and silent hangs', async ({ clinic }) => {
  const hung = await startCrashProcess(clinic, { queue: 'q' })
  await hung.kill('SIGSTOP')
  await clinic.sql.unsafe(`update ${clinic.s}.worker set seen_at = seen_at - interval '10 min'`)
  expect(await clinic.findings('workers')).toMatchObject([
    { status: 'trouble', details: { workerId: hung.workerId, state: 'hung' } },
  ])
})

test('a worker without its lock is told as one that sweeps', async ({ clinic }) => {
  await insertWorker(clinic, 17)
  expect(await clinic.findings('listeners')).toMatchObject([{ status: 'note', details: { workerId: '17' } }])
  await clinic.sql.unsafe(`delete from ${clinic.s}.worker`)
  await clinic.bugle.consume('q', () => {})
  expect(await clinic.findings('listeners')).toMatchObject([
    { status: 'ok', details: { workers: 1, present: 1, listening: 1 } },
  ])
  // What listens is ended by its pid; the worker has another at once, so that is asked for until it is seen.
  await clinic.bugle.close()
  expect(await clinic.findings('listeners')).toMatchObject([
    { status: 'note', message: expect.stringContaining('nobody') },
  ])
})

test('a job that runs for longer than an hour, or than is asked for', async ({ clinic }) => {
  await insertWorker(clinic, 17)
  const long = await insertRunning(clinic, '17', '61 min')
  const short = await insertRunning(clinic, '17', '10 min')
  expect(await clinic.findings('long-running')).toMatchObject([
    { status: 'trouble', details: { id: long, queue: 'media', attempt: 2, workerId: '17', total: 1 } },
  ])
  const { code, stdout } = await clinic.doctor(['--json', '--running-longer-than', '5m'])
  expect(code).toBe(1)
  const ids = stdout.split('\n').flatMap((line) => (line.includes('"long-running"') ? [JSON.parse(line).id] : []))
  expect(ids).toEqual([long, short])
  expect(await clinic.findings('long-running', { thresholds: { runningLongerThanMs: 7_200_000 } })).toMatchObject([
    { status: 'ok' },
  ])
})

test('of more than ten jobs that run for long, ten are named, and the first finding says how many there are', async ({
  clinic,
}) => {
  await insertWorker(clinic, 17)
  for (let minutes = 75; minutes > 63; minutes -= 1) await insertRunning(clinic, '17', `${minutes} min`)
  const found = await clinic.findings('long-running')
  expect(found).toHaveLength(10)
  expect(found.map(({ message }) => message.includes('; 12 jobs have'))).toEqual([true, ...Array(9).fill(false)])
})

test('queues and kinds that no live worker serves', async ({ clinic }) => {
  const { bugle } = clinic
  for (const [queue, options] of [
    ['served', {}],
    ['kinds', { kind: 'thumb' }],
    ['kinds', { kind: 'prbe' }],
    ['kinds', {}],
    ['forgotten', {}],
    ['resting', {}],
    ['paused', {}],
    ['later', { delayMs: 3_600_000 }],
  ] as const)
    await bugle.put(queue, {}, options)
  await bugle.pause('paused')
  const consumer = { concurrency: 1, kinds: null, isPaused: false }
  await insertWorker(clinic, 17, [
    { ...consumer, queue: 'served' },
    { ...consumer, queue: 'kinds', kinds: ['probe', 'thumb'] },
    { ...consumer, queue: 'resting', isPaused: true },
  ])
  const found = await clinic.findings('unserved')
  expect(
    found.map(({ status, details: { queue, kind, pausedConsumers } }) => [status, queue, kind, pausedConsumers]),
  ).toEqual([
    ['trouble', 'forgotten', undefined, 0],
    ['trouble', 'kinds', 'prbe', undefined],
    ['trouble', 'kinds', null, undefined],
    ['trouble', 'resting', undefined, 1],
  ])
  expect(await clinic.findings('paused')).toMatchObject([{ status: 'note', details: { queue: 'paused' } }])

  // A dead one serves nobody.
  await clinic.sql.unsafe(`update ${clinic.s}.worker set seen_at = seen_at - interval '2 min'`)
  expect((await clinic.findings('unserved')).map(({ details }) => details.queue)).toEqual([
    'forgotten',
    'kinds',
    'resting',
    'served',
  ])
})

test('a note alone leaves the exit code at 0; nothing foreign acts in what is printed', async ({ clinic }) => {
  await clinic.bugle.pause('emails')
  await clinic.bugle.pause('e\u001b[2J\u202emails')
  const { code, stdout } = await clinic.doctor()
  expect(stdout).toMatch(/^note {5}paused .*emails/m)
  expect(stdout).toContain('resume emails')
  expect(stdout).not.toMatch(/(?!\n)[\p{Cc}\p{Cf}]/u)
  expect(stdout).toMatch(/no trouble found, 3 notes\n$/)
  expect(code).toBe(0)
})
