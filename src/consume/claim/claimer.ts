import type { Database } from '../../database/database.js'
import { toError } from '../../errors.js'
import type { ClaimedJob } from '../claimed-job.js'
import { type Choice, type ClaimRequest, type ClaimResult, nextScheduled } from '../statements.js'
import { createAroundRefused } from './around-refused.js'
import { foundIn, joined, unproven, withoutJobs } from './claim-answers.js'
import type { SuspectTurn, Turns } from './suspects.js'

/**
 * What one consumer claims and makes ready, despite jobs that would do harm to others.
 *
 * Nearly every claim is one statement, the plain one. Two kinds of jobs make others follow it:
 *
 * **Suspects**, which a process has died under (suspects.ts). The plain claim counts and does not take them. Where it
 * saw some, and the turn is free, one is claimed by a statement of its own, alone. Where suspects were so many that
 * they filled the claim, one more looks past them. Suspects that are not taken are left behind, so the consumer goes on
 * asking, a few times a second at most, and a drain does not end.
 *
 * A suspect is claimed only where a slot is free for it, and it begins at once: held, it would go down with the process
 * without having begun, and no other process could run it meanwhile. A claim that may bring look-ahead comes while all
 * slots are taken. So once the turn is ours,
 *
 * - there is no look-ahead (`onTurn`): what is held goes into slots, nothing is claimed behind it, and no second claim
 *   is sent beside this one. The slot that is free after that is the suspect's, however long the backlog;
 * - this claim brings no more than slots are free for now, less what other claims in flight may bring (`freeFor`). No
 *   slot is taken by anything else until the answer is here, as nothing else is claimed. If its first statement has
 *   brought as many jobs already, the suspect is left behind, and the turn with it.
 *
 * **Refused jobs**, which the database does not let us claim: around-refused.ts.
 *
 * What may interleave:
 * - a statement fails in the middle: the jobs that others before it took are ours, and run, and the acks that went with
 *   the first are settled. The answer says that jobs may be left behind. Those of a statement whose answer was lost are
 *   found by heartbeats, as after any claim;
 * - others claim what was listed, or lock it: it is skipped. The last statement is one for whatever there is, so its
 *   signs, and not those of the parts, prove what the sleep protocol wants proven;
 * - acks travel with a claim that is refused: it throws, they go alone, and the consumer claims once more without them.
 */
export interface Claimer {
  /** @throws as `claimJobs` */
  claim(limit: number, workerId: string, request: ClaimRequest): Promise<ClaimResult>
  /** @throws as `promoteJobs` */
  promote(limit: number): Promise<{ promoted: number; dueInMs: number | null }>
  /** In how many ms the next scheduled job is due, but for those that are passed over; null: there is none. */
  nextScheduled(): Promise<number | null>
}

interface ClaimerParts {
  readonly database: Database
  readonly choice: Choice
  readonly turn: SuspectTurn
  readonly turns: Turns
  /** How many slots are free for the jobs of a claim that is in flight and asks for so many; 0 or less: none. */
  readonly freeFor: (limit: number) => number
  /** Suspects wait. */
  readonly onSuspects: () => void
  /** A suspect is about to be claimed, or will be when a slot is free: hold no jobs. */
  readonly onTurn: () => void
  /** There may be jobs. */
  readonly wake: () => void
  readonly onError: (error: Error) => void
  readonly now: () => number
}

/** How many suspects are tried until one is free. */
const mostTries = 3

export function createClaimer(parts: ClaimerParts): Claimer {
  const { database, choice, turn, turns, wake, onError } = parts
  const refused = createAroundRefused(parts)

  async function withSuspects(
    limit: number,
    workerId: string,
    { proves }: ClaimRequest,
    seen: ClaimResult,
  ): Promise<ClaimResult> {
    parts.onSuspects()
    const request = { acks: [], from: null, proves }
    const taken = [seen]
    let most = limit
    const missing = (): number => most - foundIn(taken)
    // Where the suspects filled the claim, it cannot know what is behind them.
    const isFull = missing() <= seen.suspects.length
    let left = seen.suspects.length
    try {
      const endTurn = turn.take(wake)
      if (endTurn !== null) {
        parts.onTurn()
        most = Math.min(limit, parts.freeFor(limit))
        if (missing() <= 0) endTurn()
        else if (await takeSuspect(seen.suspects, workerId, taken, endTurn)) left -= 1
      }
      const last =
        isFull && missing() > 0 ? await refused.pastSuspects(missing(), workerId, request) : withoutJobs(seen)
      const { claimed, ...signs } = joined(limit, taken, last)
      return { ...signs, acked: seen.acked, claimed: { ...claimed, leftBehind: claimed.leftBehind || left > 0 } }
    } catch (error) {
      // No throw: what the first statement has done, claimed and acked, is done.
      onError(toError(error))
      return { ...unproven(joined(limit, taken, withoutJobs(seen))), acked: seen.acked }
    }
  }

  /**
   * Takes the first of them that nobody else has. The turn is over where there is none.
   *
   * @returns whether there is one
   */
  async function takeSuspect(
    ids: readonly string[],
    workerId: string,
    taken: ClaimResult[],
    endTurn: () => void,
  ): Promise<boolean> {
    const before = taken.length
    const suspect = (): ClaimedJob | undefined => taken.slice(before).flatMap(({ claimed }) => claimed.jobs)[0]
    try {
      for (const id of ids.slice(0, mostTries)) {
        await refused.takeAlone(id, workerId, taken)
        if (suspect() !== undefined) return true
      }
      return false
    } finally {
      const found = suspect()
      if (found === undefined) endTurn()
      else turns.began(found, endTurn)
    }
  }

  return {
    async claim(limit, workerId, request) {
      const seen = await refused.claim(limit, workerId, request)
      return seen.suspects.length === 0 ? seen : withSuspects(limit, workerId, request, seen)
    },
    promote: refused.promote,
    nextScheduled: () => nextScheduled(database, choice, refused.passedOver),
  }
}
