import { functionOf, signalOf } from '../checks.js'
import { sqlState } from '../database/verdict.js'

/** For calls that work in batches. */
export interface BatchesOptions {
  /** Ends the call after the batch in flight: it resolves with what was done until then. */
  readonly signal?: AbortSignal | undefined
  /** Called after each batch, with what was done so far. What it throws ends the call, which rejects with it. */
  readonly onProgress?: ((total: number) => void) | undefined
}

export interface Batches {
  /** Whether no further batch shall begin. */
  readonly isOver: boolean
  /** undefined: there is none. */
  readonly signal: AbortSignal | undefined
  done(total: number): void
}

/** @throws BugleError `INVALID_OPTION` */
export function resolveBatches({ signal: given, onProgress }: BatchesOptions): Batches {
  const signal = signalOf(given)
  const tell = onProgress === undefined ? () => {} : functionOf<(total: number) => void>('onProgress', onProgress)
  return {
    get isOver() {
      return signal?.aborted === true
    },
    signal,
    done: (total) => tell(total),
  }
}

/**
 * How many rows a statement takes of a call that works in batches.
 *
 * Rows may be heavy: to delete 1,000 payloads of 50 MB, or to move them, takes longer than a statement may. It is then
 * rolled back by the server's time-out, and would be the next time too. So it is sent again for half as many rows, down
 * to one, and what is quick gets twice as many. Only by the server's word: after a lost answer it may have committed.
 */
export interface BatchSize {
  readonly rows: number
  /** A statement was answered, after so many ms. */
  answered(tookMs: number): void
  /** @returns whether it may be sent again, for fewer rows: it was too much for its time, and there were several */
  isTooLarge(error: unknown): boolean
}

/** A sixth of a statement's time. */
const quickMs = 10_000

export function createBatchSize(most: number): BatchSize {
  let rows = most
  return {
    get rows() {
      return rows
    },
    answered(tookMs) {
      if (tookMs < quickMs) rows = Math.min(most, rows * 2)
    },
    isTooLarge(error) {
      if (sqlState(error) !== '57014' || rows === 1) return false
      rows = Math.max(1, Math.floor(rows / 2))
      return true
    },
  }
}
