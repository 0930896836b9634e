import createDebug from 'debug'
import type { Database } from '../../database/database.js'
import { isRefusal, type Refused, sendInParts } from '../../database/halving.js'
import { jobRefused, toError } from '../../errors.js'
import type { ClaimedJob } from '../claimed-job.js'
import {
  byClaimOrder,
  type Choice,
  type ClaimRequest,
  type ClaimResult,
  claimableJobs,
  claimJobs,
  nextScheduled,
  promotableJobs,
  promoteJobs,
} from '../statements.js'
import { createPassedOver } from './passed-over.js'
import type { SuspectTurn } from './suspects.js'

const log = createDebug('bugle:claimer')

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
 * **Refused jobs**, by a trigger of the application's, say, or since the row is damaged. One is enough for the database
 * to refuse the claim, and the next one, and so on: it is the first in the queue. So after a refusal the jobs are
 * listed and claimed in parts (database/halving.ts). The others run; those at fault are told of and passed over for a
 * while (passed-over.ts). While some are, claims leave them out; they count neither as found nor as left behind. If
 * the claim is refused for no job as well, or goes on being refused, that is an error of the consumer's, as ever.
 *
 * What may interleave:
 * - a statement fails in the middle: the jobs that others before it took are ours, and run, and the acks that went with
 *   the first are settled. The answer says that jobs may be left behind. Those of a statement whose answer was lost are
 *   found by heartbeats, as after any claim;
 * - others claim what was listed, or lock it: it is skipped. The last statement is one for whatever there is, so its
 *   signs, and not those of the parts, prove what the sleep protocol wants proven;
 * - acks travel with a claim that is refused: it throws, they go alone, and the consumer claims once more without them.
 */
interface Claimer {
  /** @throws as `claimJobs` */
  claim(limit: number, workerId: string, request: ClaimRequest): Promise<ClaimResult>
  /** @throws as `promoteJobs` */
  promote(limit: number): Promise<{ promoted: number; dueInMs: number | null }>
  /** In how many ms the next scheduled job is due, but for those that are passed over; null: there is none. */
  nextScheduled(): Promise<number | null>
  /** The outcome of a job is durable, or will never be; or its run is stuck. */
  ended(claimed: ClaimedJob): void
}

interface ClaimerParts {
  readonly database: Database
  readonly choice: Choice
  readonly turn: SuspectTurn
  /** How many slots are free for the jobs of a claim that is in flight and asks for so many; 0 or less: none. */
  readonly freeFor: (limit: number) => number
  /** A suspect is about to be claimed, or will be when a slot is free: hold no jobs. */
  readonly onTurn: () => void
  /** There may be jobs. */
  readonly wake: () => void
  readonly onError: (error: Error) => void
  readonly now: () => number
}

/** How often in a row what is left is refused, before that is an error. */
const mostRounds = 3
/** How many suspects are tried until one is free. */
const mostTries = 3

export function createClaimer(parts: ClaimerParts): Claimer {
  const { database, choice, turn, wake, onError, now } = parts
  const passedOver = createPassedOver({ wake, now })
  /** Ends the turn of each suspect that has not ended. */
  const turns = new Map<ClaimedJob, () => void>()

  /** Whatever is there, but for what is passed over. */
  function rest(
    limit: number,
    workerId: string,
    request: ClaimRequest,
    withoutSuspects: boolean,
  ): Promise<ClaimResult> {
    const narrowed = { withoutSuspects, except: passedOver.ids }
    return claimJobs(database, choice, limit, workerId, { ...request, narrowed })
  }

  function listed(ids: readonly string[], workerId: string): Promise<ClaimResult> {
    const request = { acks: [], from: null, proves: false, narrowed: { ids } }
    return claimJobs(database, choice, ids.length, workerId, request)
  }

  async function first(limit: number, workerId: string, request: ClaimRequest): Promise<ClaimResult> {
    try {
      if (passedOver.ids.length > 0) return await rest(limit, workerId, request, false)
      return await claimJobs(database, choice, limit, workerId, request)
    } catch (refusal) {
      if (!isRefusal(refusal) || request.acks.length > 0 || passedOver.isFull) throw refusal
      return inParts(limit, workerId, request, false)
    }
  }

  /** After a refusal. */
  async function inParts(
    limit: number,
    workerId: string,
    request: ClaimRequest,
    withoutSuspects: boolean,
  ): Promise<ClaimResult> {
    const taken: ClaimResult[] = []
    const missing = (): number => limit - foundIn(taken)
    for (let round = 1; ; round += 1) {
      const before = passedOver.ids.length
      try {
        const ids = await claimableJobs(database, choice, missing(), passedOver.ids)
        await takeApart(ids, workerId, taken)
        return joined(limit, taken, await rest(missing(), workerId, request, withoutSuspects))
      } catch (error) {
        log('in parts, round %d: %s', round, toError(error).message)
        // As long as each round finds others at fault, those behind them are still to be reached.
        const mayGoOn = round < mostRounds || passedOver.ids.length > before
        if (isRefusal(error) && mayGoOn && !passedOver.isFull) continue
        const last = taken.at(-1)
        if (last === undefined || foundIn(taken) === 0) throw error
        return unproven(joined(limit, taken, withoutJobs(last)))
      }
    }
  }

  /** Takes those that were refused together, but for those at fault: these are passed over. */
  async function takeApart(ids: readonly string[], workerId: string, taken: ClaimResult[]): Promise<void> {
    if (ids.length === 0) return
    const refused = await sendInParts(ids, {
      send: async (part) => taken.push(await listed(part, workerId)),
      sendNone: () => listed([], workerId),
    })
    passOver(refused, 'cannot be claimed')
  }

  function passOver(refused: readonly Refused<string>[], what: string): void {
    for (const { member, error } of refused) {
      const forMs = passedOver.add(member)
      onError(jobRefused(member, `${what}, and is passed over for ${forMs / 1_000} s`, error))
    }
  }

  async function withSuspects(
    limit: number,
    workerId: string,
    { proves }: ClaimRequest,
    seen: ClaimResult,
  ): Promise<ClaimResult> {
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
      const last = isFull && missing() > 0 ? await pastSuspects(missing(), workerId, request) : withoutJobs(seen)
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
        await takeAlone(id, workerId, taken)
        if (suspect() !== undefined) return true
      }
      return false
    } finally {
      const found = suspect()
      if (found === undefined) endTurn()
      else turns.set(found, endTurn)
    }
  }

  async function takeAlone(id: string, workerId: string, taken: ClaimResult[]): Promise<void> {
    try {
      taken.push(await listed([id], workerId))
    } catch (refusal) {
      if (!isRefusal(refusal) || passedOver.isFull) throw refusal
      await takeApart([id], workerId, taken)
    }
  }

  async function pastSuspects(limit: number, workerId: string, request: ClaimRequest): Promise<ClaimResult> {
    try {
      return await rest(limit, workerId, request, true)
    } catch (refusal) {
      if (!isRefusal(refusal) || passedOver.isFull) throw refusal
      return inParts(limit, workerId, request, true)
    }
  }

  async function promoteApart(limit: number): Promise<{ promoted: number; dueInMs: number | null }> {
    const { queue } = choice
    let promoted = 0
    const listed = await promotableJobs(database, queue, limit, passedOver.ids)
    if (listed.length > 0) {
      const refused = await sendInParts(listed, {
        send: async (only) => {
          promoted += (await promoteJobs(database, queue, only.length, { only, except: [] })).promoted
        },
        sendNone: () => promoteJobs(database, queue, 0, { only: [], except: [] }),
      })
      passOver(refused, 'is due and cannot be made ready')
    }
    const last = await promoteJobs(database, queue, limit, { only: null, except: passedOver.ids })
    return { promoted: promoted + last.promoted, dueInMs: last.dueInMs }
  }

  return {
    async claim(limit, workerId, request) {
      const seen = await first(limit, workerId, request)
      return seen.suspects.length === 0 ? seen : withSuspects(limit, workerId, request, seen)
    },
    async promote(limit) {
      const except = passedOver.ids
      let answer: { promoted: number; dueInMs: number | null }
      try {
        answer = await promoteJobs(database, choice.queue, limit, { only: null, except })
      } catch (refusal) {
        if (!isRefusal(refusal) || passedOver.isFull) throw refusal
        answer = await promoteApart(limit)
      }
      // One that is passed over is due again when it is tried again.
      const againInMs = passedOver.nextInMs
      if (againInMs === null) return answer
      return { ...answer, dueInMs: Math.min(answer.dueInMs ?? Number.POSITIVE_INFINITY, againInMs) }
    },
    nextScheduled: () => nextScheduled(database, choice, passedOver.ids),
    ended(claimed) {
      if (claimed.job.crashes === 0) return
      turns.get(claimed)?.()
      turns.delete(claimed)
      wake()
    },
  }
}

function foundIn(results: readonly ClaimResult[]): number {
  return results.reduce((found, { claimed }) => found + claimed.found, 0)
}

function withoutJobs(result: ClaimResult): ClaimResult {
  return { ...result, claimed: { ...result.claimed, found: 0, jobs: [] } }
}

/** One answer of several: all jobs, and the signs of the last. */
function joined(limit: number, taken: readonly ClaimResult[], last: ClaimResult): ClaimResult {
  const jobs = [...taken, last].flatMap(({ claimed }) => claimed.jobs).sort(byClaimOrder)
  return {
    ...last,
    claimed: { ...last.claimed, asked: limit, found: jobs.length, jobs },
    tookMs: taken.reduce((ms, { tookMs }) => ms + tookMs, last.tookMs),
  }
}

/** An answer that came before an error: more jobs may be there, and nothing is proven. */
function unproven({ claimed, ...rest }: ClaimResult): ClaimResult {
  return { ...rest, claimed: { ...claimed, leftBehind: true, xmin: 0n, target: 0n } }
}
