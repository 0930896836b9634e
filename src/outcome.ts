/**
 * What a run ended with. A handler returns one, or returns anything else and means an ack.
 *
 * The union is inspectable: read `type`, or ask `isOutcome`.
 */
export type Outcome =
  /** Done. The job is gone. */
  | AckOutcome
  /** Refused for good by its handler. The job is failed. */
  | RejectOutcome
  /** The handler threw, or answered with something that breaks the contract. */
  | ErrorOutcome

export interface AckOutcome {
  readonly type: 'ack'
  readonly result: unknown
}

export interface RejectOutcome {
  readonly type: 'reject'
  readonly reason: unknown
}

export interface ErrorOutcome {
  readonly type: 'error'
  readonly error: unknown
}

// Ours are known by identity, so that a handler's own `{ type: 'ack' }` stays what it is: a result.
const ours = new WeakSet<object>()

function own<T extends Outcome>(outcome: T): T {
  ours.add(outcome)
  return Object.freeze(outcome)
}

// Every plain return is an ack: the commonest outcome is made once.
const plainAck: AckOutcome = own({ type: 'ack', result: undefined })

/** The job is done. `result` is for those who look on: middleware, events, history. */
export function ack(result?: unknown): AckOutcome {
  return result === undefined ? plainAck : own({ type: 'ack', result })
}

/** The job can never succeed: failed at once, kept with its reason, not run again. */
export function reject(reason: unknown): RejectOutcome {
  return own({ type: 'reject', reason })
}

/** @internal What a throw becomes. */
export function failure(error: unknown): ErrorOutcome {
  return own({ type: 'error', error })
}

/** Whether a value is an outcome made by `ack`, `reject` and their kin. */
export function isOutcome(value: unknown): value is Outcome {
  return typeof value === 'object' && value !== null && ours.has(value)
}
