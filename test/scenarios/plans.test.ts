import type postgres from 'postgres'
import { expect } from 'vitest'
import { sessionSettings } from '../../src/database/session.js'
import { loadStatements } from '../../src/database/statements.js'
import { type TestDatabase, test } from '../support/database.js'

const each = 100_000
const claimed = 100

/** The statements of which plans are promised, and something to run them with. */
const parameters = {
  claim: `'emails', ${claimed}, 7`,
  settle: `7, '{1}', '{1}', '[{"id": "2", "lease": "1", "error": {}}]'`,
  sweep: `'["emails"]'`,
  put: `'emails', '{"n": 1}', 0`,
  put_many: `'emails', '[{"payload": 1, "priority": 0}]'`,
} as const

type Planned = keyof typeof parameters
const planned = Object.keys(parameters) as Planned[]

/** The indexes by which each finds rows of ours, one for each scan. */
const indexes: Record<Planned, readonly string[]> = {
  // The order of claiming; each row of it; the worker's own; and what a short claim left behind.
  claim: ['job_pkey', 'job_ready', 'job_ready', 'worker_pkey'],
  // Acked; failed; and the leases of those that did not match.
  settle: ['job_pkey', 'job_pkey', 'job_pkey'],
  sweep: ['job_ready'],
  put: [],
  put_many: [],
}

test('plans: with 100,000 ready, scheduled and failed rows beside each other', async ({ db }) => {
  await fill(db)
  await db.sql.unsafe(`vacuum analyze ${db.s}.job`)
  const session = await openSession(db)
  await expectPlans(session)
  await expectBoundedWork(db, session)
})

test('plans: after VACUUM ANALYZE of an empty table', async ({ db }) => {
  for (const table of ['job', 'worker']) await db.sql.unsafe(`vacuum analyze ${db.s}.${table}`)
  await expectPlans(await openSession(db))
})

test('plans: prepared and run while the table was empty, then run with 100,000 rows', async ({ db }) => {
  await db.sql.unsafe(`vacuum analyze ${db.s}.job`)
  const session = await openSession(db)
  for (let n = 0; n < 10; n += 1) {
    for (const name of planned) await session.unsafe(`execute ${name} (${parameters[name]})`)
  }
  await db.sql.unsafe(`delete from ${db.s}.job`)
  // And no ANALYZE: nothing tells the session that its plans have grown old.
  await fill(db)
  await expectPlans(session)
  await expectBoundedWork(db, session)
})

async function expectPlans(session: postgres.Sql): Promise<void> {
  for (const name of planned) {
    const nodes = await explain(session, name, parameters[name])
    const plan = `${name}: ${nodes.map(show).join(' | ')}`
    for (const node of nodes) {
      const type = node['Node Type']
      expect.soft(type, plan).not.toMatch(/Seq Scan|Bitmap|Hash Join|Merge Join|Hash$|Materialize|Gather/)
      // What a put of many sorts is its own ids, of which no index knows.
      if (name !== 'put_many') expect.soft(type, plan).not.toMatch(/Sort/)
      // An index that is read from end to end is a seq scan in disguise.
      const { 'Index Name': index, 'Index Cond': condition = 'none' } = node
      if (index !== undefined) expect.soft(condition, plan).toMatch(index === 'job_ready' ? /queue = / : /id = /)
    }
    const used = nodes.flatMap((node) => node['Index Name'] ?? []).sort()
    expect.soft(used, plan).toEqual(indexes[name])
  }
}

/** A claim and a settle of 100 jobs, really run, touch as many pages as 100 jobs need, however long the queue is. */
async function expectBoundedWork(db: TestDatabase, session: postgres.Sql): Promise<void> {
  await session`begin`
  const claim = await explain(session, 'claim', parameters.claim, 'analyze, buffers')
  const order = claim.find((node) => node['Index Name'] === 'job_ready' && node['Actual Rows'] > 0)
  expect(order).toMatchObject({ 'Actual Rows': claimed, 'Actual Loops': 1 })
  // One way down the index, and a hundred rows side by side in heap.
  expect(pages(order)).toBeLessThan(40)
  // What a short claim left behind is not asked where it was full.
  expect(claim.filter((node) => node['Index Name'] === 'job_ready' && node['Actual Loops'] === 0)).toHaveLength(1)
  // For each row: found, locked, found again, written, and entered into two indexes (measured: 15).
  expect(pages(claim[0])).toBeLessThan(claimed * 25)

  const running = await session.unsafe<{ id: string; lease: string }[]>(
    `select id, lease from ${db.s}.job where state = 'running' order by id`,
  )
  expect(running).toHaveLength(claimed)
  const acked = running.slice(0, claimed / 2)
  const failed = running.slice(claimed / 2).map(({ id, lease }) => ({ id, lease, error: { message: 'no' } }))
  const settle = await explain(
    session,
    'settle',
    `7, '{${acked.map(({ id }) => id)}}', '{${acked.map(({ lease }) => lease)}}', '${JSON.stringify(failed)}'`,
    'analyze, buffers',
  )
  const written = settle.filter((node) => node.Operation !== undefined)
  expect(written.map((node) => [node.Operation, node['Actual Rows']])).toEqual([
    ['Delete', claimed / 2],
    ['Update', claimed / 2],
  ])
  // Measured: 7 for an ack, 16 for a failure.
  expect(pages(settle[0])).toBeLessThan(claimed * 20)

  const empty = await explain(session, 'claim', `'nothing', ${claimed}, 7`, 'analyze, buffers')
  expect(pages(empty[0])).toBeLessThan(20)
  const sweep = await explain(session, 'sweep', `'["nothing", "emails"]'`, 'analyze, buffers')
  expect(pages(sweep[0])).toBeLessThan(20)
  await session`rollback`
}

/** A session as the library has it, with its statements prepared. */
async function openSession(db: TestDatabase): Promise<postgres.Sql> {
  const session = db.connect()
  const [server] = await session<{ version: number }[]>`select current_setting('server_version_num')::int as version`
  for (const [name, value] of Object.entries(sessionSettings(server?.version ?? 0, 60_000))) {
    await session`select set_config(${name}, ${value}, false)`
  }
  await session.unsafe(`
    insert into ${db.s}.worker (id, name, host, pid, version) values (7, 'w', 'h', 1, '1') on conflict do nothing`)
  const statements = loadStatements(db.schema)
  for (const name of planned) await session.unsafe(`prepare ${name} as ${statements[name]}`)
  return session
}

/** Ready, scheduled and failed rows, mixed in the heap as in the order of ids. */
async function fill(db: TestDatabase): Promise<void> {
  await db.sql.begin(async (tx) => {
    // Without triggers, which only take time here; ALTER TABLE would make sessions plan anew.
    await tx`set local session_replication_role = replica`
    await tx.unsafe(`
      insert into ${db.s}.job (queue, payload, state, run_at, finished_at)
      select
        'emails',
        to_jsonb(n),
        (array['ready', 'scheduled', 'failed'])[1 + n % 3],
        now() + (n % 3) * interval '1 day',
        case when n % 3 = 2 then now() end
      from generate_series(1, ${3 * each}) as n`)
  })
}

interface PlanNode {
  readonly 'Node Type': string
  readonly Operation?: string
  readonly 'Relation Name'?: string
  readonly 'Index Name'?: string
  readonly 'Index Cond'?: string
  readonly 'Actual Rows': number
  readonly 'Actual Loops': number
  readonly 'Shared Hit Blocks': number
  readonly 'Shared Read Blocks': number
  readonly Plans?: readonly PlanNode[]
}

/** All nodes of the plan, the top one first. */
async function explain(
  session: postgres.Sql,
  name: Planned,
  values: string,
  options: 'costs' | 'analyze, buffers' = 'costs',
): Promise<PlanNode[]> {
  const [row] = await session.unsafe<{ 'QUERY PLAN': [{ Plan: PlanNode }] }[]>(
    `explain (format json, ${options}) execute ${name} (${values})`,
  )
  const flatten = (node: PlanNode): PlanNode[] => [node, ...(node.Plans ?? []).flatMap(flatten)]
  return row === undefined ? [] : flatten(row['QUERY PLAN'][0].Plan)
}

function pages(node: PlanNode | undefined): number {
  return node === undefined ? Number.NaN : node['Shared Hit Blocks'] + node['Shared Read Blocks']
}

function show(node: PlanNode): string {
  return [node['Node Type'], node['Relation Name'], node['Index Name'], node['Index Cond']].filter(Boolean).join(' ')
}
