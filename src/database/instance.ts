import createDebug from 'debug'
import postgres from 'postgres'
import { DeadlineError, deadline } from '../deadline.js'
import { databaseFault, sqlState, toError } from '../errors.js'
import { type Connection, type Host, postgresOptions } from './connection.js'
import { createSockets } from './sockets.js'

const log = createDebug('bugle:pool')

export type SqlValue = string | number | null

/**
 * A postgres.js instance that nobody else uses, and of which only single statements are asked: never `begin`, never
 * `reserve` (a backend that dies inside one may end the process, and leaves the connection's place poisoned).
 *
 * It knows one host. With several, postgres.js tries them in turn without a pause for as long as all refuse, and on
 * PostgreSQL 13 its question whether one can be written to ends the process when the connection is lost in the middle.
 * Which host it is, the pool decides.
 */
export interface Instance {
  readonly host: Host
  /**
   * @throws the driver's error; DeadlineError; NotSentError: no connection had taken it, and none will;
   *   HandedOverError: the same, by `retire`
   */
  send<Row>(text: string, parameters: readonly SqlValue[], deadlineMs: number, what: string): Promise<Row[]>
  /** Whether a connection is open, or being opened. */
  readonly isConnected: boolean
  /**
   * Give back what no connection has taken yet. Resolves when the rest is answered or given up, each in its own time.
   */
  retire(): Promise<void>
  /** Nothing new. What runs is given `ms`; then every connection is dropped, whatever the other side does. */
  end(ms: number): Promise<void>
}

export interface InstanceOptions {
  readonly connection: Connection
  readonly name: string
  readonly poolSize: number
  readonly prepare: boolean
  readonly settings: Readonly<Record<string, string>>
  readonly random: () => number
}

/** For the server to close, which it does in a moment if it hears us. */
const farewellMs = 100

export function createInstance(options: InstanceOptions, host: Host): Instance {
  const { prepare, connection } = options
  const sockets = createSockets(host, options.random)
  // Its types know neither lists of hosts nor max_pipeline.
  const untyped: object = {
    ...postgresOptions({ ...connection, hosts: [host], targetSessionAttrs: 'any' }, (error) =>
      log('the password function failed: %s', toError(error).message),
    ),
    socket: () => sockets.open(),
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
    // The sockets see to it.
    backoff: () => 0,
    connection: { application_name: options.name, ...options.settings },
    transform: { column: { from: postgres.toCamel } },
    onnotice: (notice) => log('notice: %s', notice.message),
  })
  const pending = new Set<{ readonly sent: object; readonly handOver: () => void }>()
  const awaitingIdle: (() => void)[] = []
  let isEnding = false

  async function send<Row>(
    text: string,
    parameters: readonly SqlValue[],
    deadlineMs: number,
    what: string,
  ): Promise<Row[]> {
    if (isEnding) throw new EndedError(`${what}: not sent: the pool is ended`)
    const sent = sql.unsafe<Row[] & postgres.Row[]>(text, [...parameters], { prepare }).execute()
    let handOver = (): void => {}
    const handedOver = new Promise<never>((_, reject) => {
      handOver = () => reject(new HandedOverError())
    })
    const entry = { sent, handOver }
    pending.add(entry)
    try {
      const rows = await deadline(Promise.race([sent, handedOver]), deadlineMs, what)
      sockets.answered()
      return rows
    } catch (error) {
      if (!isUnsent(sent)) {
        if (sqlState(error) !== null && databaseFault(error) !== 'unknown') sockets.answered()
        throw error
      }
      makeHarmless(sent)
      // Lost while it was being opened, or its time was up: what nobody has taken was not written.
      if (databaseFault(error) !== 'unknown') throw error
      throw new NotSentError(`${what}: not sent: ${toError(error).message}`, { cause: error })
    } finally {
      pending.delete(entry)
      if (pending.size === 0) for (const tell of awaitingIdle.splice(0)) tell()
    }
  }

  function idle(): Promise<void> {
    return new Promise((resolve) => {
      if (pending.size === 0) resolve()
      else awaitingIdle.push(resolve)
    })
  }

  return {
    host,
    send,
    get isConnected() {
      return sockets.isUsed
    },
    retire() {
      for (const { sent, handOver } of pending) if (isUnsent(sent)) handOver()
      return idle()
    },
    async end(ms) {
      isEnding = true
      // Not left to postgres.js: a connection that was lost under a statement counts as busy there until it is used
      // again.
      await deadline(idle(), ms, 'ending').catch((error) => log('%s', error.message))
      await sql.end({ timeout: farewellMs / 1_000 })
      sockets.destroy()
    },
  }
}

/** A statement that came after the end. */
class EndedError extends Error {
  override name = 'EndedError'
  readonly code = 'CONNECTION_ENDED'
}

/** A statement that was given up on before any connection had taken it. */
class NotSentError extends Error {
  override name = 'NotSentError'
  readonly code = 'NOT_SENT'
}

/** A statement that another instance must send: this one is retired, and none of its connections had taken it. */
export class HandedOverError extends Error {
  override name = 'HandedOverError'
}

/** postgres.js gives a query its connection's state when it is sent. */
function isUnsent(query: object): boolean {
  return 'state' in query && query.state === null
}

/**
 * Nobody waits for it any more, so it must not happen later. It is not cancelled: a query for which a connection is
 * just being opened takes that connection with it, which then serves nobody for ever (postgres.js 3.4.9). It goes out
 * as something harmless instead; text and parameters are read only then.
 */
function makeHarmless(query: object): void {
  Object.assign(query, { strings: ['select 1'], args: [] })
}

/** Whether it was given up because its time was over, sent or not. */
export function isExpired(error: unknown): boolean {
  return error instanceof DeadlineError || (error instanceof NotSentError && error.cause instanceof DeadlineError)
}
