import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import postgres from 'postgres'
import { test as base, inject } from 'vitest'
import type { CheckName, Finding } from '../../src/doctor/index.js'
import { examine } from '../../src/doctor/index.js'
import type { Thresholds } from '../../src/doctor/patient.js'
import { startEmbedded } from '../../src/embedded/index.js'
import { type Bugle, createBugle } from '../../src/index.js'
import { resolveBugleOptions } from '../../src/options.js'

/** A server of the file's own, as somebody would run it (the tests' has autovacuum off), and in it a schema for one test. */
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
  /** `bugle doctor`. */
  doctor(args?: readonly string[], env?: Readonly<Record<string, string>>): Promise<Ended>
}

export interface Given {
  readonly connectionString?: string
  readonly listenConnectionString?: string
  readonly schema?: string
  readonly thresholds?: Partial<Thresholds>
  readonly now?: () => number
}

export interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

const program = fileURLToPath(new URL('../../dist/cli/index.js', import.meta.url))

async function runDoctor(args: readonly string[], env: Readonly<Record<string, string>>): Promise<Ended> {
  const child = spawn(process.execPath, [program, 'doctor', ...args], { env: { ...process.env, ...env } })
  const texts = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      texts[name] += text
    })
  }
  const [code] = (await once(child, 'close')) as [number]
  return { code, ...texts }
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
    const bugle = createBugle({ connectionString, schema, name: 'clinic' })
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
        runDoctor(args.includes('--schema') ? args : ['--schema', schema, ...args], {
          DATABASE_URL: connectionString,
          NO_COLOR: '1',
          ...env,
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
