import createDebug from 'debug'
import type { Database } from '../../database/database.js'
import type { SqlValue } from '../../database/pool.js'
import type { StatementName } from '../../database/statements.js'
import { deadline, startDeadline } from '../../deadline.js'
import { toError } from '../../errors.js'

const log = createDebug('bugle:lane')

/**
 * The session of an express lane: a plain `pg` client, whose statements are sent without waiting for the answers to
 * those before.
 *
 * **It is never opened again.** What a transaction of one connection has begun must not go on on the next: a delete by
 * place (ctid) on a new connection deletes jobs that have never run. So its first error, its first answer that is late,
 * and its end are the same: it is destroyed, and whatever was asked or will be asked is refused. No error is too small
 * for that. In a pipeline the statements after it are in the server already, and may have run.
 *
 * The way to the server must be a direct one: behind a pooler neither settings nor transactions are a session's own.
 */
export interface LaneSession extends ServerProcess {
  /**
   * Statements in one write, each of them run whatever becomes of those before.
   *
   * @returns their answers, in order. They reject with the error that ended the session, and need not be caught
   */
  exchange(statements: readonly LaneStatement[]): readonly Promise<LaneAnswer>[]
  /** Why it was destroyed; null: it is well. */
  readonly lost: Error | null
  /** In order: the server rolls back what is open. */
  end(): Promise<void>
  /** At once. */
  destroy(why: Error): void
}

/** One server process, told from a later one that has its number. */
export interface ServerProcess {
  readonly pid: number
  /** When it began, as its statement says it. */
  readonly started: string
}

export interface LaneStatement {
  readonly name: StatementName
  /** null: it is sent as plain text, and has no parameters. */
  readonly values: readonly SqlValue[] | null
}

export interface LaneAnswer {
  /** Each row as its columns. */
  readonly rows: readonly (readonly unknown[])[]
  /** What the server says that it has done, as COMMIT. */
  readonly tag: string | null
}

/** How long an answer may take, all of one exchange together. A lock that is not had in a second is an error before. */
const answerMs = 2_000
const lockMs = 1_000

/**
 * @param hungAfterMs - a process that does nothing for so long in its transaction is cut off
 * @param onLost - called once, when the session is destroyed for an error
 * @throws what `Database.openSession` throws; DeadlineError
 */
export async function openLaneSession(
  database: Database,
  hungAfterMs: number,
  onLost: () => void,
): Promise<LaneSession> {
  const settings = {
    // Without it each delete by place reads the whole table.
    enable_tidscan: 'on',
    idle_in_transaction_session_timeout: String(hungAfterMs),
    lock_timeout: String(lockMs),
    synchronous_commit: 'on',
  }
  const session = await database.openSession('lane', settings, 'ours', { pipeline: true })
  const { client } = session
  const withinMs = database.link.patienceMs(answerMs)
  let lost: Error | null = null
  let isEnding = false
  const waiting = new Set<(error: Error) => void>()

  function lose(error: Error): void {
    if (lost !== null) return
    lost = error
    session.destroy()
    for (const reject of waiting) reject(error)
    waiting.clear()
    if (isEnding) return
    log('lost: %s', error.message)
    onLost()
  }

  client.once('error', lose)
  client.once('end', () => lose(new Error('the connection of the express lane ended')))

  function ask({ name, values }: LaneStatement): Promise<LaneAnswer> {
    return new Promise((resolve, reject) => {
      if (lost !== null) return reject(lost)
      waiting.add(reject)
      const text = database.statements[name]
      client.query<unknown[]>({ text, rowMode: 'array', ...(values !== null && { name, values: [...values] }) }).then(
        ({ rows, command }) => {
          waiting.delete(reject)
          // What comes after an error has no meaning.
          if (lost === null) resolve({ rows, tag: command })
          else reject(lost)
        },
        (error) => {
          lose(toError(error))
          reject(lost)
        },
      )
    })
  }

  async function identity(): Promise<ServerProcess> {
    const { rows } = await client.query<{ pid: number; started: string }>(database.statements.express_session)
    const [row] = rows
    if (row === undefined) throw new Error('the server does not show the process of the express lane')
    return row
  }

  try {
    const { pid, started } = await deadline(identity(), withinMs, 'express_session')
    return {
      pid,
      started,
      get lost() {
        return lost
      },
      exchange(statements) {
        const answers: Promise<LaneAnswer>[] = []
        session.inOneWrite(() => {
          for (const statement of statements) answers.push(ask(statement))
        })
        for (const answer of answers) answer.catch(() => {})
        let isOver = false
        const timer = startDeadline(withinMs, 'the express lane', (error) => {
          if (!isOver) lose(error)
        })
        const answered = (): void => {
          isOver = true
          clearTimeout(timer)
        }
        answers.at(-1)?.then(answered, answered)
        return answers
      },
      async end() {
        isEnding = true
        await session.end()
      },
      destroy: lose,
    }
  } catch (error) {
    isEnding = true
    lose(toError(error))
    throw error
  }
}
