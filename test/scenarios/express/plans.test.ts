import type postgres from 'postgres'
import { expect } from 'vitest'
import { sessionSettings } from '../../../src/database/session.js'
import { loadStatements, type StatementName } from '../../../src/database/statements.js'
import { type TestDatabase, test } from '../../support/database.js'
import { insertWorker, putRows } from '../../support/express.js'

interface Plan {
  readonly 'Node Type': string
  readonly 'Index Name'?: string
  readonly 'Relation Name'?: string
  readonly Plans?: readonly Plan[]
}

const all = `'{1}', '{1}', '{1}', '{1}', '{1}'`
const calls = {
  express_claim: { values: `'q', 500, 7, '{gpu}', 0`, reads: ['job_ready', 'queue_pkey', 'queue_pkey', 'worker_pkey'] },
  express_ack: { values: `'{"(0,1)"}', '5'`, reads: ['Tid Scan'] },
  express_keep: { values: `7, '{"(0,1)"}', '5', '{1}'`, reads: ['Tid Scan', 'worker_pkey'] },
  settle_express: { values: all, reads: ['job_pkey', 'job_pkey'] },
  keep_express: { values: `7, ${all}, '{1}'`, reads: ['job_pkey', 'worker_pkey'] },
} as const satisfies Partial<Record<StatementName, object>>

test('plans: a lane claims by the order of claiming, and deletes by place', async ({ db }) => {
  await putRows(db, 1_000)
  await db.sql.begin(async (tx) => {
    await tx`set local session_replication_role = replica`
    await tx.unsafe(`insert into ${db.s}.job (queue, payload) select 'other', '1' from generate_series(1, 20000)`)
  })
  await insertWorker(db, '7')
  for (const work of ['', `vacuum analyze ${db.s}.job`]) {
    if (work) await db.sql.unsafe(work)
    const session = await openSession(db)
    for (const [name, { values, reads }] of Object.entries(calls)) {
      const nodes = await explain(session, `execute ${name} (${values})`)
      const seen = nodes.flatMap((node) => scanOf(node)).sort()
      expect(seen, name).toEqual([...reads].sort())
      expect(
        nodes.map((node) => node['Node Type']).filter((type) => /^Sort|Seq Scan|Bitmap|Hash/.test(type)),
        name,
      ).toEqual([])
    }
  }
})

async function openSession(db: TestDatabase): Promise<postgres.Sql> {
  const session = db.connect()
  const [{ version = 0 } = {}] = await session<{ version: number }[]>`
    select current_setting('server_version_num')::int as version`
  for (const [name, value] of Object.entries({ ...sessionSettings(version, 60_000), enable_tidscan: 'on' }))
    await session`select set_config(${name}, ${value}, false)`
  const statements = loadStatements(db.schema)
  for (const name of Object.keys(calls)) {
    await session.unsafe(`prepare ${name} as ${statements[name as keyof typeof calls]}`)
  }
  return session
}

async function explain(session: postgres.Sql, text: string): Promise<Plan[]> {
  const [row] = await session.unsafe<{ 'QUERY PLAN': [{ Plan: Plan }] }[]>(`explain (format json) ${text}`)
  const below = (plan: Plan): Plan[] => [plan, ...(plan.Plans ?? []).flatMap(below)]
  return row === undefined ? [] : below(row['QUERY PLAN'][0].Plan)
}

/** The index that a node reads, or its way to the table. */
function scanOf(node: Plan): string[] {
  if (node['Index Name'] !== undefined) return [node['Index Name']]
  return /Scan$/.test(node['Node Type']) && node['Relation Name'] !== undefined ? [node['Node Type']] : []
}
