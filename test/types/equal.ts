/** What the checks of types need. */
import type { Kinds } from '../../src/index.js'

export type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false

/** `is<Equal<…>>()` compiles only where the two are the very same type. */
export declare function is<_ extends true>(): void

export type Queues = {
  emails: { to: string }
  media: Kinds<{ thumb: { file: string }; probe: { url: string } }>
}
