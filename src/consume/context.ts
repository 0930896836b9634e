import type { JobContext } from '../job.js'
import type { Transaction } from '../put/transaction.js'
import type { Run } from './active-runs.js'
import type { ClaimedJob } from './claim.js'

/** What all contexts of a consumer share. */
export interface Surroundings {
  readonly bugle: unknown
  readonly context: unknown
  readonly ack: (tx: Transaction, claimed: ClaimedJob, result: unknown) => Promise<void>
}

/**
 * What a handler is given beside its job.
 *
 * A class, since there is one of it a job: an object literal with a getter takes Node longer (1.4 us) than all else that is done
 * here for a short run. `signal` and `ack` can be taken out of it like its other properties.
 */
export class RunContext implements JobContext {
  readonly workerId: string
  readonly bugle: unknown
  readonly context: unknown
  readonly #run: Run
  readonly #ack: Surroundings['ack']
  #wasAcked = false

  constructor(run: Run, { bugle, context, ack }: Surroundings) {
    this.workerId = run.claimed.workerId
    this.bugle = bugle
    this.context = context
    this.#run = run
    this.#ack = ack
  }

  /** Whether the handler has acked its job in a transaction of its own. */
  static wasAcked(context: RunContext): boolean {
    return context.#wasAcked
  }

  get signal(): AbortSignal {
    return this.#run.signal
  }

  get ack(): JobContext['ack'] {
    return async (tx, result) => {
      await this.#ack(tx, this.#run.claimed, result)
      this.#wasAcked = true
    }
  }
}
