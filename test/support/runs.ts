/** Adds one to a key's count. */
export function countUp<Key>(counts: Map<Key, number>, key: Key): void {
  counts.set(key, (counts.get(key) ?? 0) + 1)
}

/** The counts when each of these jobs has run once, by id, as `sorted` has them. */
export function onceEach(ids: readonly string[]): Map<string, number> {
  return new Map(ids.toSorted().map((id) => [id, 1]))
}

/** The counts in the order of the ids: `toEqual` then shows the difference in a readable way. */
export function sorted(runs: Map<string, number>): Map<string, number> {
  return new Map([...runs].toSorted(([one], [other]) => (one < other ? -1 : 1)))
}

/** More jobs than one claim takes, many times over. */
export const many = 5_000

/** The numbers from 0 up, as payloads of `many` jobs. A test takes a slice of them. */
export const payloads = Array.from({ length: many }, (_, index) => index)
