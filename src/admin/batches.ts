import { functionOf } from '../checks.js'
import { BugleError, describe } from '../errors.js'

/** For calls that work in batches. */
export interface BatchesOptions {
  /** Ends the call after the batch in flight: it resolves with what was done until then. */
  readonly signal?: AbortSignal
  /** Called after each batch, with what was done so far. What it throws ends the call, which rejects with it. */
  readonly onProgress?: (total: number) => void
}

export interface Batches {
  /** Whether no further batch shall begin. */
  readonly isOver: boolean
  /** undefined: there is none. */
  readonly signal: AbortSignal | undefined
  done(total: number): void
}

/** @throws BugleError `INVALID_OPTION` */
export function resolveBatches({ signal, onProgress }: BatchesOptions): Batches {
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw new BugleError('INVALID_OPTION', `signal must be an AbortSignal; got ${describe(signal)}`)
  }
  const tell = onProgress === undefined ? () => {} : functionOf<(total: number) => void>('onProgress', onProgress)
  return {
    get isOver() {
      return signal?.aborted === true
    },
    signal,
    done: (total) => tell(total),
  }
}
