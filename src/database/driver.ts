/**
 * What we use of `pg`, in words of our own.
 *
 * The declarations of `pg` are a package of their own (@types/pg). If ours named one of them, an application that
 * compiles against ours would need that package too; test/package/install.test.ts compiles without it.
 */
import type { ConnectionOptions } from 'node:tls'

/** The fields of one session, for `new pg.Client`. */
export interface SessionFields {
  readonly host: string
  readonly port: number
  readonly database: string
  readonly user: string
  readonly password: string | (() => Promise<string>)
  readonly ssl: false | ConnectionOptions
  readonly sslnegotiation: 'postgres'
  readonly application_name: string
  readonly client_encoding: string
  readonly keepAlive: boolean
  readonly keepAliveInitialDelayMillis: number
  readonly connectionTimeoutMillis: number
  /** Settings, as a start-up packet has them. */
  readonly options?: string
  /** As a start-up packet has it: 'false', a session like any other. */
  readonly replication?: string
  /** Statements are sent at once, without waiting for the answers to those before. */
  readonly pipeline?: true
}

/** A `pg` client that is connected. One query at a time, unless it was opened with `pipeline`. */
export interface SessionClient {
  query<Row extends object = Record<string, unknown>>(
    statement:
      | string
      | {
          readonly name?: string
          readonly text: string
          readonly values?: unknown[]
          /** Rows as arrays of their columns. */
          readonly rowMode?: 'array'
        },
    values?: unknown[],
  ): Promise<{
    rows: Row[]
    /** The first word of the tag with which the server says what it has done, as COMMIT. */
    command: string | null
  }>
  once(event: 'end', listener: () => void): unknown
  once(event: 'error', listener: (error: Error) => void): unknown
}
