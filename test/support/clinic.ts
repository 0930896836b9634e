import postgres from 'postgres'
import { test as base, inject } from 'vitest'
import type { CheckName, Finding } from '../../src/doctor/index.js'
import { examine } from '../../src/doctor/index.js'
import type { Thresholds } from '../../src/doctor/patient.js'
import { startEmbedded } from '../../src/embedded/index.js'
import { type Bugle, createBugle } from '../../src/index.js'
import { resolveBugleOptions } from '../../src/options.js'
import { type CommandEnded, runInProcess } from './command.js'

/**
 * A server of the file's own, as somebody would run it (the tests' has autovacuum off), and in it a schema for one
 * test.
 */
export interface Clinic {
  readonly connectionString: string
  readonly schema: string
  /** The quoted name, for SQL text. */
  readonly s: string
  /** A superuser's connections. */
  readonly sql: postgres.Sql
  /** Closed after the test. */
  readonly bugle: Bugle
  /** A further connection of one session, ended after the test. */
  connect(): postgres.Sql
  /** What the doctor finds. */
  examine(given?: Given): Promise<readonly Finding[]>
  /** The findings of one check. */
  findings(check: CheckName, given?: Given): Promise<readonly Finding[]>
  /** `bugle doctor`, in this process. */
  doctor(args?: readonly string[], env?: Readonly<Record<string, string>>): Promise<CommandEnded>
}

export interface Given {
  readonly connectionString?: string
  readonly listenConnectionString?: string
  readonly schema?: string
  readonly thresholds?: Partial<Thresholds>
  readonly now?: () => number
}

let schemas = 0

export const test = base.extend<{ clinic: Clinic; server: { readonly connectionString: string } }>({
  server: [
    // biome-ignore lint/correctness/noEmptyPattern: vitest reads the fixtures that it needs from this pattern
    async ({}, use) => {
      const server = await startEmbedded({
        package: inject('serverPackage'),
        settings: { max_prepared_transactions: 5 },
      })
      await use(server)
      await server.stop()
    },
    { scope: 'file' },
  ],
  clinic: async ({ server: { connectionString } }, use) => {
    schemas += 1
    // Quotes, and a word that stands in triggers' conditions.
    const schema = schemas % 2 === 0 ? `new ${schemas}` : `clinic${schemas}`
    const s = `"${schema}"`
    const sql = postgres(connectionString, { onnotice: () => {}, max: 4 })
    const bugle = createBugle({ connectionString, schema, name: 'clinic', logger: false })
    const connections: postgres.Sql[] = []
    const clinic: Clinic = {
      connectionString,
      schema,
      s,
      sql,
      bugle,
      connect() {
        const connection = postgres(connectionString, { onnotice: () => {}, max: 1, idle_timeout: 0 })
        connections.push(connection)
        return connection
      },
      examine(given = {}) {
        const { thresholds = {}, now = Date.now, ...options } = given
        const resolved = resolveBugleOptions({ connectionString, schema, ...options }, {})
        return examine({ ...resolved, thresholds, now })
      },
      findings: async (check, given) => (await clinic.examine(given)).filter((finding) => finding.check === check),
      doctor: (args = [], env = {}) =>
        runInProcess(['doctor', ...(args.includes('--schema') ? [] : ['--schema', schema]), ...args], {
          env: { ...process.env, DATABASE_URL: connectionString, ...env },
        }),
    }
    await bugle.migrate()
    await use(clinic)
    await bugle.close()
    await Promise.all(connections.map((connection) => connection.end({ timeout: 1 })))
    await sql.unsafe(`drop schema if exists ${s} cascade`)
    await sql.end({ timeout: 1 })
  },
})
