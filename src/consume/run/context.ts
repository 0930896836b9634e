import type { JobContext } from '../../job.js'
import type { Transaction } from '../../transactions/transaction.js'
import type { Run } from './runs.js'

/** What all contexts of a consumer share. */
export interface Surroundings {
  readonly bugle: unknown
  readonly context: unknown
  readonly ack: (tx: Transaction, run: Run, result: unknown) => Promise<void>
}

// Not private fields: those are out of reach for whatever inherits from a context, or stands in front of it.
const running = Symbol('run')
const surroundings = Symbol('surroundings')

/**
 * What a handler is given beside its job.
 *
 * A class, since there is one per job: an object literal with a getter takes Node longer (1.4 us) than all else that is
 * done here for a short run.
 */
export class RunContext implements JobContext {
  readonly workerId: string
  readonly bugle: unknown
  readonly context: unknown
  readonly [running]: Run
  readonly [surroundings]: Surroundings

  constructor(run: Run, around: Surroundings) {
    this.workerId = run.claimed.workerId
    this.bugle = around.bugle
    this.context = around.context
    this[running] = run
    this[surroundings] = around
  }

  get signal(): AbortSignal {
    return this[running].signal
  }

  get ack(): JobContext['ack'] {
    const run = this[running]
    const { ack } = this[surroundings]
    return async (tx, result) => {
      await ack(tx, run, result)
      run.wasAckedInTransaction = true
    }
  }
}
