import createDebug from 'debug'
import postgres from 'postgres'
import { DeadlineError, deadline, whileAlive } from '../deadline.js'
import { toError } from '../errors.js'
import type { Connection, Host } from './connection.js'
import { openPostgres, postgresOptions } from './driver-options.js'
import { ConnectTimeoutError, LostError } from './pool-errors.js'
import { sqlState } from './verdict.js'
import { openSocket, type WatchedSocket } from './watched-socket.js'

const log = createDebug('bugle:pool')

export type SqlValue = string | number | null

/**
 * One connection of a pool: a postgres.js instance with one place, for the life of one socket. It runs one statement at
 * a time, and only single ones: never `begin`, never `reserve`.
 *
 * **A place is never used twice.** postgres.js (3.4.9) connects a place again when its socket is gone, and what is left
 * of the old socket spoils the new one:
 *
 * - A statement that comes between the socket's `error` and its `close` is resolved with no rows once the place has
 *   logged in again. It was never sent, and no rows may mean "all written".
 * - After a loss with a statement that was not written yet, the next socket never sends its start-up message.
 * - An error that the old server sent is thrown at the next statement, which was not sent.
 * - A server that accepts and closes is connected to again at once, thousands of times per second.
 *
 * So an instance gets one socket and no second one. The socket's end is known here in the turn in which it comes,
 * before the driver knows it (see WatchedSocket). From then on the connection gets no statement, and the one in flight
 * is lost, whatever the driver says of it later. test/scenarios/connection/driver-faults.test.ts shows these faults
 * with the driver alone. A test that fails there after an upgrade tells that one of these reasons is gone.
 *
 * **It answers before it gets a statement.** Its first statement is our own. So a statement that waits for a connection
 * has not been sent, for certain. A failed log-in takes no statement along. A server that has become another one, or a
 * standby, is known before anything is asked of it. The price is one round trip per connection.
 *
 * **It knows one host.** Given several, postgres.js tries them in turn without a pause for as long as all refuse. On
 * PostgreSQL 13 its question whether one can be written to ends the process when the connection is lost in the middle.
 * Which host it is, the pool decides, and the driver asks nothing (see `openPostgres`).
 */
export interface PoolConnection {
  readonly host: Host
  /**
   * It may be used. Otherwise it is gone.
   *
   * @throws the driver's error, or that of `demandFit`; ConnectTimeoutError
   */
  readonly opened: Promise<void>
  /** The moment at which `opened` was resolved, by performance.now(); before that Infinity. */
  readonly openedAt: number
  /** Its socket is destroyed: it serves nobody any more. */
  readonly isGone: boolean
  /** It has a statement. */
  readonly isBusy: boolean
  /**
   * One of the two is called, once: `failed` with PostgreSQL's error, after which the connection can be used again; or
   * with LostError, in the turn of the loss: the connection is gone, and the statement may have run.
   */
  send<Row>(
    text: string,
    parameters: readonly SqlValue[],
    answered: (rows: Row[]) => void,
    failed: (error: Error) => void,
  ): void
  /** Take leave of the server, if it hears us; then `destroy`. */
  end(): Promise<void>
  /** At once. A statement in flight is lost. */
  destroy(): void
}

export interface PoolConnectionOptions {
  readonly connection: Connection
  readonly name: string
  readonly prepare: boolean
  readonly settings: Readonly<Record<string, string>>
  /** For one attempt without a sign of life; default: the connection's. */
  readonly connectMs?: number
  /** The first statement, without parameters. */
  readonly stateStatement: string
}

/** For the server to close, which it does in a moment if it hears us. */
const farewellMs = 100

/**
 * @param demandFit - given the row of the first statement; throws where that server will not do
 * @param onGone - called once, in the turn in which its socket is destroyed
 */
export function openPoolConnection(
  options: PoolConnectionOptions,
  host: Host,
  demandFit: (state: Readonly<Record<string, unknown>>) => void,
  onGone: (connection: PoolConnection) => void,
): PoolConnection {
  const { prepare, connection } = options
  let socket: WatchedSocket | null = null
  let openedAt = Number.POSITIVE_INFINITY
  let isGone = false
  /** Of the statement in flight: settles it as lost. */
  let lose: ((error: Error) => void) | null = null
  let logIn = (): void => {}
  const loggedIn = new Promise<void>((resolve) => {
    logIn = resolve
  })

  /** It cannot even be begun: a certificate's file is gone. */
  let unusable: Error | null = null
  const given = optionsOrNone()
  const { password } = given
  // Its types know neither lists of hosts nor max_pipeline.
  const untyped: object = {
    ...given,
    // What the driver writes after its socket has closed ends the process.
    password: typeof password === 'function' ? async () => unlessGone(await password()) : password,
    socket: async () => {
      if (socket !== null || isGone) return never()
      socket = openSocket(host, gone)
      return socket
    },
    max_pipeline: 0,
    // We have deadlines of our own for that.
    connect_timeout: 0,
  }
  // Every field is given: what is left out it would read from variables such as PGMAX.
  const sql = openPostgres({
    ...untyped,
    debug: false,
    max: 1,
    prepare,
    // Parameters are text, and the server is asked for their types: no look at pg_type at each connection.
    fetch_types: false,
    max_lifetime: null,
    idle_timeout: 0,
    keep_alive: 10,
    backoff: () => 0,
    connection: { application_name: options.name, ...options.settings },
    transform: { column: { from: postgres.toCamel } },
    onnotice: (notice) => log('notice: %s', notice.message),
    // The server tells its parameters after it has let us in.
    onparameter: () => logIn(),
  })

  function optionsOrNone(): Partial<ReturnType<typeof postgresOptions>> {
    try {
      return postgresOptions({ ...connection, hosts: [host] }, (error) => {
        log('the password function failed: %s', toError(error).message)
        drop(toError(error))
      })
    } catch (error) {
      unusable = toError(error)
      return {}
    }
  }

  function unlessGone<T>(value: T): T | Promise<never> {
    return isGone ? never() : value
  }

  function isOpen(): boolean {
    return openedAt !== Number.POSITIVE_INFINITY
  }

  function gone(error: Error | null): void {
    if (isGone) return
    isGone = true
    const cause = error ?? new Error('the connection was closed')
    if (isOpen()) loseStatement(cause)
    // While it opens, the driver may know better: a certificate that is refused. It says so after this turn.
    else setImmediate(loseStatement, cause)
    onGone(self)
  }

  /** The driver's state is unknown from here on. */
  function drop(error: Error): void {
    if (!isOpen()) loseStatement(error)
    gone(error)
    socket?.abandon()
  }

  function loseStatement(cause: Error): void {
    const tell = lose
    lose = null
    tell?.(new LostError(cause))
  }

  async function open(): Promise<void> {
    const { connectMs = connection.connectTimeoutMs } = options
    try {
      if (unusable !== null) throw unusable
      const answer = new Promise<Record<string, unknown>[]>((answered, failed) => {
        self.send(options.stateStatement, [], answered, failed)
      })
      await whileAlive(Promise.race([answer, loggedIn]), connectMs, 'connecting', () => socket?.bytesRead ?? 0)
      const [state = {}] = await deadline(answer, connectMs, 'the first statement')
      demandFit(state)
      openedAt = performance.now()
    } catch (error) {
      self.destroy()
      if (error instanceof LostError) throw error.cause
      if (!(error instanceof DeadlineError)) throw error
      throw new ConnectTimeoutError(`${host.host}:${host.port}: ${error.message}`, { cause: error })
    }
  }

  const self: PoolConnection = {
    host,
    get opened() {
      return opened
    },
    get openedAt() {
      return openedAt
    },
    get isGone() {
      return isGone
    },
    get isBusy() {
      return lose !== null
    },
    send<Row>(
      text: string,
      parameters: readonly SqlValue[],
      answered: (rows: Row[]) => void,
      failed: (error: Error) => void,
    ) {
      lose = failed
      sql.unsafe<Row[] & postgres.Row[]>(text, [...parameters], { prepare }).then(
        (rows) => {
          if (lose !== failed) return
          // Its mark for an answer that no server has given.
          if (rows.command === null) return drop(new Error('the driver answered without the server'))
          lose = null
          answered(rows)
        },
        (error) => {
          if (lose !== failed) return
          if (sqlState(error) === null) return drop(toError(error))
          lose = null
          failed(error)
        },
      )
    },
    async end() {
      if (isOpen() && !isGone) await sql.end({ timeout: farewellMs / 1_000 })
      self.destroy()
    },
    destroy() {
      socket?.abandon()
      gone(null)
    },
  }
  const opened = open()
  // Whoever has opened it may have turned away.
  opened.catch(() => {})
  return self
}

function never(): Promise<never> {
  return new Promise(() => {})
}
