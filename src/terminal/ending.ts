/** How a command ends. It imports nothing, so that the help is there without what commands need. */

/** Exit codes, as README lists them. */
export const exitCodes = { ok: 0, trouble: 1, usage: 2 } as const

/** The command was not understood. The message is one line. */
export class UsageError extends Error {
  override name = 'UsageError'
}

/**
 * The command could not be carried out, for a reason that needs no stack of ours. The message is one line; of a `cause` the stack is
 * shown below it.
 */
export class Refusal extends Error {
  override name = 'Refusal'
}

/** Somebody asked the command to stop. Exit code: 128 and the signal's number. */
export class Interrupted extends Error {
  override name = 'Interrupted'
  readonly signal: NodeJS.Signals
  constructor(signal: NodeJS.Signals) {
    super(`interrupted by ${signal}`)
    this.signal = signal
  }
}
