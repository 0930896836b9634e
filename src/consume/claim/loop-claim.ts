import createDebug from 'debug'
import { backoff } from '../../backoff.js'
import { toError } from '../../errors.js'
import { withResolvers } from '../../with-resolvers.js'
import { type Beside, createBeside } from './beside.js'
import type { Doze } from './doze.js'
import type { ClaimAnswer, DispatcherParts } from './loop-parts.js'
import { mayClaim } from './loop-state.js'
import { createProofs, type Proofs } from './proofs.js'
import { claimNow, type SleepProtocol, type Step } from './sleep.js'

const log = createDebug('bugle:dispatcher')

/** The loop's own claim: when it is sent, and what follows from its answer. */
interface LoopClaim {
  /** Claims, until the answer calls for anything else. @returns the next step */
  claim(): Promise<Step>
  /** Whatever failed is reported. @returns the next step */
  failed(error: unknown): Step
  /** The next failure counts as the first. */
  forgive(): void
  readonly beside: Beside
  readonly proofs: Proofs
  /** Resolves with the first claim that was answered, or when it is told. */
  readonly first: { readonly promise: Promise<void>; readonly resolve: () => void }
}

interface LoopClaimParts<Job> extends DispatcherParts<Job> {
  readonly protocol: SleepProtocol
  readonly doze: Doze
}

/** From one claim beside an open lane to the next. */
const besideLaneMs = 50

/** Between two claims that fail. */
const failedMs = { least: 100, most: 2_000 } as const

export function createLoopClaim<Job>(parts: LoopClaimParts<Job>): LoopClaim {
  const { state, reasons, gate, lock, protocol, doze, random } = parts
  const proofs = createProofs()
  const first = withResolvers<void>()
  let errors = 0

  const holds = (): boolean => lock?.holds() ?? false

  const beside = createBeside<Job>({
    send: (limit) => parts.claim(limit, false),
    mayClaim: () => state.mode === 'claiming' && !state.isStopping && mayClaim(state, gate) && parts.overlaps(),
    wanted: parts.wanted,
    begin,
    onOver: reasons.look,
  })
  reasons.onSlotFreed(beside.claimSoon)

  async function claim(): Promise<Step> {
    for (;;) {
      const asked = parts.wanted()
      // The loop looks again before anything else.
      if (state.isStopping || !mayClaim(state, gate) || asked <= 0) {
        parts.onRest()
        return claimNow
      }
      // Before the claim: what lands during it must leave the flag up.
      reasons.answer()
      doze.answered()
      const isAskedFor = proofs.begin()
      let answer: ClaimAnswer<Job>
      state.enter('claiming')
      try {
        const answering = parts.claim(asked, holds() || isAskedFor)
        beside.claim()
        answer = await answering
      } catch (error) {
        proofs.failed()
        state.enter('awake')
        return failed(error)
      }
      state.enter('awake')
      const step = answered(answer)
      if (step === claimNow) {
        if (state.lanes > 0 && state.leastBeside === 1) {
          // Every insert would notify for as long as there are lanes.
          lock?.release()
          parts.onRest()
          await reasons.rest('beside-lane', besideLaneMs, 'notification')
        }
        continue
      }
      parts.onRest()
      return step ?? waitForResume()
    }
  }

  /** @returns null: the queue is paused, for all processes */
  function answered(answer: ClaimAnswer<Job>): Step | null {
    const { asked, found, leftBehind, paused } = answer
    errors = 0
    if (log.enabled) log('claimed %d of %d', found, asked)
    begin(answer.jobs)
    first.resolve()
    proofs.answered({ empty: found < asked && !leftBehind && !paused, paused, found })
    beside.wasFull = found === asked
    if (found === asked && doze.isDozing) parts.callOthers(asked)
    if (found > 0) doze.end()
    return paused ? null : protocol.claimed(answer, holds())
  }

  function begin(jobs: readonly Job[]): void {
    if (state.isStopping) parts.giveBack(jobs)
    else if (jobs.length > 0) parts.start(jobs)
  }

  async function waitForResume(): Promise<Step> {
    lock?.release()
    await reasons.rest('queue-paused', Number.POSITIVE_INFINITY, 'notification')
    return claimNow
  }

  function failed(error: unknown): Step {
    parts.onRest()
    parts.onError(toError(error))
    errors += 1
    const inMs = backoff(failedMs, errors - 1, random)
    log('failed %d times, again in %d ms', errors, inMs)
    return { do: 'claim', inMs, wakeable: false }
  }

  return {
    claim,
    failed,
    forgive() {
      errors = 0
    },
    beside,
    proofs,
    first,
  }
}
