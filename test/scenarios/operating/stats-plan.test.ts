import { expect } from 'vitest'
import { sessionSettings } from '../../../src/database/session.js'
import { loadStatements } from '../../../src/database/statements.js'
import { test } from '../../support/gates.js'
import { insert, insertWorker } from '../../support/stats.js'

interface PlanNode {
  readonly 'Node Type': string
  readonly 'Relation Name'?: string
  readonly 'Index Name'?: string
  readonly 'Rows Removed by Filter'?: number
  readonly 'Actual Rows': number
  readonly 'Actual Loops': number
  readonly 'Shared Hit Blocks': number
  readonly 'Shared Read Blocks': number
  readonly Plans?: readonly PlanNode[]
}

test('the plan of stats: index scans that end at the bound, also where it was made on an empty table', async ({
  db,
}) => {
  const session = db.connect()
  const [server] = await session<{ version: number }[]>`select current_setting('server_version_num')::int as version`
  for (const [name, value] of Object.entries(sessionSettings(server?.version ?? 0, 60_000))) {
    await session`select set_config(${name}, ${value}, false)`
  }
  const { stats_queues, stats_workers } = loadStatements(db.schema)
  for (const table of ['job', 'worker', 'queue']) await db.sql.unsafe(`vacuum analyze ${db.s}.${table}`)
  await session.unsafe(`prepare queues as ${stats_queues}`)
  await session.unsafe(`prepare workers as ${stats_workers}`)
  const asked = [
    `queues (null, 1000, 1000, '[]', 500000)`,
    `queues ('q1', 1000, 1000, '["q1"]', 500000)`,
    'workers (1000)',
  ]
  for (const one of asked) await session.unsafe(`execute ${one}`)

  for (const id of [1, 2, 3]) await insertWorker(db, id, '0 s')
  // There are at least ten times more jobs than are counted of each state.
  await insert(
    db,
    'queue, state, priority, run_at, worker_id, finished_at',
    `select 'q' || n % 3, state, 0,
       now() + case when state = 'scheduled' then interval '1 h' else interval '0' end,
       case when state = 'running' then n % 7 end,
       case when state = 'failed' then now() end
     from unnest('{ready,scheduled,running,failed}'::text[]) as state, generate_series(1, 30000) as n
     -- One queue behind the other: what is read to find the next one shows.
     order by state, n % 3`,
  )
  for (const [which, isTidy] of asked.flatMap((one) => [[one, false] as const, [one, true] as const])) {
    if (isTidy) await db.sql.unsafe(`vacuum analyze ${db.s}.job`)
    const [row] = await session.unsafe<{ 'QUERY PLAN': [{ Plan: PlanNode }] }[]>(
      `explain (format json, analyze, buffers) execute ${which}`,
    )
    const top = row?.['QUERY PLAN'][0].Plan
    const flatten = (node: PlanNode): PlanNode[] => [node, ...(node.Plans ?? []).flatMap(flatten)]
    for (const node of top === undefined ? [] : flatten(top)) {
      const shown = `${which}: ${node['Node Type']} ${node['Relation Name'] ?? ''} ${node['Index Name'] ?? ''}`
      // All workers are read.
      if (node['Relation Name'] !== 'worker') expect.soft(node['Node Type'], shown).not.toMatch(/Seq Scan|Bitmap/)
      if (node['Relation Name'] !== 'job') continue
      expect.soft(node['Actual Rows'], shown).toBeLessThanOrEqual(1_001)
      expect.soft(node['Rows Removed by Filter'] ?? 0, shown).toBe(0)
      expect.soft(node['Index Name'], shown).toMatch(/^job_(ready|due|running|failed)$/)
    }
    const pages = (top?.['Shared Hit Blocks'] ?? Number.NaN) + (top?.['Shared Read Blocks'] ?? 0)
    console.log(`stats: ${which}, ${isTidy ? 'vacuumed' : 'as it is'}: ${pages} pages`)
    // At most 9,000 of the 120,000 rows are read, and they lie side by side (measured: 400 pages).
    expect.soft(pages, which).toBeLessThan(2_000)
  }
})
