/** Looking at values that are not ours, whatever getters and proxies do. */
import { describe } from './errors.js'

export function isReadable(value: unknown): value is object {
  return (typeof value === 'object' && value !== null) || typeof value === 'function'
}

/** A property, or undefined where there is none, or it cannot be read. */
export function read(value: unknown, key: PropertyKey): unknown {
  if (!isReadable(value)) return undefined
  try {
    return (value as Record<PropertyKey, unknown>)[key]
  } catch {
    return undefined
  }
}

/** One step of a path into a value: `.name`, or `[1]` and `["any text"]`. */
export function pathStep(key: unknown): string {
  return typeof key === 'string' && /^[A-Za-z_$][\w$]{0,60}$/.test(key) ? `.${key}` : `[${describe(key)}]`
}
