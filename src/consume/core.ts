import { toldError } from '../database/fault.js'
import { createClaimSize } from './claim/claim-size.js'
import { createDemand } from './claim/demand.js'
import { createLookAhead } from './claim/look-ahead.js'
import { createLoopState } from './claim/loop-state.js'
import { createQuota } from './claim/quota.js'
import { createReasons } from './claim/reasons.js'
import { createTurns } from './claim/suspects.js'
import type { ConsumerParts } from './consumer-parts.js'
import { createInFlight } from './in-flight.js'
import { createTally } from './tally.js'

/** What several parts of a consumer read and write, and what none of them owns. */
export type Core = ReturnType<typeof createCore>

export function createCore({ queue, options, limit, worker, events }: ConsumerParts) {
  const now = (): number => performance.now()
  const tally = createTally(now())
  const state = createLoopState()
  const reasons = createReasons(state)
  const inFlight = createInFlight()
  const lookAhead = createLookAhead(options, now)
  const claimSize = createClaimSize()
  const quota = createQuota(limit)
  const demand = createDemand({ ...options, state, gate: worker, inFlight, lookAhead, claimSize, quota })
  const turns = createTurns(reasons.raise)

  function claimError(error: Error): void {
    tally.count('errors')
    events.emit('claim:error', { queue, error: toldError('consume', error) })
  }

  return { now, tally, state, reasons, inFlight, lookAhead, claimSize, quota, demand, turns, claimError }
}
