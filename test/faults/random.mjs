/**
 * Random numbers that a seed repeats (mulberry32).
 *
 * @param {number} seed
 */
export function createRandom(seed) {
  let state = seed >>> 0

  /** From 0 up to, not including, 1. */
  function next() {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }

  return {
    next,
    /**
     * A whole number from `from` to `to`.
     *
     * @param {number} from
     * @param {number} to
     */
    between: (from, to) => from + Math.floor(next() * (to - from + 1)),
    /**
     * @template T
     * @param {readonly T[]} list
     * @returns {T}
     */
    pick(list) {
      const picked = list[Math.floor(next() * list.length)]
      if (picked === undefined) throw new Error('nothing to pick from')
      return picked
    },
    /**
     * A name, as often as its weight says.
     *
     * @template {string} Name
     * @param {Readonly<Record<Name, number>>} weights
     * @returns {Name}
     */
    weighted(weights) {
      const all = /** @type {[Name, number][]} */ (Object.entries(weights))
      let left = next() * all.reduce((sum, [, weight]) => sum + weight, 0)
      for (const [name, weight] of all) {
        left -= weight
        if (left < 0) return name
      }
      throw new Error('no weights')
    },
  }
}

/** @typedef {ReturnType<typeof createRandom>} Random */
