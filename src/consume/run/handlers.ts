import { types } from 'node:util'
import { isPlainObject, label } from '../../checks.js'
import { BugleError, describe } from '../../errors.js'
import type { Job, JobHandler } from '../../job.js'

/** What a consumer runs: one handler for every job, or one for each kind. */
export interface Handlers {
  /** The kinds to claim; null: all, and jobs without a kind. */
  readonly kinds: readonly string[] | null
  /** undefined: there is none for that kind. */
  of(kind: string | null): JobHandler<Job> | undefined
}

/**
 * pg-boss, among others, has the options before the handler.
 *
 * @param called - the method's name
 * @throws BugleError `INVALID_OPTION`
 */
export function demandHandlerSecond(called: string, options: unknown): void {
  if (typeof options !== 'function') return
  throw new BugleError('INVALID_OPTION', `the handler comes second: ${called}(queue, handler, options)`)
}

/**
 * @param unknownKinds - 'leave': only jobs of the kinds that have a handler are claimed, so that a rolling deployment
 *   does not destroy those of a newer version
 * @throws BugleError `INVALID_OPTION`
 */
export function resolveHandlers(given: unknown, unknownKinds: 'leave' | 'fail'): Handlers {
  if (typeof given === 'function') return { kinds: null, of: () => given as JobHandler<Job> }
  if (!isPlainObject(given)) {
    const got = types.isPromise(given) ? 'a promise: give the function, and not its call' : describe(given)
    throw new BugleError(
      'INVALID_OPTION',
      `handler must be a function, or an object with a function for each kind; got ${got}`,
    )
  }
  const byKind = new Map<string | null, JobHandler<Job>>()
  for (const [kind, handler] of Object.entries(given)) {
    if (typeof handler !== 'function') {
      throw new BugleError(
        'INVALID_OPTION',
        `handler of kind ${describe(kind)} must be a function; got ${describe(handler)}`,
      )
    }
    byKind.set(label('kind', kind, 128), handler as JobHandler<Job>)
  }
  if (byKind.size === 0) {
    throw new BugleError('INVALID_OPTION', 'handler must have a function for at least one kind; got {}')
  }
  return {
    kinds: unknownKinds === 'leave' ? ([...byKind.keys()] as string[]) : null,
    of: (kind) => byKind.get(kind),
  }
}
