import { BugleError, databaseFault, sqlState, toError } from '../errors.js'

/** Statements of several callers that lock many rows or keys may wait in a circle: the one that lost is sent again. */
const deadlock = '40P01'
/** Another transaction's job took the key first: sent again, the statement sees it. */
const keyRace = '23505'
const mostConflicts = 10

/**
 * A statement, sent again where it was the victim of a deadlock. Nothing of it was written then.
 *
 * @throws what `send` throws otherwise
 */
export function despiteDeadlocks<T>(send: () => Promise<T>): Promise<T> {
  return despite([deadlock], send)
}

/** The same, also where it lost a key's race: for a statement that looks at the keys, and does otherwise then. */
export function despiteConflicts<T>(send: () => Promise<T>): Promise<T> {
  return despite([deadlock, keyRace], send)
}

async function despite<T>(states: readonly string[], send: () => Promise<T>): Promise<T> {
  for (let conflicts = 0; ; conflicts += 1) {
    try {
      return await send()
    } catch (error) {
      if (!states.includes(sqlState(error) ?? '') || conflicts === mostConflicts) throw error
    }
  }
}

/** What a call may have done when one of its statements fails. */
export type CallEffect =
  /** Nothing: it reads. */
  | 'reads'
  /** All or nothing: it is one statement, and this is it. */
  | 'writes'
  /** A part: statements before this one are committed. */
  | 'has written'

/**
 * A failed call as its caller should see it.
 *
 * @param what - the call's name, as its caller wrote it
 * @returns a BugleError, or the driver's own error where no code of ours says it better
 */
export function callError(what: string, error: unknown, effect: CallEffect): Error {
  if (error instanceof BugleError) return error
  const { message } = toError(error)
  const cause = { cause: error }
  const fault = databaseFault(error)
  if (fault === 'not-migrated') {
    return new BugleError('NOT_MIGRATED', `${what}: ${message}: run \`await bugle.migrate()\``, cause)
  }
  if (fault !== 'down' && fault !== 'unknown') return toError(error)
  if (effect === 'reads') return new BugleError('DATABASE_DOWN', `${what}: ${message}`, cause)
  if (effect === 'has written') {
    return new BugleError('RESULT_UNKNOWN', `${what}: a part was written before this: ${message}`, cause)
  }
  if (fault === 'down') return new BugleError('DATABASE_DOWN', `${what}: nothing was written: ${message}`, cause)
  return new BugleError('RESULT_UNKNOWN', `${what}: the answer was lost, it may have been written: ${message}`, cause)
}
