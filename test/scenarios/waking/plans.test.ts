import type postgres from 'postgres'
import { expect } from 'vitest'
import { sessionSettings } from '../../../src/database/session.js'
import { loadStatements, type StatementName } from '../../../src/database/statements.js'
import { type TestDatabase, test } from '../../support/database.js'

const each = 100_000
const claimed = 100

// When the next is due; each row that was taken; each ack's row; the worker's own; the queue's.
const claimIndexes = ['job_due', 'job_pkey', 'job_pkey', 'worker_pkey', 'queue_pkey'] as const

/** The statements whose plans are promised: how each is called, and the index of each of its scans. */
const calls = {
  // And the order of claiming, for what is taken and for what a short claim left behind.
  claim: {
    statement: 'claim',
    values: `'emails', ${claimed}, 7, '{gpu}', '{1}', '{1}', 0, 'true', 'true'`,
    indexes: [...claimIndexes, 'job_ready', 'job_ready'],
  },
  // And the order of each kind, counted and then taken.
  claimKinds: {
    statement: 'claim_kinds',
    values: `'emails', ${claimed}, 7, '{gpu}', '{1}', '{1}', 0, 'true', 'true', '{a,b}'`,
    indexes: [...claimIndexes, 'job_kind', 'job_kind'],
  },
  // What follows a claim that was full of suspects, or was refused.
  claimSome: {
    statement: 'claim_some',
    values: `'emails', ${claimed}, 7, '{gpu}', '{1}', '{1}', 0, 'true', 'true', null, 'true', '{1}'`,
    indexes: [...claimIndexes, 'job_ready', 'job_ready'],
  },
  claimListed: {
    statement: 'claim_listed',
    values: `'emails', 2, 7, '{gpu}', null, null, 0, 'false', 'true', '{2,3}'`,
    indexes: [...claimIndexes, 'job_pkey'],
  },
  claimable: { statement: 'claimable', values: `'emails', ${claimed}, null, null, '{1}'`, indexes: ['job_ready'] },
  promotable: { statement: 'promotable', values: `'emails', ${claimed}, '{1}'`, indexes: ['job_due'] },
  settle: { statement: 'settle', values: `7, '{1}', '{1}'`, indexes: ['job_pkey', 'job_pkey'] },
  settleOther: {
    statement: 'settle_other',
    values: `7, '[{"id": "2", "lease": "1", "end": "failed", "error": {}}]'`,
    // Archived; failed or waiting; and the leases of those that did not match.
    indexes: ['archive_pkey', 'job_pkey', 'job_pkey', 'job_pkey'],
  },
  promote: {
    statement: 'promote',
    values: `'emails', ${claimed}, null, '{}'`,
    indexes: ['job_due', 'job_due', 'job_pkey'],
  },
  sweep: { statement: 'sweep', values: `'["emails"]'`, indexes: ['job_due', 'job_ready'] },
  // Its own row (the others are read in whole); its jobs; the queues.
  heartbeat: {
    statement: 'heartbeat',
    values: `7, 5000, 300000, '["emails"]', '[]', '["emails"]'`,
    indexes: ['worker_pkey', 'job_running', 'queue_pkey'],
  },
  // The first owner and the next ones; whether each is there; the jobs of those that are not, and those of nobody.
  rescue: {
    statement: 'rescue',
    values: `3, 500, null, 'true'`,
    indexes: ['job_running', 'job_running', 'worker_pkey', 'job_running', 'job_running', 'job_pkey'],
  },
  scheduled: { statement: 'scheduled', values: `'emails', '{"letter"}', null, '{}'`, indexes: ['job_due'] },
  put: { statement: 'put', values: `'emails', '{"n": 1}', 0, null`, indexes: [] },
  putMany: { statement: 'put_many', values: `'emails', '[{"payload": 1, "priority": 0}]'`, indexes: [] },
  putOptions: { statement: 'put_options', values: `'emails', '[{"payload": 1, "delay_ms": 5}]'`, indexes: [] },
  putKeyed: {
    statement: 'put_keyed',
    values: `'emails', '[{"payload": 1, "key": "a"}]', 'replace', 'true'`,
    indexes: [],
  },
  // By arrays of keys, in either table.
  resultLook: { statement: 'result_look', values: `'{1,2}'`, indexes: ['archive_pkey', 'job_pkey'] },
} as const satisfies Record<string, { statement: StatementName; values: string; indexes: readonly string[] }>

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
    for (const { statement, values } of Object.values(calls)) await session.unsafe(`execute ${statement} (${values})`)
  }
  await db.sql.unsafe(`delete from ${db.s}.job`)
  // And no ANALYZE: nothing tells the session that its plans have grown old.
  await fill(db)
  await expectPlans(session)
  await expectBoundedWork(db, session)
})

test('claim cost: the same rows and at most 2.5 times the pages, whatever is around', async ({ db }) => {
  const session = await openSession(db)
  // 100 jobs to take: for the plain claim of any kind, and for one of kinds, in a queue each.
  const mine = (first: number) => `
    insert into ${db.s}.job (id, queue, kind, payload) overriding system value
    select
      ${first} + n,
      (array['emails', 'media'])[1 + n % 2],
      case when n % 2 = 1 then (array['a', 'b'])[1 + n % 4 / 2] end,
      to_jsonb(n)
    from generate_series(0, ${2 * claimed - 1}) as n`
  const claims = {
    'any kind': ['claim', `'emails', ${claimed}, 7, null, null, null, 0, 'true', 'true'`],
    'some kinds': ['claim_kinds', `'media', ${claimed}, 7, null, null, null, 0, 'true', 'true', '{a,b}'`],
    'short, any kind': ['claim', `'emails', ${claimed + 1}, 7, null, null, null, 0, 'true', 'true'`],
    'short, some kinds': ['claim_kinds', `'media', ${claimed + 1}, 7, null, null, null, 0, 'true', 'true', '{a,b}'`],
    'of an empty queue': ['claim', `'nothing', ${claimed}, 7, null, null, null, 0, 'true', 'true'`],
    'of an empty queue, some kinds': [
      'claim_kinds',
      `'nothing', ${claimed}, 7, null, null, null, 0, 'true', 'true', '{a,b}'`,
    ],
  } as const
  const measure = async () => {
    const taken: Record<string, { ids: string[]; pages: number }> = {}
    for (const [what, [statement, values]] of Object.entries(claims)) {
      // Once without looking: what a first run finds in its way (hint bits, dead entries) is not its cost.
      for (const time of ['first', 'measured']) {
        await session`begin`
        const [top] = await explain(session, statement, values, 'analyze, buffers')
        const rows = await session.unsafe<{ id: string }[]>(
          `select id from ${db.s}.job where state = 'running' order by id`,
        )
        await session`rollback`
        if (time === 'measured') taken[what] = { ids: rows.map(({ id }) => id), pages: pages(top) }
      }
    }
    return taken
  }
  await db.sql.unsafe(mine(1_000_000))
  await db.sql.unsafe(`vacuum analyze ${db.s}.job`)
  const alone = await measure()
  await db.sql.unsafe(`delete from ${db.s}.job`)

  // In front of them, by id and so by the order of claiming: scheduled, failed, of other queues, of kinds not served.
  await fill(db, ['scheduled', 'failed'])
  await db.sql.begin(async (tx) => {
    await tx`set local session_replication_role = replica`
    await tx.unsafe(`
      insert into ${db.s}.job (queue, kind, payload)
      select (array['media', 'other'])[1 + n % 2], 'foreign', to_jsonb(n) from generate_series(1, ${2 * each}) as n`)
  })
  await db.sql.unsafe(mine(1_000_000))
  await db.sql.unsafe(`vacuum analyze ${db.s}.job`)
  const amid = await measure()

  for (const what of Object.keys(claims)) {
    const [before, after] = [alone[what], amid[what]]
    console.log(`claim cost, ${what}: ${before?.ids.length} rows, ${before?.pages} pages alone, ${after?.pages} amid`)
    expect(after?.ids, what).toEqual(before?.ids)
    expect(before?.ids, what).toHaveLength(what.startsWith('of an empty queue') ? 0 : claimed)
    expect((after?.pages ?? 0) / (before?.pages ?? 1), what).toBeLessThanOrEqual(2.5)
  }
})

test('claims: what makes the commit asynchronous is run once, in every plan, also where no job is found', async ({
  db,
}) => {
  const session = await openSession(db)
  const claims = [
    ['claim', ''],
    ['claim_kinds', `, '{a}'`],
    ['claim_some', `, null, 'true', '{}'`],
    ['claim_listed', `, '{1,2,3}'`],
  ] as const
  const queues = { 'without jobs': 'nothing', 'with one job': 'one', 'with jobs': 'many' }
  await db.sql.unsafe(`
    insert into ${db.s}.job (id, queue, kind, payload) overriding system value
    values (1, 'one', 'a', '1'), (2, 'many', 'a', '1'), (3, 'many', 'a', '1')`)
  for (const plans of ['force_generic_plan', 'force_custom_plan']) {
    for (const [statement, more] of claims) {
      for (const [what, queue] of Object.entries(queues)) {
        await session`begin`
        await session`select set_config('plan_cache_mode', ${plans}, true)`
        const values = `'${queue}', 3, 7, null, null, null, 0, 'true', 'true'${more}`
        const nodes = await explain(session, statement, values, 'analyze, verbose')
        const [after] = await session`select current_setting('synchronous_commit') as commits`
        await session`rollback`
        const which = `${statement} ${what}, ${plans}`
        expect(after, which).toEqual({ commits: 'off' })
        const runs = nodes.filter((node) => node.Output?.some((column) => column.includes('set_config')))
        expect(runs, which).toMatchObject([{ 'Actual Rows': 1, 'Actual Loops': 1 }])
      }
    }
  }
})

async function expectPlans(session: postgres.Sql): Promise<void> {
  for (const [name, { statement, values, indexes }] of Object.entries(calls)) {
    const nodes = await explain(session, statement, values)
    const plan = `${name}: ${nodes.map(show).join(' | ')}`
    for (const node of nodes) {
      const type = node['Node Type']
      // All workers is what a heartbeat asks for.
      if (name === 'heartbeat' && type === 'Seq Scan' && node['Relation Name'] === 'worker') continue
      expect.soft(type, plan).not.toMatch(/Seq Scan|Bitmap|Hash Join|Merge Join|Hash$|Materialize|Gather/)
      // What a put of many sorts is its own ids, a look at results the rows that it was asked for, and a claim of kinds
      // the first jobs of each: no index knows of these.
      if (type === 'Sort') {
        expect
          .soft(node['Sort Key']?.join(), plan)
          .toMatch(/^(inserted\.|job\.|archived\.)?id$|^job(_\d+)?\.priority DESC,job(_\d+)?\.id$/)
      }
      // An index that is read from end to end is a seq scan in disguise.
      const { 'Index Name': index, 'Index Cond': condition = 'none' } = node
      // The server's own catalogs: heartbeats ask which database this is.
      if (index?.startsWith('pg_')) continue
      if (index !== undefined) expect.soft(condition, plan).toMatch(conditionOf(index))
    }
    const used = nodes.flatMap(({ 'Index Name': index }) =>
      index === undefined || index.startsWith('pg_') ? [] : index,
    )
    expect.soft(used.sort(), plan).toEqual([...indexes].sort())
  }
}

function conditionOf(index: string): RegExp {
  // A column of a domain is compared as its base type.
  if (index === 'queue_pkey') return /name\)?(::text)? = /
  if (index.endsWith('_pkey')) return /id = /
  if (index === 'job_running') return /worker_id /
  return index === 'job_kind' ? /queue\)?(::text)? = .*kind\)?(::text)? = / : /queue\)?(::text)? = /
}

/** A claim and a settle of 100 jobs, really run, touch as many pages as 100 jobs need, however long the queue is. */
async function expectBoundedWork(db: TestDatabase, session: postgres.Sql): Promise<void> {
  const run = (statement: StatementName, values: string) => explain(session, statement, values, 'analyze, buffers')
  await session`begin`
  const claim = await run('claim', calls.claim.values)
  const order = claim.find((node) => node['Index Name'] === 'job_ready' && node['Actual Rows'] > 0)
  expect(order).toMatchObject({ 'Actual Rows': claimed, 'Actual Loops': 1 })
  // One way down the index, and a hundred rows side by side in heap.
  expect(pages(order)).toBeLessThan(40)
  // What a short claim left behind and when the next is due are not asked where it was full.
  const unused = claim.filter((node) => node['Index Name'] !== undefined && node['Actual Loops'] === 0)
  expect(unused.map((node) => node['Index Name']).sort()).toEqual(['job_due', 'job_ready'])
  // For each row: found, locked, found again, written, and entered into two indexes (measured: 15).
  expect(pages(claim[0])).toBeLessThan(claimed * 25)

  const running = await session.unsafe<{ id: string; lease: string }[]>(
    `select id, lease from ${db.s}.job where state = 'running' order by id`,
  )
  expect(running).toHaveLength(claimed)
  const acked = running.slice(0, claimed / 2)
  const settle = await run('settle', `7, '{${acked.map(({ id }) => id)}}', '{${acked.map(({ lease }) => lease)}}'`)
  expect(written(settle)).toEqual([['Delete', claimed / 2]])
  // Measured: 7 for an ack, 16 to 20 for any other.
  expect(pages(settle[0])).toBeLessThan(claimed * 10)

  const ends = ['archived', 'failed', 'waiting']
  const others = running
    .slice(claimed / 2)
    .map(({ id, lease }, n) => ({ id, lease, end: ends[n % 3], error: {}, delay_ms: (n % 2) * 1_000, result: n }))
  const settleOther = await run('settle_other', `7, '${JSON.stringify(others)}'`)
  expect(written(settleOther)).toEqual([
    ['Delete', 17],
    ['Insert', 17],
    ['Update', 33],
  ])
  expect(pages(settleOther[0])).toBeLessThan(claimed * 15)

  for (const [statement, kinds] of [
    ['claim', ''],
    ['claim_kinds', `, '{a,b}'`],
  ] as const) {
    const empty = await run(statement, `'nothing', ${claimed}, 7, null, null, null, 0, 'true', 'true'${kinds}`)
    expect(pages(empty[0])).toBeLessThan(25)
  }
  const sweep = await run('sweep', `'["nothing", "emails"]'`)
  expect(pages(sweep[0])).toBeLessThan(30)
  await session`rollback`
}

function written(nodes: readonly PlanNode[]): [string | undefined, number][] {
  return nodes.filter((node) => node.Operation !== undefined).map((node) => [node.Operation, node['Actual Rows']])
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
  const prepared = new Set(Object.values(calls).map(({ statement }) => statement))
  for (const statement of prepared) await session.unsafe(`prepare ${statement} as ${statements[statement]}`)
  return session
}

/** 100,000 rows of each state, mixed in the heap as in the order of ids. */
async function fill(db: TestDatabase, states = ['ready', 'scheduled', 'failed']): Promise<void> {
  await db.sql.begin(async (tx) => {
    // Without triggers, which only take time here; ALTER TABLE would make sessions plan anew.
    await tx`set local session_replication_role = replica`
    await tx.unsafe(`
      insert into ${db.s}.job (queue, payload, state, run_at, finished_at)
      select
        'emails',
        to_jsonb(n),
        state,
        case when state = 'scheduled' then now() + interval '1 day' else now() end,
        case when state = 'failed' then now() end
      from generate_series(1, ${states.length * each}) as n,
        lateral (select ('{${states}}'::text[])[1 + n % ${states.length}] as state) as its`)
  })
}

interface PlanNode {
  readonly 'Node Type': string
  readonly Operation?: string
  readonly 'Relation Name'?: string
  readonly 'Index Name'?: string
  readonly 'Index Cond'?: string
  readonly 'Sort Key'?: readonly string[]
  readonly Output?: readonly string[]
  readonly 'Actual Rows': number
  readonly 'Actual Loops': number
  readonly 'Shared Hit Blocks': number
  readonly 'Shared Read Blocks': number
  readonly Plans?: readonly PlanNode[]
}

/** All nodes of the plan, the top one first. */
async function explain(
  session: postgres.Sql,
  statement: StatementName,
  values: string,
  options: 'costs' | 'analyze, buffers' | 'analyze, verbose' = 'costs',
): Promise<PlanNode[]> {
  const [row] = await session.unsafe<{ 'QUERY PLAN': [{ Plan: PlanNode }] }[]>(
    `explain (format json, ${options}) execute ${statement} (${values})`,
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
