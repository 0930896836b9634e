import createDebug from 'debug'
import type { Database } from '../../database/database.js'
import { isRefusal, type Refused, sendInParts } from '../../database/halving.js'
import { jobRefused, toError } from '../../errors.js'
import {
  type Choice,
  type ClaimRequest,
  type ClaimResult,
  claimableJobs,
  claimJobs,
  promotableJobs,
  promoteJobs,
} from '../statements.js'
import { foundIn, joined, unproven, withoutJobs } from './claim-answers.js'
import { createPassedOver } from './passed-over.js'

const log = createDebug('bugle:claimer')

/**
 * Claims and promotions around jobs that the database refuses.
 *
 * **Refused jobs**, by a trigger of the application's, say, or since the row is damaged. One is enough for the database
 * to refuse the claim, and the next one, and so on: it is the first in the queue. So after a refusal the jobs are
 * listed and claimed in parts (database/halving.ts). The others run; those at fault are told of and passed over for a
 * while (passed-over.ts). While some are, claims leave them out; they count neither as found nor as left behind. If
 * the claim is refused for no job as well, or goes on being refused, that is an error of the consumer's, as ever.
 */
interface AroundRefused {
  /** The plain claim. */
  claim(limit: number, workerId: string, request: ClaimRequest): Promise<ClaimResult>
  /** Whatever is there and no suspect. */
  pastSuspects(limit: number, workerId: string, request: ClaimRequest): Promise<ClaimResult>
  /** The job with that id, if nobody else has it. Its answer is added to `taken`. */
  takeAlone(id: string, workerId: string, taken: ClaimResult[]): Promise<void>
  promote(limit: number): Promise<Promoted>
  /** Those that are passed over now. */
  readonly passedOver: readonly string[]
}

interface Promoted {
  readonly promoted: number
  readonly dueInMs: number | null
}

interface AroundRefusedParts {
  readonly database: Database
  readonly choice: Choice
  /** There may be jobs. */
  readonly wake: () => void
  readonly onError: (error: Error) => void
  readonly now: () => number
}

/** How often in a row what is left is refused, before that is an error. */
const mostRounds = 3

export function createAroundRefused(parts: AroundRefusedParts): AroundRefused {
  const { database, choice, onError } = parts
  const passedOver = createPassedOver(parts)

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

  async function claim(limit: number, workerId: string, request: ClaimRequest): Promise<ClaimResult> {
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

  function passOver(refused: readonly Refused<string>[], what: string): void {
    for (const { member, error } of refused) {
      const forMs = passedOver.add(member)
      onError(jobRefused(member, `${what}, and is passed over for ${forMs / 1_000} s`, error))
    }
  }

  async function promoteApart(limit: number): Promise<Promoted> {
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

  async function promote(limit: number): Promise<Promoted> {
    let answer: Promoted
    try {
      answer = await promoteJobs(database, choice.queue, limit, { only: null, except: passedOver.ids })
    } catch (refusal) {
      if (!isRefusal(refusal) || passedOver.isFull) throw refusal
      answer = await promoteApart(limit)
    }
    // One that is passed over is due again when it is tried again.
    const againInMs = passedOver.nextInMs
    if (againInMs === null) return answer
    return { ...answer, dueInMs: Math.min(answer.dueInMs ?? Number.POSITIVE_INFINITY, againInMs) }
  }

  return {
    claim,
    pastSuspects,
    takeAlone,
    promote,
    get passedOver() {
      return passedOver.ids
    },
  }
}
