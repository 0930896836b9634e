import { toError } from '../errors.js'
import { databaseFault, isTimeOut, sqlState } from './verdict.js'

/**
 * How a batch goes on without the one member that the database refuses.
 *
 * A statement for many members is all or nothing: one that a trigger of the application's refuses, whose row is damaged
 * or whose data the server cannot hold takes the others down with it, each time that it is sent. So a batch that was
 * refused is sent in halves, these in halves of their own, until each member at fault stands alone.
 *
 * - **What is a refusal.** The server answered with an SQLSTATE, rolled back, and the reason lies in the statement: not
 *   in the connection, and not in what passes by itself (a deadlock, a time-out, a server that is short of memory).
 *   `databaseFault` knows those.
 * - **Whose refusal it is.** First the statement is sent for no member at all. If that is refused as well, a privilege
 *   or a table is missing, and no member is at fault.
 * - **A refusal counts when it comes twice** to a member alone. A member that lost a race, such as a put that took its
 *   key a moment before, sees the winner the second time.
 * - **Each part is a transaction of its own,** and those that went through stay so, whatever comes later. So members
 *   must be independent of each other, each guarded by itself. The halves of all parts of one size go before any
 *   smaller ones: half of a batch with one member at fault is through after one statement, three quarters after two.
 * - **A lost answer in the middle** is the sender's business, as for a statement that was never split: `send` either
 *   goes on until it knows what became of its part, or throws, and then what was not sent yet is not sent.
 * - **Cost**: k members at fault among n take some 2k·log2(n) statements beside the first.
 */
interface Parts<Member> {
  /** One transaction for all of them. */
  readonly send: (part: readonly Member[]) => Promise<unknown>
  /** The same statement for no member. */
  readonly sendNone: () => Promise<unknown>
  /** Which errors of `send` split a part; by default refusals. */
  readonly splits?: (error: unknown) => boolean
}

/** A member that the database refuses alone. Nothing of it was written. */
export interface Refused<Member> {
  readonly member: Member
  readonly error: Error
}

interface Part<Member> {
  readonly members: readonly Member[]
  /** How often these were refused. */
  readonly refusals: number
}

/**
 * Send a batch that was refused once more, in parts.
 *
 * @param batch - at least one
 * @returns those at fault; all others are through
 * @throws what `sendNone` throws, before anything was sent; and what `send` throws that does not split
 */
export async function sendInParts<Member>(
  batch: readonly Member[],
  { send, sendNone, splits = isRefusal }: Parts<Member>,
): Promise<Refused<Member>[]> {
  await sendNone()
  const refused: Refused<Member>[] = []
  const waiting: Part<Member>[] = partsOf({ members: batch, refusals: 1 })
  for (let part = waiting.shift(); part !== undefined; part = waiting.shift()) {
    const [member] = part.members
    try {
      await send(part.members)
    } catch (error) {
      if (!splits(error)) throw error
      const again = { ...part, refusals: part.refusals + 1 }
      if (member !== undefined && part.members.length === 1 && again.refusals >= 2) {
        refused.push({ member, error: toError(error) })
      } else waiting.push(...partsOf(again))
    }
  }
  return refused
}

/** Halves, which nobody has refused yet; or the one member. */
function partsOf<Member>(part: Part<Member>): Part<Member>[] {
  const { members } = part
  if (members.length === 1) return [part]
  const middle = Math.ceil(members.length / 2)
  return [members.slice(0, middle), members.slice(middle)].map((half) => ({ members: half, refusals: 0 }))
}

/** Whether the server has refused a statement for what is in it, so that it will again. */
export function isRefusal(error: unknown): boolean {
  const state = sqlState(error)
  if (state === null) return false
  // A unique violation passes where it was a race, and comes again where the index is the application's own. A limit of
  // the server's (class 54) passes where the server met it, and comes again where the data does.
  if (state === '23505' || state.startsWith('54')) return true
  return !['down', 'unknown', 'passing'].includes(databaseFault(error))
}

/** The same; or the server has ended the statement, as somebody holds a lock that it needs, or it took too long. */
export function isRefusalOrTimeOut(error: unknown): boolean {
  return isRefusal(error) || (sqlState(error) !== null && isTimeOut(error))
}
