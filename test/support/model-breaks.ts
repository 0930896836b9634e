import { AssertionError } from 'node:assert'
import type { StatementName, Statements } from '../../src/database/statements.js'
import { replacing } from './changed-statements.js'
import type { TestDatabase } from './database.js'

/** A guard that is taken out of the SQL: then the model must differ from the tables. */
export type Break = TextBreak | TriggerBreak

interface TextBreak {
  /** What is wrong then. */
  readonly title: string
  readonly in: { readonly statement: StatementName } | { readonly function: string }
  readonly find: string
  readonly put: string
}

interface TriggerBreak {
  readonly title: string
  readonly trigger: string
}

export const breaks: readonly Break[] = [
  {
    title: 'an ack counts that comes from another worker',
    in: { statement: 'settle' },
    find: 'worker_id = $1::bigint',
    put: '$1::bigint is not null',
  },
  {
    title: 'an outcome counts that comes under a former lease',
    in: { statement: 'settle_other' },
    find: 'and job.lease = given.lease',
    put: '',
  },
  {
    title: 'a release keeps its attempt',
    in: { statement: 'settle_other' },
    find: 'then greatest(attempt, 1) - 1',
    put: 'then attempt',
  },
  {
    title: 'a job whose cancel was requested waits again',
    in: { statement: 'settle_other' },
    find: `when "end" = 'failed' or cancel_requested_at is not null then 'failed'`,
    put: `when "end" = 'failed' then 'failed'`,
  },
  { title: 'two jobs go back under one key', trigger: 'job_free_key' },
  { title: 'a job that is due ahead is ready', trigger: 'job_schedule' },
  { title: 'a job that goes back and is due ahead is ready', trigger: 'job_schedule_again' },
  { title: 'a replaced job keeps its attempts', in: { function: 'put_keyed' }, find: 'attempt = 0,', put: '' },
  {
    title: 'a kept job changes',
    in: { function: 'put_keyed' },
    find: "if mode = 'keep' then",
    put: 'if false then',
  },
  { title: 'priorities are not heeded', in: { statement: 'claim' }, find: 'priority desc, id', put: 'id' },
  {
    title: 'a worker without a row claims',
    in: { statement: 'claim' },
    find: 'and exists (select from present)',
    put: '',
  },
  {
    title: 'a lease stays as it was',
    in: { statement: 'claim' },
    find: ' + 1 + floor(random() * 2147483648)::bigint',
    put: '',
  },
  {
    title: 'a claim that is short does not tell of ready jobs that it has left',
    in: { statement: 'claim' },
    find: 'ready < (select jobs from visible)',
    put: 'false',
  },
  {
    title: 'a claim takes jobs below its floor',
    in: { statement: 'claim' },
    find: 'and id > $7::bigint',
    put: 'and $7::bigint is not null',
  },
  {
    title: 'an ack that travels with a claim counts though the job is another worker’s',
    in: { statement: 'claim' },
    find: 'and worker_id = $3::bigint',
    put: '',
  },
  {
    title: 'an ack that travels with a claim counts under a former lease',
    in: { statement: 'claim' },
    find: 'and lease = ($6::bigint[])[width_bucket(id, $5::bigint[])]',
    put: 'and $6::bigint[] is not null',
  },
  {
    title: 'acks that have not matched are said to have',
    in: { statement: 'claim' },
    find: 'when (select count(*) from acked) < cardinality($5::bigint[])',
    put: 'when false',
  },
  {
    title: 'jobs that are not due are promoted',
    in: { statement: 'promote' },
    find: 'and run_at <= statement_timestamp()',
    put: '',
  },
  {
    title: 'the job that is due last is promoted first',
    in: { statement: 'promote' },
    find: 'order by run_at\n',
    put: 'order by run_at desc\n',
  },
  { title: 'a requeued job keeps its attempts', in: { function: 'requeue_many' }, find: 'attempt = 0,', put: '' },
  {
    title: 'an archived job begins with a new lease',
    in: { function: 'requeue_many' },
    find: `'failed' end, priority, lease`,
    put: `'failed' end, priority, 0`,
  },
  {
    title: 'jobs of any age are collected',
    in: { statement: 'collect_failed' },
    find: 'finished_at < now() -',
    put: 'finished_at < now() +',
  },
]

/** @throws where the statement has another text by now, and the break with it */
export function breakStatements(broken: Break, statements: Statements): Statements {
  if ('trigger' in broken || !('statement' in broken.in)) return statements
  return replacing(broken.in.statement, broken.find, broken.put)(statements)
}

/** Of functions and triggers, in the test's own schema. */
export async function breakSchema(broken: Break, { sql, s, schema }: TestDatabase): Promise<void> {
  if ('trigger' in broken) await sql.unsafe(`alter table ${s}.job disable trigger ${broken.trigger}`)
  else if ('function' in broken.in) {
    const [row] = await sql<{ text: string }[]>`
      select pg_get_functiondef(oid) as text from pg_proc
      where proname = ${broken.in.function} and pronamespace = (select oid from pg_namespace where nspname = ${schema})`
    await sql.unsafe(replaced(broken, row?.text ?? ''))
  }
}

function replaced({ title, find, put }: TextBreak, text: string): string {
  if (!text.includes(find)) throw new Error(`${title}: the guard is not there: ${find}`)
  return text.replaceAll(find, put)
}

/** Whether a run ended because rows or answers were wrong, and not because the broken SQL cannot be run. */
export function isNoticed(error: unknown): boolean {
  return error instanceof AssertionError || /job_key/.test(String(error))
}
