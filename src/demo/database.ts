import { randomBytes } from 'node:crypto'
import { toError } from '../errors.js'
import { type Bugle, createBugle } from '../index.js'
import type { Screen } from '../terminal/screen.js'
import type { Queues } from './protocol.js'
import { field } from './report.js'
import type { Server } from './server.js'
import type { SchemaNames } from './statements.js'
import { connectionOf, openTables, type Tables } from './tables.js'

/** The database of a run, seen from the main process. */
export interface DemoDatabase extends AsyncDisposable {
  readonly tables: Tables
  readonly bugle: Bugle<Queues>
  create(): Promise<void>
}

/** The tables of a run, and the main process's Bugle beside them. Disposing drops what `create` has made. */
export function openDatabase({ connectionString, kind }: Server, schemas: SchemaNames, screen: Screen): DemoDatabase {
  const name = 'bugle-demo'
  const tables = openTables(connectionOf(connectionString), schemas, name, 1)
  const bugle = createBugle<Queues>({ connectionString, schema: schemas.jobs, name, poolSize: 1 })
  let isToDrop = false

  return {
    tables,
    bugle,
    async create() {
      const { version, database } = await tables.server()
      const what =
        kind === 'given' ? `${database}, from DATABASE_URL` : 'embedded, as DATABASE_URL is not set; no fsync'
      screen.say(field('database', `PostgreSQL ${version}, ${what}`))
      screen.say(field('schemas', `${schemas.own} and ${schemas.jobs}, dropped at the end`))
      isToDrop = true
      await tables.create()
      await bugle.migrate()
    },
    async [Symbol.asyncDispose]() {
      // A bar that is still there belongs to a run that has failed, and what is said from here on comes below it.
      screen.end()
      await bugle.close()
      try {
        if (isToDrop) await tables.drop()
      } catch (error) {
        screen.say(`could not drop the schemas ${schemas.own} and ${schemas.jobs}: ${toError(error).message}`)
      }
      await tables.end()
    },
  }
}

/** Names that no other run has, nor anybody's own schema: two demos may share a database. */
export function ownSchemas(): SchemaNames {
  const own = `bugle_demo_${randomBytes(4).toString('hex')}`
  return { own, jobs: `${own}_jobs` }
}
