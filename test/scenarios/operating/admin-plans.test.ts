import type postgres from 'postgres'
import { expect } from 'vitest'
import { loadStatements } from '../../../src/database/statements.js'
import { test } from '../../support/database.js'
import { fill } from '../../support/ended-jobs.js'

interface PlanNode {
  readonly 'Node Type': string
  readonly 'Index Name'?: string
  readonly Plans?: readonly PlanNode[]
}

/** The nodes of the plan that the server makes for these values. */
async function explain(session: postgres.Sql, text: string, values: string): Promise<PlanNode[]> {
  await session.unsafe(`prepare asked as ${text}`)
  const [row] = await session.unsafe<{ 'QUERY PLAN': [{ Plan: PlanNode }] }[]>(
    `explain (format json) execute asked (${values})`,
  )
  await session.unsafe('deallocate asked')
  const flatten = (node: PlanNode): PlanNode[] => [node, ...(node.Plans ?? []).flatMap(flatten)]
  return row === undefined ? [] : flatten(row['QUERY PLAN'][0].Plan)
}

test('plans: with 100,000 failed rows, archived ones and ready ones, every statement goes by an index', async ({
  db,
}) => {
  await db.sql.begin(async (tx) => {
    // Without triggers, which only take time here.
    await tx`set local session_replication_role = replica`
    await tx.unsafe(`
      insert into ${db.s}.job (queue, payload, state, finished_at)
      select 'emails', to_jsonb(n), case when n % 2 = 0 then 'failed' else 'ready' end,
        case when n % 2 = 0 then now() - n * interval '1 s' end
      from generate_series(1, 200000) as n`)
  })
  await fill(db, 'archived', 100_000, '1 hour')
  await db.sql.unsafe(`
    update ${db.s}.archive set expires_at = now() + (id % 1000) * interval '1 min' where id % 2 = 0;
    insert into ${db.s}.taken_key (queue, key, job_id, until)
    select 'emails', n::text, n, now() + (n % 1000) * interval '1 min' from generate_series(1, 100000) as n`)
  const session = db.connect()
  await session`set plan_cache_mode = force_custom_plan`
  const statements = loadStatements(db.schema)
  const all: Record<string, [keyof typeof statements, string, readonly string[]]> = {
    'a collect of failed jobs': ['collect_failed', '100000000, 1000', ['job_failed', 'job_pkey']],
    'a collect of all failed jobs': ['collect_failed', '0, 1000', ['job_failed', 'job_pkey']],
    'a collect of archived jobs': ['collect_archived', '0, 1000', ['archive_finished', 'archive_pkey']],
    'a requeue of failed jobs': [
      'act_on_jobs',
      `50000, 1000, null, null, null, null, '{failed}', 'requeue', 1000`,
      ['job_pkey'],
    ],
    'a discard by payload': [
      'act_on_jobs',
      `50000, 1000, 'emails', null, null, '{"a":1}', '{failed}', 'discard', 10`,
      ['job_pkey'],
    ],
    'a cancel of all that is not over': [
      'act_on_jobs',
      `50000, 1000, null, null, null, null, '{scheduled,ready,running}', 'cancel', 1000`,
      ['job_pkey'],
    ],
    'a requeue of archived jobs': [
      'act_on_archived',
      `50000, 1000, null, null, null, null, '{archived}', 'requeue', 1000`,
      ['archive_pkey'],
    ],
    'a look for payloads': [
      'jobs_containing',
      `'{"a":1}', null, 100, 10000, 'emails', null, null, null`,
      ['archive_pkey', 'job_pkey'],
    ],
    'the jobs that it has found': [
      'jobs_listed',
      `'true', '{5,7}', 100, null, null, null, null`,
      ['archive_pkey', 'job_pkey'],
    ],
    'a collect of jobs whose time is over': ['collect_expired', '0, 1000', ['archive_expires', 'archive_pkey']],
    'a collect of keys whose time is over': ['collect_keys', '0, 1000', ['taken_key_until']],
    'a look at one job': ['job_find', "'true', 5", ['archive_pkey', 'job_pkey']],
    'a page of all jobs': ['jobs_find', "'true', null, 101, null, null, null, null", ['archive_pkey', 'job_pkey']],
    'a page far back': ['jobs_find', `'true', 9000, 101, 'emails', null, null, null`, ['archive_pkey', 'job_pkey']],
    'a page of failed jobs': ['jobs_find', `'true', null, 101, null, 'failed', null, null`, ['job_pkey']],
    'a page of failed jobs of a queue': [
      'jobs_find',
      `'true', 150000, 101, 'emails', 'failed', null, null`,
      ['job_pkey'],
    ],
    'a page of running jobs': ['jobs_find', `'true', null, 101, null, 'running', null, null`, ['job_running']],
    'a page of archived jobs': ['jobs_find', `'true', null, 101, null, 'archived', null, null`, ['archive_pkey']],
  }
  for (const [what, [name, values, indexes]] of Object.entries(all)) {
    await db.sql.unsafe(`analyze ${db.s}.job, ${db.s}.archive, ${db.s}.taken_key`)
    const nodes = await explain(session, statements[name], values)
    const plan = `${what}: ${nodes.map((node) => [node['Node Type'], node['Index Name']].join(' ')).join(' | ')}`
    expect.soft(nodes.map((node) => node['Node Type']).join(), plan).not.toMatch(/Seq Scan/)
    expect.soft([...new Set(nodes.flatMap((node) => node['Index Name'] ?? []))].sort(), plan).toEqual(indexes)
  }
})
