import { setTimeout as sleep } from 'node:timers/promises'

/**
 * Looks until the answer is truthy, with a pause of 5 ms between two looks: each look takes time from what the test
 * waits for. The test's own time-out ends it.
 *
 * @returns the last look's answer
 */
export async function until<T>(look: () => T | Promise<T>): Promise<Exclude<T, false | null | undefined>> {
  for (;;) {
    const answer = await look()
    if (answer) return answer as Exclude<T, false | null | undefined>
    await sleep(5)
  }
}
