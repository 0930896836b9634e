import type { Settlement } from './ending.js'
import type { Answers } from './pending.js'

export interface SettlerParts {
  /**
   * One autocommit statement for all of them, of one worker id: all are plain acks, all are acks of a lane, or neither
   * are any.
   *
   * @throws BugleError `CLOSED`: it will never be written; any other failure is tried again
   */
  readonly write: (batch: readonly Settlement[]) => Promise<Answers>
  /** Whether a claim is about to take acks along, of which so many wait. */
  readonly isHeld: (waitingAcks: number) => boolean
  /**
   * The same statement as for outcomes like this one, but for no job.
   *
   * @throws what `write` throws
   */
  readonly writeNone: (like: Settlement) => Promise<unknown>
  /** A failure other than the connection's, such as a privilege that is missing. It is tried again. */
  readonly onError: (error: Error) => void
  /** The database refuses this outcome, and would take others. Again after 2 tries, 4, 8, ... of one that is kept. */
  readonly onRefused: (settlement: Settlement, error: Error, whatNow: WhatNow) => void
  readonly random: () => number
}

/** What becomes of an outcome that the database refuses. */
export type WhatNow =
  /** It is sent again until the database takes it. */
  | 'kept'
  /** It was stored, with its result or progress in ASCII. */
  | 'stored in ASCII'
  /** It was stored without its data. */
  | 'stored without data'
