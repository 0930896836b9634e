import type { Connection } from '../database/connection.js'
import { anyServer, namedAsByPool, openSession, type ServerState, type Session } from '../database/session.js'
import { quoteIdentifier } from '../database/sql-files.js'
import { loadStatements, type Statements } from '../database/statements.js'
import { sqlState } from '../database/verdict.js'
import { deadline } from '../deadline.js'
import { toError } from '../errors.js'
import { type DoctorStatements, loadDoctorStatements } from './statements.js'

/** From when on a number is trouble. Each is a default's reason in the check that reads it. */
export interface Thresholds {
  readonly runningLongerThanMs: number
  readonly transactionOlderThanMs: number
  /** Of the notification queue, 0 to 1. */
  readonly notificationQueue: number
  /** Without a vacuum, while there are many dead rows. */
  readonly untendedMs: number
  /** An index below this is not called bloated. */
  readonly indexBytes: number
  /** A running job whose worker is gone should have been given back by then. */
  readonly orphanMs: number
}

const defaultThresholds: Thresholds = {
  runningLongerThanMs: 3_600_000,
  transactionOlderThanMs: 300_000,
  notificationQueue: 0.05,
  untendedMs: 600_000,
  indexBytes: 64_000_000,
  orphanMs: 60_000,
}

/** What the checks look at: a database, by the ways that an instance has to it. */
export interface Patient {
  readonly schema: string
  readonly connection: Connection
  /** The same one where no direct way was given. */
  readonly listenConnection: Connection
  readonly thresholds: Thresholds
  /** This machine's clock, ms since 1970. */
  now(): number
  /** What the first session found. */
  readonly server: ServerState
  readonly statements: Statements
  readonly doctorStatements: DoctorStatements
  /**
   * Connect: the first session, which `ask` uses.
   *
   * @throws the driver's error
   */
  connect(): Promise<ServerState>
  /**
   * One statement of sql/doctor/ in a read-only transaction of its own, with time-outs: it passes poolers of every
   * mode.
   */
  ask<Row extends object>(name: string, parameters?: readonly (string | number)[]): Promise<Row[]>
  /** A statement of the library's own, in the same way. */
  askLibrary<Row extends object>(text: string, parameters?: readonly (string | number)[]): Promise<Row[]>
  /**
   * A further session by one of the ways; ended with the patient.
   *
   * @param settings - start-up options, which poolers may refuse; default: none
   */
  open(way: Way, settings?: Readonly<Record<string, string>>): Promise<Session>
  /** `bugle migrate`, with what leads to this schema. */
  command(text: string): string
  /** A name in our schema, quoted for SQL. */
  qualified(name: string): string
  end(): Promise<void>
}

export type Way = 'connection' | 'listenConnection'

export interface PatientOptions {
  readonly schema: string
  readonly connection: Connection
  readonly listenConnection: Connection
  readonly thresholds?: Partial<Thresholds>
  readonly now: () => number
}

/** Above the server's own time-out, so that its answer is heard. */
const answerMs = 12_000

export function openPatient(options: PatientOptions): Patient {
  const { schema, connection, listenConnection, now } = options
  const statements = loadStatements(schema)
  const doctorStatements = loadDoctorStatements(schema)
  const opened: Session[] = []
  let session: Session | null = null

  async function open(way: Way, settings?: Readonly<Record<string, string>>): Promise<Session> {
    const by = way === 'connection' ? connection : listenConnection
    const made = await openSession({
      connection: by,
      stateStatement: statements.state,
      name: 'bugle doctor',
      ...anyServer(by),
      ...(settings && { settings }),
    })
    opened.push(made)
    return made
  }

  async function inTransaction<Row extends object>(text: string, parameters: readonly (string | number)[]) {
    if (session === null) throw new Error('asked before a connection was made')
    const { client } = session
    const answered = <Answer>(asked: Promise<Answer>): Promise<Answer> => deadline(asked, answerMs, 'the doctor')
    await answered(client.query('begin isolation level read committed read only'))
    try {
      await answered(client.query(statementOf('settings')))
      const { rows } = await answered(client.query<Record<string, unknown>>(text, [...parameters]))
      return namedAsByPool<Row>(rows)
    } finally {
      // The answer, or why there is none, is known already.
      await answered(client.query('rollback')).catch(() => {})
    }
  }

  function statementOf(name: string): string {
    const text = doctorStatements.get(name)
    if (text === undefined) throw new Error(`no statement ${name}`)
    return text
  }

  return {
    schema,
    connection,
    listenConnection,
    thresholds: { ...defaultThresholds, ...options.thresholds },
    now,
    statements,
    doctorStatements,
    get server() {
      if (session === null) throw new Error('asked before a connection was made')
      return session.state
    },
    async connect() {
      session = await open('connection')
      return session.state
    },
    ask: (name, parameters = []) => inTransaction(statementOf(name), parameters),
    askLibrary: (text, parameters = []) => inTransaction(text, parameters),
    open,
    command: (text) => `npx bugle ${text}${schema === 'bugle' ? '' : ` --schema ${shellWord(schema)}`}`,
    qualified: (name) => `${quoteIdentifier(schema)}.${quoteIdentifier(name)}`,
    async end() {
      await Promise.all(opened.map((one) => one.end()))
    },
  }
}

export function shellWord(text: string): string {
  return /^[\w.@%+,/:=-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}

/** An error's words on one line, with PostgreSQL's code. */
export function reason(error: unknown): string {
  const code = sqlState(error)
  const { message } = toError(error)
  return `${message.replaceAll(/\s*\n\s*/g, ' ')}${code === null ? '' : ` (${code})`}`
}
