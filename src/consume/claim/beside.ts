import createDebug from 'debug'
import { toError } from '../../errors.js'
import type { ClaimAnswer } from './loop-parts.js'

const log = createDebug('bugle:dispatcher')

/**
 * The claim beside the loop's own. When handlers are short and claims come back full, a second claim goes while the
 * first is in flight. It asks for as many jobs as have ended since the first was sent, so the server does not wait
 * while an answer is read here. It proves nothing: whether it is full or not, the loop goes on by its own claims alone.
 * Those see the jobs that it has taken and not committed as left behind.
 */
export interface Beside {
  /** The loop's claim was sent, or jobs may be wanted again while it is in flight: send one, if it is worth it. */
  claim(): void
  /** The same later in this turn, so that one claim serves all handlers that end in it. */
  claimSoon(): void
  /** The last answer, of either, brought as many jobs as were asked for. */
  wasFull: boolean
  /** Resolves when what it has taken is known. */
  readonly answered: Promise<void>
}

interface BesideParts<Job> {
  readonly send: (limit: number) => Promise<ClaimAnswer<Job>>
  /** Whether the loop's claim is in flight, and another may be. */
  readonly mayClaim: () => boolean
  /** 0 or less: none. */
  readonly wanted: () => number
  readonly begin: (jobs: readonly Job[]) => void
  /** The jobs that it asked for and did not find are wanted again. No other event may wake the loop for them. */
  readonly onOver: () => void
}

export function createBeside<Job>({ send, mayClaim, wanted, begin, onOver }: BesideParts<Job>): Beside {
  let inFlight: Promise<void> | null = null
  let isComing = false

  function claim(): void {
    if (inFlight !== null || !beside.wasFull || !mayClaim()) return
    const asked = wanted()
    if (asked <= 0) return
    inFlight = take(asked).finally(() => {
      inFlight = null
      onOver()
    })
  }

  async function take(asked: number): Promise<void> {
    try {
      const { jobs, found } = await send(asked)
      beside.wasFull = found === asked
      begin(jobs)
    } catch (error) {
      // The loop's own claims meet the same error, and report it.
      log('a claim beside failed: %s', toError(error).message)
      beside.wasFull = false
    }
  }

  const beside: Beside = {
    claim,
    claimSoon() {
      if (isComing || inFlight !== null || !mayClaim()) return
      isComing = true
      setImmediate(() => {
        isComing = false
        claim()
      })
    },
    wasFull: false,
    get answered() {
      return inFlight ?? Promise.resolve()
    },
  }
  return beside
}
