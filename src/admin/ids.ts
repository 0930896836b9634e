import { BugleError, describe } from '../errors.js'

const largest = 9_223_372_036_854_775_807n

/**
 * A job's id: a decimal string that bigint can hold.
 *
 * @throws BugleError `INVALID_OPTION`
 */
export function jobId(value: unknown, name = 'id'): string {
  if (isJobId(value)) return value
  throw new BugleError('INVALID_OPTION', `${name} must be a job's id, a decimal string; got ${describe(value)}`)
}

export function isJobId(value: unknown): value is string {
  return typeof value === 'string' && /^\d{1,19}$/.test(value) && BigInt(value) <= largest
}

/** @throws BugleError `INVALID_OPTION`, with the place of the one at fault */
export function jobIds(ids: readonly unknown[]): string[] {
  return Array.from(ids, (id, index) => jobId(id, `ids[${index}]`))
}

/** As an array literal of bigint. The elements are decimal strings only, so nothing needs quoting. */
export function idArray(ids: readonly string[]): string {
  return `{${ids.join()}}`
}
