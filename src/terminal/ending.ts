/** How a command ends. It imports no code, so that the help is there without what commands need. */
import type { Host } from './host.js'

/** Exit codes, as src/guides/command.md lists them. */
export const exitCodes = { ok: 0, trouble: 1, usage: 2 } as const

/** The command was not understood. The message is one line. */
export class UsageError extends Error {
  override name = 'UsageError'
  /** What people are shown instead of the message; '': the message. */
  readonly help: string
  constructor(message: string, help = '') {
    super(message)
    this.help = help
  }
}

/**
 * The command could not be carried out, for a reason that needs no stack of ours. The message is one line; of a `cause`
 * the stack is shown below it.
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

/**
 * Aborted by SIGINT, SIGTERM or SIGHUP, none of which ends the process by itself any more, or when the reader of our
 * output has left.
 */
export function interruptible(host: Pick<Host, 'stdout' | 'on'>): AbortSignal {
  const interrupting = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    // They stay for good: a second Ctrl-C must not cut the tidying short.
    host.on(name, () => interrupting.abort(new Interrupted(name)))
  }
  // Such as `head`: nobody to work for.
  host.stdout.on('error', () => interrupting.abort(new Interrupted('SIGPIPE')))
  return interrupting.signal
}
