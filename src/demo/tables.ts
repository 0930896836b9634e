import { type Connection, describeConnection, resolveConnection } from '../database/connection.js'
import { createPool } from '../database/pool.js'
import { createPrimary } from '../database/primary.js'
import { toError } from '../errors.js'
import type { Digest } from './digest.js'
import type { NewRoles } from './roles.js'
import { type DemoNames, type DemoStatementName, grantTexts, loadDemoStatements, roleCreateText } from './statements.js'

/** A file's result, as a worker wrote it. */
export interface Result extends Digest {
  readonly jobId: string
  readonly path: string
  readonly worker: number
  readonly attempt: number
}

/** A job that is still in Bugle's table. */
export interface JobLeft {
  readonly id: string
  readonly state: string
  readonly attempt: number
  /** Of a failed one: `rejected` by its handler, or why else; and in words. */
  readonly failedBy: string | null
  readonly message: string | null
}

/** The demo's own tables, beside Bugle's. No connection before the first statement. */
export interface Tables {
  /** @throws Error with the place that was tried, where the server cannot be reached */
  server(): Promise<{ readonly version: string; readonly database: string }>
  create(): Promise<void>
  /** The roles of the run, when Bugle's schema is migrated: with what they need there, and of these tables. */
  createRoles(roles: NewRoles): Promise<void>
  addResult(result: Result): Promise<void>
  /** The insert with which a put is compared. */
  insertPlain(queue: string, payload: string): Promise<void>
  results(): AsyncGenerator<Result>
  jobsLeft(): AsyncGenerator<JobLeft>
  /** Both schemas, whatever is in them, and the roles, if there are any. */
  drop(): Promise<void>
  end(): Promise<void>
}

const deadlineMs = 30_000
const pageRows = 5_000

/**
 * The tables of one run.
 *
 * They are reached through the same driver with the same settings as Bugle's, so that a plain insert and a put differ
 * in what they do and in nothing else.
 *
 * @param poolSize - most connections
 */
export function openTables(connection: Connection, names: DemoNames, name: string, poolSize: number): Tables {
  const statements = loadDemoStatements(names)
  const pool = createPool({
    connection,
    name,
    poolSize,
    prepare: true,
    settings: {},
    primary: createPrimary({
      onMoved: () => {},
      onOutdated: () => {},
      onSplit: () => {},
      now: () => performance.now(),
    }),
    stateStatement: statements.server,
    onDoubt: () => {},
    onAnswered: () => {},
    now: () => performance.now(),
    random: Math.random,
  })

  function query<Row>(statement: DemoStatementName, parameters: readonly (string | number)[] = []): Promise<Row[]> {
    return pool.query<Row>(statements[statement], parameters, deadlineMs, statement)
  }

  async function* pages<Row>(statement: DemoStatementName, keyOf: (row: Row) => string): AsyncGenerator<Row> {
    let after = '0'
    for (;;) {
      const rows = await query<Row>(statement, [after, pageRows])
      yield* rows
      const last = rows.at(-1)
      if (last === undefined || rows.length < pageRows) return
      after = keyOf(last)
    }
  }

  return {
    async server() {
      try {
        const [row] = await query<{ version: string; database: string }>('server')
        return row ?? { version: '?', database: '?' }
      } catch (error) {
        const place = describeConnection(connection)
        throw new Error(`cannot reach ${place}: ${toError(error).message}`, { cause: error })
      }
    },
    async create() {
      await query('schema_create')
      await query('result_create')
      await query('plain_create')
    },
    async createRoles({ producer, consumer, observer }) {
      const created = [producer, consumer, observer].map(({ name, password }) => roleCreateText(name, password))
      const granted = grantTexts(names, { producer: producer.name, consumer: consumer.name, observer: observer.name })
      for (const text of [...created, ...granted]) await pool.query(text, [], deadlineMs, 'grants')
    },
    async addResult({ jobId, path, bytes, sha256, gzipBytes, worker, attempt }) {
      await query('result_insert', [jobId, path, bytes, sha256, gzipBytes, worker, attempt])
    },
    async insertPlain(queue, payload) {
      await query('plain_insert', [queue, payload])
    },
    results: () => pages<Result & { number: string }>('results', (row) => row.number),
    jobsLeft: () => pages<JobLeft>('jobs_left', (row) => row.id),
    async drop() {
      await query('schema_drop')
      if (names.roles !== null) await query('roles_drop')
    },
    end: () => pool.end(),
  }
}

/** The connection that a worker was told. */
export function connectionOf(connectionString: string): Connection {
  return resolveConnection({ connectionString }, process.env)
}
