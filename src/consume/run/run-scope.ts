import { AsyncResource } from 'node:async_hooks'

/**
 * The async context of each run: what the user's code sets for itself (`AsyncLocalStorage.enterWith`, a tracer's span)
 * ends with the run.
 *
 * A slot runs one job after the other in one async function. Without this, a store that one handler enters would be
 * seen by the handlers after it, by our timers, and by the listeners of our events. So whatever is the user's in a run
 * (schema, codec, middleware, handler, retry strategy, hooks, listeners of its signal) is called in a resource of the
 * run's own. The resource is made from the context in which `consume()` was called: stores that were entered there are
 * seen by every run.
 */
export interface RunScope {
  /** Calls the function, synchronously. What it starts belongs to the run, and nothing of it to the caller. */
  runInAsyncScope<Args extends unknown[], Result>(
    call: (...args: Args) => Result,
    self: undefined,
    ...args: Args
  ): Result
}

/** @returns makes the scope of one run. Called where `consume()` is: that context is the origin of all of them */
export function createRunScopes(): () => RunScope {
  const origin = new AsyncResource('BugleConsumer')
  const make = (): RunScope => new AsyncResource('BugleRun')
  return () => origin.runInAsyncScope(make)
}
