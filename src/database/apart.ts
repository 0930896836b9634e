import { DeadlineError, deadline } from '../deadline.js'
import type { Session } from './session.js'

/**
 * Whether sessions of one way to the server are apart: each stays with one process of the server's, and has it for
 * itself. A pooler in session mode keeps them so; one in transaction mode hands its connections around.
 *
 * It takes two sessions to see that: alone, a session gets the same connection each time. While one of them is in a
 * transaction, a pooler that shares connections must give the other one another.
 */

const rounds = 3
/** A pooler whose connections are all taken lets us wait. Or the link is slow. */
const patienceMs = ({ tripMs }: Session): number => Math.max(3_000, 3 * tripMs)

/**
 * @param pid - the process that answered `own` before
 * @param processOf - the process that answers a session now; null: not the one that `own` must have
 * @throws what a session's statement throws; DeadlineError
 */
export async function isKept(
  own: Session,
  other: Session,
  pid: number,
  processOf: (session: Session) => Promise<number | null>,
): Promise<boolean> {
  const answerMs = patienceMs(own)
  for (let round = 0; round < rounds; round += 1) {
    await deadline(other.client.query('begin'), answerMs, 'a pooler')
    try {
      const beside = await processOf(other)
      const found = await processOf(own)
      if (beside === pid || found !== pid) return false
    } finally {
      await deadline(other.client.query('rollback'), answerMs, 'a pooler')
    }
  }
  return true
}

/**
 * Nothing is left on any connection: no lock, no LISTEN.
 *
 * @param open - a further session by the same way; ended here
 * @throws SharedSessionsError: they are not apart; what `open` and statements throw
 */
export async function demandApart(own: Session, open: () => Promise<Session>, statement: string): Promise<void> {
  const processOf = async ({ client }: Session): Promise<number> => {
    const { rows } = await deadline(client.query<{ pid: number }>(statement), patienceMs(own), 'a pooler')
    return rows[0]?.pid ?? 0
  }
  let other: Session | null = null
  try {
    const pid = await processOf(own)
    other = await open()
    if (!(await isKept(own, other, pid, processOf))) throw new SharedSessionsError()
  } catch (error) {
    // All its connections are taken, by ourselves.
    if (error instanceof DeadlineError) throw new SharedSessionsError({ cause: error })
    throw error
  } finally {
    await other?.end()
  }
}

/** By this way a session's statements go to one process of the server's, then to another. */
export class SharedSessionsError extends Error {
  override name = 'SharedSessionsError'
  constructor(options?: ErrorOptions) {
    super('the way to the server leads through a pooler that hands connections around', options)
  }
}
