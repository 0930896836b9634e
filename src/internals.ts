import type { StepLimit } from './consume/step.js'
import type { StatementName } from './database/statements.js'
import { BugleError, describe } from './errors.js'
import type { Middleware } from './job.js'

/** What `bugle/testing` needs of an instance, and nobody else. */
export interface Internals {
  /**
   * A drain that claims no more than so many jobs.
   *
   * @param spy - around all other middleware
   * @throws as `drain`
   */
  step(queue: string, handlers: unknown, options: object, limit: StepLimit, spy: Middleware): Promise<void>
  /** One statement of the kit's own. */
  send<Row>(statement: StatementName, parameters: readonly (string | null)[], name: string): Promise<Row[]>
}

// Beside the object and not in it: nobody comes to rely on it, and nothing of it is shown in a console.
const internals = new WeakMap<object, Internals>()

/** Called once, where the instance is made. */
export function setInternals(bugle: object, of: Internals): void {
  internals.set(bugle, of)
}

/** @throws BugleError `INVALID_OPTION` for what was not made by this copy of the package */
export function internalsOf(bugle: unknown): Internals {
  const found = typeof bugle === 'object' && bugle !== null ? internals.get(bugle) : undefined
  if (found !== undefined) return found
  const made = 'bugle must be what createBugle has made, of the same copy of this package'
  throw new BugleError('INVALID_OPTION', `${made}; got ${describe(bugle)}`)
}
