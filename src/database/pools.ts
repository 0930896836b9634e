import type { Connection, Route } from './connection.js'
import type { Link } from './link.js'
import type { PoolName } from './outage.js'
import { createPool, type Pool, type SqlValue } from './pool.js'
import type { Primary } from './primary.js'
import { sessionSettings, startupOptions } from './session.js'
import { quoteIdentifier } from './sql-files.js'
import type { StatementName, Statements } from './statements.js'

/**
 * The four pools of an instance, and which statement goes by which.
 *
 * **Plain sessions.** What a session's start sets is there for its statements only where nothing in between refuses or
 * drops it, as poolers do. So the first look at the server asks for settings in the form in which the pools will. Where
 * it does not get them, the pools have sessions that neither set nor prepare anything. `prepare: false` asks for such
 * from the start.
 */
export interface Pools {
  /** One autocommit statement, with that pool's deadline. @throws what a pool's `query` throws */
  query<Row>(pool: PoolName, statement: StatementName, parameters: readonly SqlValue[]): Promise<Row[]>
  /** Whether that pool has a connection, as far as is known. */
  isOpen(pool: PoolName): boolean
  /** Somebody got through to a server: no pause is worth waiting for. */
  hurry(): void
  /** @param deadlineAt - by performance.now(): what runs then is dropped. By default it is given some seconds */
  end(deadlineAt?: number): Promise<void>
}

interface PoolsOptions {
  readonly connection: Connection
  readonly statements: Statements
  readonly schema: string
  /** application_name of every connection */
  readonly name: string
  /** Of puts and consumers together. */
  readonly poolSize: number
  readonly primary: Primary
  readonly link: Link
  /** A statement was answered, by a connection that was opened at that moment (performance.now()). */
  readonly onAnswered: (pool: PoolName, openedAt: number) => void
}

/** What the first look has found. */
interface Found {
  readonly route: Route
  readonly serverVersion: number
  /** Sessions neither set nor prepare anything. */
  readonly isPlain: boolean
  /** The server tells who it is. */
  readonly isIdentified: boolean
}

const poolOf: { readonly [Name in StatementName]?: PoolName } = {
  act_on_archived: 'admin',
  act_on_jobs: 'admin',
  cancel: 'admin',
  collect_archived: 'admin',
  collect_expired: 'admin',
  collect_failed: 'admin',
  collect_keys: 'admin',
  discard: 'admin',
  edit: 'admin',
  job_find: 'admin',
  jobs_containing: 'admin',
  jobs_find: 'admin',
  jobs_listed: 'admin',
  make_due: 'admin',
  put: 'puts',
  put_keyed: 'puts',
  put_many: 'puts',
  put_options: 'puts',
  queue_pause: 'admin',
  queue_resume: 'admin',
  requeue: 'admin',
  reset: 'admin',
  schema_drop: 'admin',
  stats_exact: 'admin',
  stats_queues: 'looks',
  stats_workers: 'looks',
}

/** By which pool a statement goes. */
export function poolFor(statement: StatementName): PoolName {
  return poolOf[statement] ?? 'rest'
}

/** Opened as needed, beside the pool's size: one for what takes long, and one past it. */
const adminPoolSize = 2
/** One reader of statistics a process is enough: others wait for it. */
const looksPoolSize = 1

/** The server's own time-out for what is not said to take longer. */
export const statementMs = 8_000

interface Patience {
  /** The server's own time-out, below our deadline: nothing commits after we have given it up (see `query`). */
  readonly statementMs: number
  readonly deadlineMs: number
}

const patience: Readonly<Record<PoolName, Patience>> = {
  puts: { statementMs: 60_000, deadlineMs: 65_000 },
  admin: { statementMs: 60_000, deadlineMs: 65_000 },
  // A long snapshot keeps dead rows in the way of claims. The deadline is for those who wait for their turn as well.
  looks: { statementMs: 10_000, deadlineMs: 65_000 },
  rest: { statementMs, deadlineMs: 10_000 },
}

/** Of a statement that a connection must be opened for: TCP, TLS, the log-in, a first statement, and its own two. */
const tripsPerStatement = 10

/**
 * Claims skip what is locked; an outcome whose row is held by others steps aside after this
 * (consume/settle/settler.ts).
 */
const shortLocks = { lock_timeout: '1s' } as const

/**
 * An operator's filters have many shapes, and none is asked often: each is planned for its values, and the planner may
 * use all it has. (A generic plan would have to walk past the filters that are not given.)
 */
const freePlans = {
  plan_cache_mode: 'force_custom_plan',
  enable_seqscan: 'on',
  enable_sort: 'on',
  enable_bitmapscan: 'on',
  enable_hashjoin: 'on',
  enable_mergejoin: 'on',
  enable_material: 'on',
} as const

/**
 * The search path of the function put_keyed (migrations/0001_jobs.sql). A trigger's function is planned anew when it
 * runs under another path than the last time. When plain and keyed puts took turns on a session, that cost each a
 * third of its time.
 */
function putPath(schema: string): Readonly<Record<string, string>> {
  return { search_path: `pg_catalog, ${quoteIdentifier(schema)}, pg_temp` }
}

export function createPools(options: PoolsOptions, found: Found): Pools {
  const { connection, statements, schema, name, poolSize, primary, link, onAnswered } = options
  const { route, serverVersion, isPlain, isIdentified } = found
  const forPuts = Math.max(1, Math.floor(poolSize / 2))
  const pools: Readonly<Record<PoolName, Pool>> = {
    puts: open('puts', forPuts, putPath(schema)),
    admin: open('admin', adminPoolSize, freePlans),
    looks: open('looks', looksPoolSize),
    rest: open('rest', Math.max(1, poolSize - forPuts), shortLocks),
  }

  function open(own: PoolName, size: number, ownSettings: Readonly<Record<string, string>> = {}): Pool {
    const settings = { ...sessionSettings(serverVersion, patience[own].statementMs), ...ownSettings }
    return createPool({
      connection,
      name,
      primary,
      link,
      refusesTls: route.ssl === false,
      poolSize: size,
      prepare: !isPlain,
      settings: isPlain ? {} : { options: startupOptions(settings) },
      stateStatement: isIdentified ? statements.state_identified : statements.state,
      // What one has met, the way to the database, they have in common.
      onDoubt: () => {
        for (const [other, pool] of Object.entries(pools)) if (other !== own) pool.suspect()
      },
      onAnswered: (openedAt) => onAnswered(own, openedAt),
      now: () => performance.now(),
      random: Math.random,
    })
  }

  return {
    query<Row>(pool: PoolName, statement: StatementName, parameters: readonly SqlValue[]) {
      // Nobody waits for long to hear whether somebody is there.
      const { deadlineMs } = statement === 'health' ? patience.rest : patience[pool]
      const withinMs = link.patienceMs(deadlineMs, tripsPerStatement)
      return pools[pool].query<Row>(statements[statement], parameters, withinMs, statement)
    },
    isOpen: (pool) => pools[pool].isOpen,
    hurry() {
      for (const pool of Object.values(pools)) pool.hurry()
    },
    async end(deadlineAt) {
      await Promise.all(Object.values(pools).map((pool) => pool.end(deadlineAt)))
    },
  }
}
