import { setTimeout as sleep } from 'node:timers/promises'
import { jitter } from '../backoff.js'
import { BugleError, toError } from '../errors.js'
import { databaseFault, isKeyConflict, sqlState } from './verdict.js'

/**
 * Statements of several callers that lock many rows or keys may wait in a circle, or see each other under an isolation
 * level that forbids it (a role may default to one, and behind a pooler our sessions set none): the one that lost is
 * sent again.
 */
const lost = ['40P01', '40001']
const mostConflicts = 10

/**
 * A statement, sent again where it lost to another of these: a deadlock, a serialization failure. Nothing of it was
 * written then.
 *
 * @throws what `send` throws otherwise
 */
export function despiteDeadlocks<T>(send: () => Promise<T>): Promise<T> {
  return despite((error) => lost.includes(sqlState(error) ?? ''), send)
}

/** The same, also where it lost a key's race: for a statement that looks at the keys, and does otherwise then. */
export function despiteConflicts<T>(send: () => Promise<T>): Promise<T> {
  return despite((error) => lost.includes(sqlState(error) ?? '') || isKeyConflict(error), send)
}

async function despite<T>(isConflict: (error: unknown) => boolean, send: () => Promise<T>): Promise<T> {
  for (let conflicts = 0; ; conflicts += 1) {
    try {
      return await send()
    } catch (error) {
      if (!isConflict(error) || conflicts === mostConflicts) throw error
    }
    // At once at first: most meet one other. Where many meet, at random, so that they do not meet again.
    if (conflicts > 0) await sleep(jitter(2 ** conflicts, 0, 1, Math.random))
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
 * A failed call as its caller should see it. Here, at the edge, a driver's error becomes one of ours, and nowhere
 * before: what is beneath goes by the error that the server has sent.
 *
 * @param what - the call's name, as its caller wrote it
 * @returns a BugleError, or the driver's own error where no code of ours says it better
 */
export function callError(what: string, error: unknown, effect: CallEffect): Error {
  if (error instanceof BugleError) return error
  const { message } = toError(error)
  const cause = { cause: error }
  const fault = databaseFault(error)
  if (fault !== 'down' && fault !== 'unknown') return toldError(what, error)
  if (effect === 'reads') return new BugleError('DATABASE_DOWN', `${what}: ${message}`, cause)
  if (effect === 'has written') {
    return new BugleError('RESULT_UNKNOWN', `${what}: a part was written before this: ${message}`, cause)
  }
  if (fault === 'down') return new BugleError('DATABASE_DOWN', `${what}: nothing was written: ${message}`, cause)
  return new BugleError('RESULT_UNKNOWN', `${what}: the answer was lost, it may have been written: ${message}`, cause)
}

/**
 * A failure as an event should tell it, and `consume`, which waits for what passes: only what somebody must mend is
 * said in words of ours.
 */
export function toldError(what: string, error: unknown): Error {
  const { message } = toError(error)
  const fault = databaseFault(error)
  if (fault === 'privilege') return privilegeError(`${what}: ${message}`, grantsRemedy, error)
  if (fault !== 'not-migrated') return toError(error)
  return new BugleError('NOT_MIGRATED', `${what}: ${message}: run \`await bugle.migrate()\``, { cause: error })
}

const grantsRemedy = 'the owner of the schema gives a role what it needs by the SQL that `bugle grants` prints'

/**
 * @param what - what was refused; the server's message names what the privilege is missing on
 * @param error - of SQLSTATE 42501
 */
export function privilegeError(what: string, remedy: string, error: unknown): BugleError {
  return new BugleError('NO_PRIVILEGE', `${what}: ${remedy}`, { cause: error })
}
