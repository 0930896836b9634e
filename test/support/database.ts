import { randomUUID } from 'node:crypto'
import postgres from 'postgres'
import { test as base, inject } from 'vitest'
import { deadline } from '../../src/deadline.js'
import {
  type Bugle,
  type BugleEventName,
  type BugleEvents,
  type BugleOptions,
  type Codec,
  createBugle,
} from '../../src/index.js'
import { createSchemas, type Schemas } from './schemas.js'
import { until } from './until.js'

/** A job's row, as the tests look at it. */
export interface JobRow {
  id: string
  queue: string
  payload: unknown
  state: string
  attempt: number
  lease: string
  worker_id: string | null
  last_error: { message: string; failedBy: string; attempt: number; name: string; stack?: string } | null
}

/** A schema of its own for one test, and everything that talks to it. */
export interface TestDatabase {
  readonly connectionString: string
  readonly schema: string
  /** The quoted name, for SQL text. */
  readonly s: string
  /**
   * A superuser's connections, apart from Bugle's: those of the whole file, so what one test sets for a session the
   * next one would find.
   */
  readonly sql: postgres.Sql
  /** An instance in this schema, closed after the test. Not live by sweeps: only a notification can wake it. */
  bugle(options?: BugleOptions<unknown, unknown, Codec | undefined>): Bugle
  /** The jobs that are there, by id. */
  jobs(): Promise<JobRow[]>
  /** A further connection of one session, ended after the test. */
  connect(): postgres.Sql
  /** Backends of this test's instances, by application_name's ending: 'control', 'listener' or '' for the pool. */
  backends(role: 'control' | 'listener' | ''): Promise<number[]>
  /** Kill backends and wait until they are gone. */
  kill(pids: readonly number[]): Promise<void>
  /** Each event of that name from now on; `next()` waits for one more. */
  collect<Name extends BugleEventName>(bugle: Bugle, name: Name): Collected<BugleEvents[Name]>
}

export interface Collected<Data> {
  readonly all: Data[]
  /** The next one that no `next` has returned yet. */
  next(): Promise<Data>
}

export const test = base.extend<{ db: TestDatabase; sql: postgres.Sql; schemas: Schemas }>({
  sql: [
    // biome-ignore lint/correctness/noEmptyPattern: vitest reads the fixtures that it needs from this pattern
    async ({}, use) => {
      const connection = { application_name: `tests ${randomUUID().slice(0, 8)}` }
      const sql = postgres(inject('connectionString'), { onnotice: () => {}, max: 4, connection })
      await use(sql)
      await sql.end({ timeout: 1 })
    },
    { scope: 'file' },
  ],
  schemas: [
    async ({ sql }, use) => {
      const schemas = createSchemas(sql)
      await use(schemas)
      await schemas.end()
    },
    { scope: 'file' },
  ],
  db: async ({ sql, schemas, task }, use) => {
    const connectionString = inject('connectionString')
    const schema = await schemas.take()
    const s = `"${schema}"`
    const name = `t${randomUUID().slice(0, 8)}`
    const bugles: Bugle[] = []
    const connections: postgres.Sql[] = []
    const db: TestDatabase = {
      connectionString,
      schema,
      s,
      sql,
      bugle(options = {}) {
        const bugle = createBugle({ connectionString, schema, name, sweepMs: 0, logger: false, ...options })
        bugles.push(bugle)
        return bugle
      },
      jobs: async () => [
        ...(await sql.unsafe<JobRow[]>(
          `select id, queue, payload, state, attempt, lease, worker_id, last_error from ${s}.job order by id`,
        )),
      ],
      connect() {
        const connection = postgres(connectionString, { onnotice: () => {}, max: 1, idle_timeout: 0 })
        connections.push(connection)
        return connection
      },
      async backends(role) {
        const rows = await sql<{ pid: number }[]>`
          select pid from pg_stat_activity where application_name = ${`${name} ${role}`.trim()}`
        return rows.map((row) => row.pid)
      },
      async kill(pids) {
        for (const pid of pids) await sql`select pg_terminate_backend(${pid})`
        // PostgreSQL 13 does not wait for them itself.
        const gone = async () => (await sql`select from pg_stat_activity where pid = any (${[...pids]})`).length === 0
        await until(gone)
      },
      collect(bugle, eventName) {
        type Data = BugleEvents[typeof eventName]
        const all: Data[] = []
        const waiting: ((data: Data) => void)[] = []
        let returned = 0
        bugle.on(eventName, (data) => {
          all.push(data as Data)
          waiting.shift()?.(data as Data)
        })
        return {
          all,
          next() {
            const known = all[returned]
            returned += 1
            return known === undefined ? new Promise((resolve) => waiting.push(resolve)) : Promise.resolve(known)
          },
        }
      },
    }
    try {
      await use(db)
    } finally {
      const closed = Promise.all(bugles.map((bugle) => bugle.close()))
      // One that never ends would hold up the whole run, and nobody would hear why.
      await deadline(closed, 30_000, 'closing the instances of a test')
      await Promise.all(connections.map((connection) => connection.end({ timeout: 1 })))
      // Kept when the test failed: its rows are the evidence, and what goes on of it after a time-out writes there.
      if (task.result?.state !== 'fail') schemas.giveBack(schema)
    }
  },
})

export { signal } from './signal.js'
