import { expect } from 'vitest'
import { giveBack, lowestId } from '../../../src/consume/statements.js'
import { type Bugle, type BugleEvents, type Job, release } from '../../../src/index.js'
import { type Collected, signal, type TestDatabase, test } from '../../support/database.js'
import { operator } from '../../support/operator.js'
import { type FullRow, fullRows } from '../../support/rows.js'
import { until } from '../../support/until.js'

/** Rows that our own statements never write. Five good jobs of the same queue, put after each, must run beside it. */
const good = [1, 2, 3, 4, 5]

/**
 * Consumes until the good jobs have run.
 *
 * @param handler - of the bad ones
 * @returns what the database refused of claims and rescues, from now on too
 */
async function runBeside(
  db: TestDatabase,
  bugle: Bugle,
  handler: (job: Job) => unknown,
): Promise<{ readonly errors: Collected<BugleEvents['claim:error']> }> {
  const errors = db.collect(bugle, 'claim:error')
  const ran = new Set<unknown>()
  const all = signal()
  await bugle.putMany('q', good)
  await bugle.consume('q', (job) => {
    if (!good.includes(job.payload as number)) return handler(job)
    ran.add(job.payload)
    if (ran.size === good.length) all.resolve()
  })
  await all.promise
  return { errors }
}

interface BadRow {
  /** Its columns, and their values as SQL. */
  readonly columns: Readonly<Record<string, string>>
  /** An UPDATE of it that follows. */
  readonly update?: string
  /** What its handler sees: the first run is released, the second acked. */
  readonly runs?: Partial<Job>
  /** What becomes of it otherwise. */
  readonly stays?: Partial<FullRow>
}

const most = { attempt: '2147483647', lease: '9223372036854775807' }
const least = { attempt: '-2147483648', lease: '-9223372036854775808', crashes: '-32768' }
const dead = { state: `'running'`, worker_id: '42' }
const firstMoment = new Date(-8_640_000_000_000_000)
const lastMoment = new Date(8_640_000_000_000_000)

const badRows: Record<string, BadRow> = {
  'attempt and lease at their maximum': { columns: most, runs: { attempt: 1_000_000_000 } },
  'attempt, lease and crashes at their minimum': { columns: least, runs: { attempt: 1 } },
  'crashes at their maximum': { columns: { crashes: '32767' }, runs: { attempt: 1, crashes: 32_767 } },
  'attempt and lease at their maximum, of a dead worker': {
    columns: { ...most, ...dead },
    runs: { attempt: 1_000_000_000, crashes: 1 },
  },
  'all at their minimum, of a dead worker': { columns: { ...least, ...dead }, runs: { attempt: 1, crashes: 1 } },
  'crashes at their maximum, of a dead worker': {
    columns: { ...dead, crashes: '32767' },
    stays: { state: 'failed', crashes: 32_000 },
  },
  'run_at -infinity': { columns: { run_at: `'-infinity'` }, runs: { attempt: 1, runAt: firstMoment } },
  'scheduled, and run_at -infinity': { columns: { run_at: `'-infinity'`, state: `'scheduled'` }, runs: { attempt: 1 } },
  'run_at infinity': { columns: { run_at: `'infinity'` }, stays: { state: 'scheduled', attempt: 0 } },
  'run_at infinity, brought forward': {
    columns: { run_at: `'infinity'` },
    update: `state = 'ready'`,
    runs: { attempt: 1, runAt: lastMoment },
  },
  'run_at in the year 290000': { columns: { run_at: `'290000-01-01'` }, stays: { state: 'scheduled', attempt: 0 } },
  'created_at and run_at infinity, brought forward': {
    columns: { created_at: `'infinity'`, run_at: `'infinity'` },
    update: `state = 'ready'`,
    runs: { attempt: 1, createdAt: lastMoment },
  },
  'created_at and run_at -infinity': {
    columns: { created_at: `'-infinity'`, run_at: `'-infinity'` },
    runs: { attempt: 1, createdAt: firstMoment },
  },
  'created_at in the year 290000': {
    columns: { created_at: `'290000-01-01'` },
    runs: { attempt: 1, createdAt: lastMoment },
  },
  'max_attempts 0': { columns: { max_attempts: '0' }, runs: { attempt: 1, maxAttempts: 0 } },
  'timeout_ms below 0': { columns: { timeout_ms: '-1', max_attempts: '-1' }, stays: { state: 'failed', attempt: 1 } },
  'a flag that is null': { columns: { flags: `'{gpu,null}'` }, runs: { attempt: 1, flags: ['gpu'] } },
  'a worker, and not running': { columns: { worker_id: '42' }, runs: { attempt: 1 } },
}

for (const [what, { columns, update, runs, stays }] of Object.entries(badRows)) {
  test(`lean: a row with ${what} does not keep others from running`, async ({ db }) => {
    const [{ id } = { id: '' }] = await db.sql.unsafe<{ id: string }[]>(
      `insert into ${db.s}.job (queue, payload, ${Object.keys(columns)})
       values ('q', '"bad"', ${Object.values(columns)}) returning id`,
    )
    if (update !== undefined) await db.sql.unsafe(`update ${db.s}.job set ${update}`)
    const bugle = db.bugle({ rescueAfterMs: 300 })
    await look(db, bugle, id)
    const seen: Job[] = []
    const { errors } = await runBeside(db, bugle, (job) => {
      seen.push(job)
      return seen.length === 1 ? release({ delayMs: 0 }) : undefined
    })
    if (runs === undefined) {
      await until(async () => (await fullRows(db)).length === 1)
      await until(async () => (await fullRows(db))[0]?.state === stays?.state)
      expect(await fullRows(db)).toMatchObject([stays])
    } else {
      await until(async () => (await fullRows(db)).length === 0)
      expect(seen).toMatchObject([runs, { ...runs, ...(runs.runAt && { runAt: expect.any(Date) }) }])
      expect(seen[1]?.runAt.getTime()).toBeGreaterThan(firstMoment.getTime())
    }
    expect(errors.all).toEqual([])
  })
}

interface Due {
  readonly dueInMs?: number | null
}

/** All that looks at rows which wait: none of it may fail on the only one that is there. */
async function look(db: TestDatabase, bugle: Bugle, id: string): Promise<void> {
  expect(await bugle.job(id)).toMatchObject({ id })
  expect((await bugle.jobs()).jobs).toMatchObject([{ id }])
  expect((await bugle.stats()).queues).toMatchObject([{ queue: 'q' }])
  const { database } = operator(db)
  await database.ready()
  // What is due at infinity is never due, and what was due at -infinity is.
  const [due] = await db.sql.unsafe<{ is: string }[]>(
    `select case when run_at < now() then 'due' when isfinite(run_at) then 'ahead' else 'never' end as is
     from ${db.s}.job where state = 'scheduled'`,
  )
  for (const [name, given] of [
    ['scheduled', ['q', null, null, '{}']],
    ['sweep', ['["q"]']],
    ['promote', ['q', 0, null, '{}']],
    // A worker without a row takes nothing.
    ['claim', ['q', 1, '7', null, null, null, lowestId, 'false', 'false']],
  ] as const) {
    const [row] = await database.query<Due & { signs?: { short: { due_in_ms: number | null } } }>(name, [...given])
    const dueInMs = name === 'claim' ? row?.signs?.short.due_in_ms : row?.dueInMs
    const is = dueInMs == null ? 'never' : dueInMs > 0 ? 'ahead' : 'due'
    expect(is, name).toBe(due?.is ?? 'never')
  }
}

/** What is refused still: each by its domain, or since it may not be null. */
const refused = [
  ['state', `'odd'`, '23514'],
  ['payload', 'null', '23502'],
  ['queue', 'null', '23502'],
  ['queue', `''`, '23514'],
  ['queue', `repeat('q', 129)`, '23514'],
  ['kind', `''`, '23514'],
  ['key', `''`, '23514'],
  ['key', `repeat('k', 10000000)`, '23514'],
  ['attempt', 'null', '23502'],
  ['lease', 'null', '23502'],
  ['crashes', '32768', '22003'],
] as const

test('lean: names, states and nulls that cannot be are refused at the insert; the good jobs run', async ({ db }) => {
  for (const [column, value, code] of refused) {
    const columns = { queue: `'q'`, [column]: value }
    const insert = `insert into ${db.s}.job (${Object.keys(columns)}) values (${Object.values(columns)})`
    await expect(db.sql.unsafe(insert).execute(), insert).rejects.toMatchObject({ code })
  }
  await runBeside(db, db.bugle(), () => {})
  await until(async () => (await fullRows(db)).length === 0)
})

test('lean: bugle.put refuses limits below 1 and flags without a name', async ({ db }) => {
  for (const given of ['max_attempts => 0', 'timeout_ms => -1', `flags => '{gpu,null}'`]) {
    for (const key of ['', `, key => 'k'`]) {
      const put = `select ${db.s}.put('q', ${given}${key})`
      await expect(db.sql.unsafe(put).execute(), put).rejects.toMatchObject({ code: '22023' })
    }
  }
  expect(await fullRows(db)).toEqual([])
})

test('lean: running rows without a worker go back, a crash counted, and run; the good jobs run beside them', async ({
  db,
}) => {
  const columns = `(queue, payload, state, lease, max_attempts, attempt, cancel_requested_at)`
  await db.sql.unsafe(`
    insert into ${db.s}.job ${columns} values
      ('q', '"bad"', 'running', 7, null, 1, null),
      ('q', '"exhausted"', 'running', 7, 1, 1, null),
      ('q', '"cancelled"', 'running', 7, null, 1, now())`)
  const bugle = db.bugle({ rescueAfterMs: 300 })
  const rescued = db.collect(bugle, 'worker:rescued')
  const failed = db.collect(bugle, 'job:failed')
  const ran = signal<unknown>()
  const { errors } = await runBeside(db, bugle, ({ attempt, crashes }) => ran.resolve([attempt, crashes]))
  expect(await ran.promise).toEqual([2, 1])
  expect(await rescued.next()).toEqual({ queue: null, deadWorkerId: '0', jobs: 3 })
  expect(failed.all.map(({ cause, workerId }) => [cause, workerId]).sort()).toEqual([
    ['cancelled', '0'],
    ['crashed', '0'],
  ])
  await until(async () => (await fullRows(db)).length === 2)
  expect(await fullRows(db)).toMatchObject([
    { payload: 'exhausted', state: 'failed', crashes: 1 },
    { payload: 'cancelled', state: 'failed', crashes: 1 },
  ])
  expect(errors.all).toEqual([])
})

test('lean: of many running rows without a worker and of dead ones, each goes back once, in batches', async ({
  db,
}) => {
  for (const worker of ['null', '42', 'null', '43']) {
    await db.sql.unsafe(
      `insert into ${db.s}.job (queue, state, worker_id, lease)
       select 'q', 'running', ${worker}, 7 from generate_series(1, 50)`,
    )
  }
  const { database } = operator(db)
  await database.ready()
  expect(await database.query('orphans', [500, '{}'])).toHaveLength(200)
  const batches: number[] = []
  for (;;) {
    const rows = await database.query('rescue', [3, 70, null, 'true'])
    if (rows.length === 0) break
    batches.push(rows.length)
  }
  expect(batches).toEqual([70, 70, 60])
  for (const row of await fullRows(db)) {
    expect(row).toMatchObject({ state: 'ready', worker_id: null, crashes: 1 })
    expect(Number(row.lease)).toBeGreaterThan(7)
  }
})

test('lean: a job that was set failed by hand while it ran, and requeued, cannot be settled by its worker', async ({
  db,
}) => {
  const [{ id } = { id: '' }] = await db.sql.unsafe<{ id: string }[]>(
    `insert into ${db.s}.job (queue, state, worker_id, lease) values ('q', 'running', 7, 9) returning id`,
  )
  await db.sql.unsafe(`update ${db.s}.job set state = 'failed'`)
  await db.sql.unsafe(`select ${db.s}.requeue(${id})`)
  const { database } = operator(db)
  await database.ready()
  expect(await database.query('settle', ['7', `{${id}}`, '{9}'])).toMatchObject([{ id, state: 'ready' }])
  expect(await fullRows(db)).toMatchObject([{ id, state: 'ready', worker_id: null }])
})

test('lean: a running row whose attempt no run can have is given back with none', async ({ db }) => {
  const rows = await db.sql.unsafe<{ id: string }[]>(
    `insert into ${db.s}.job (queue, state, worker_id, lease, attempt)
     select 'q', 'running', 7, 9, attempt from unnest('{-2147483648,0}'::int[]) as attempt returning id`,
  )
  const { database } = operator(db)
  await database.ready()
  await giveBack(
    database.query,
    '7',
    rows.map(({ id }) => ({ id, lease: '9' })),
  )
  const empty = { state: 'ready', worker_id: null, attempt: 0 }
  expect(await fullRows(db)).toMatchObject([empty, empty])
})
