import type { TestDatabase } from './database.js'

/** The columns of a row, by name. */
type Fields = Readonly<Record<string, string | number | boolean | readonly string[] | null>>

/** Columns whose values are JSON text. */
const json = new Set(['payload', 'progress', 'result', 'last_error'])

/** Inserts a row. Columns that are not in `fields` get the table's defaults. @returns its id */
export async function insert(db: TestDatabase, table: 'job' | 'archive', fields: Fields): Promise<string> {
  const names = Object.keys(fields)
  const [row] = await db.sql.unsafe<{ id: string }[]>(
    `insert into ${db.s}.${table} (${names}) overriding system value
     values (${names.map((name, index) => `$${index + 1}${json.has(name) ? '::text::jsonb' : ''}`)}) returning id`,
    Object.values(fields) as never[],
  )
  return row?.id ?? ''
}

/** The row of a failed job. */
export const failed = (fields: Fields = {}): Fields => ({
  queue: 'emails',
  state: 'failed',
  attempt: 3,
  lease: 700,
  finished_at: '2024-01-02T00:00:00Z',
  last_error: '{"message": "broken", "failedBy": "exhausted"}',
  ...fields,
})

let nextArchived = 1_000_000
/** The row of an archived job, each with an id of its own. */
export const archived = (fields: Fields = {}): Fields => {
  nextArchived += 1
  return {
    id: nextArchived,
    queue: 'emails',
    payload: '"done"',
    priority: 0,
    run_at: '2024-01-01T00:00:00Z',
    attempt: 1,
    lease: 900,
    crashes: 0,
    worker_id: 7,
    claimed_at: '2024-01-01T00:00:01Z',
    created_at: '2024-01-01T00:00:00Z',
    finished_at: '2024-01-01T00:00:03Z',
    ...fields,
  }
}

/** Inserts an ended job of either kind. @returns its id */
export const inserters = {
  failed: (db: TestDatabase, fields?: Fields) => insert(db, 'job', failed(fields)),
  archived: (db: TestDatabase, fields?: Fields) => insert(db, 'archive', archived(fields)),
} as const

/** The kinds of ended jobs. Tests of both run once per kind. */
export const kinds = ['failed', 'archived'] as const

/** Inserts jobs that ended so long ago. Their ids are above those of all other rows of the table. */
export async function fill(db: TestDatabase, what: 'failed' | 'archived', rows: number, age: string): Promise<void> {
  await db.sql.unsafe(
    what === 'failed'
      ? `insert into ${db.s}.job (queue, state, finished_at)
         select 'q' || n % 7, 'failed', now() - interval '${age}' - n * interval '1 ms'
         from generate_series(1, ${rows}) as n`
      : `insert into ${db.s}.archive
           (id, queue, payload, priority, run_at, attempt, lease, crashes, created_at, finished_at)
         select n + coalesce((select max(id) from ${db.s}.archive), 0), 'q' || n % 7, 'null', 0, now(), 1, 1, 0, now(),
           now() - interval '${age}' - n * interval '1 ms'
         from generate_series(1, ${rows}) as n`,
  )
}
