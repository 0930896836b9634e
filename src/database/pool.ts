import createDebug from 'debug'
import postgres from 'postgres'
import { DeadlineError, deadline } from '../deadline.js'
import { toError } from '../errors.js'
import { type Connection, postgresOptions } from './connection.js'

const log = createDebug('bugle:pool')

export type Parameter = string | number | null

/**
 * Single autocommit statements over a few connections, each with a deadline.
 *
 * There are three in a process: one for puts, of which a service may have many at once or long ones, one for an operator's
 * calls, and one for what consumers need. So a claim never waits behind a put.
 */
export interface Pool {
  query<Row>(text: string, parameters: readonly Parameter[], deadlineMs: number, what: string): Promise<Row[]>
  end(): Promise<void>
}

export interface PoolOptions {
  readonly connection: Connection
  readonly name: string
  readonly poolSize: number
  readonly prepare: boolean
  readonly settings: Readonly<Record<string, string>>
}

/**
 * A postgres.js instance that nobody else uses, and of which only single statements are asked: never `begin`, never
 * `reserve` (a backend that dies inside one may end the process, and leaves the connection's place poisoned).
 */
export function createPool(options: PoolOptions): Pool {
  const { prepare } = options
  // Its types know neither lists of hosts nor max_pipeline.
  const untyped: object = {
    ...postgresOptions(options.connection, (error) => log('the password function failed: %s', toError(error).message)),
    // One statement a connection: none waits behind another that is slow.
    max_pipeline: 0,
  }
  // Every field is given: what is left out it would read from variables such as PGMAX.
  const sql = postgres({
    ...untyped,
    debug: false,
    max: options.poolSize,
    prepare,
    // Parameters are text, and the server is asked for their types: no look at pg_type at each connection.
    fetch_types: false,
    max_lifetime: null,
    idle_timeout: 0,
    keep_alive: 10,
    backoff: (retries) => Math.min(0.05 * 2 ** retries, 1) * (0.5 + Math.random()),
    connection: { application_name: options.name, ...options.settings },
    transform: { column: { from: postgres.toCamel } },
    onnotice: (notice) => log('notice: %s', notice.message),
  })

  return {
    query<Row>(text: string, parameters: readonly Parameter[], deadlineMs: number, what: string): Promise<Row[]> {
      const sent = sql.unsafe<Row[] & postgres.Row[]>(text, [...parameters], { prepare }).execute()
      return deadline(sent, deadlineMs, what).catch((error) => {
        if (error instanceof DeadlineError && isUnsent(sent)) {
          makeHarmless(sent)
          throw new NotSentError(`${what}: no connection within ${deadlineMs} ms`, { cause: error })
        }
        throw error
      })
    },
    async end() {
      // What still runs is given some seconds; a connection that does not answer is dropped.
      await deadline(sql.end({ timeout: 5 }), 7_000, 'ending the pool').catch((error) => log('%s', error.message))
    },
  }
}

/** A statement that was given up on before any connection had taken it. */
class NotSentError extends Error {
  override name = 'NotSentError'
  readonly code = 'NOT_SENT'
}

/** postgres.js gives a query its connection's state when it is sent. */
function isUnsent(query: object): boolean {
  return 'state' in query && query.state === null
}

/**
 * Nobody waits for it any more, so it must not happen later. It is not cancelled: a query for which a connection is just
 * being opened takes that connection with it, which then serves nobody for ever (postgres.js 3.4.9). It goes out as
 * something harmless instead; text and parameters are read only then.
 */
function makeHarmless(query: object): void {
  Object.assign(query, { strings: ['select 1'], args: [] })
}
