import { onTestFinished } from 'vitest'
import type { AdminParts } from '../../src/admin/send.js'
import { resolveConnection } from '../../src/database/connection.js'
import { createDatabase, type Database } from '../../src/database/database.js'
import { loadStatements } from '../../src/database/statements.js'
import type { TestDatabase } from './database.js'
import { until } from './until.js'
import { untoldOutage, untoldPrimary } from './untold.js'

/** What an operator's calls are given, with connections of their own that can be told apart. */
export interface Operator extends AdminParts {
  /** Backends of this operator that wait for a lock, once there are so many. */
  untilBlocked(count?: number): Promise<number[]>
}

let operators = 0

export function operator(
  db: TestDatabase,
  options: { readonly schema?: string; readonly prepare?: boolean; readonly connectionString?: string } = {},
): Operator {
  const { schema = db.schema, prepare = true, connectionString = db.connectionString } = options
  const connection = resolveConnection({ connectionString }, {})
  operators += 1
  const name = `operator ${operators} of ${db.schema}`
  const database: Database = createDatabase({
    connection,
    listenConnection: connection,
    statements: loadStatements(schema),
    schema,
    name,
    poolSize: 2,
    prepare,
    outage: untoldOutage(),
    primary: untoldPrimary(),
  })
  onTestFinished(() => database.end())
  return {
    database,
    async untilBlocked(count = 1) {
      const waiting = () => db.sql<{ pid: number }[]>`
        select pid from pg_stat_activity where application_name = ${name} and wait_event_type = 'Lock'`
      const rows = await until(async () => {
        const found = await waiting()
        return found.length >= count && found
      })
      return rows.map(({ pid }) => pid)
    },
  }
}
