import { backoff } from '../../backoff.js'

/** Pauses between the tries of what failed. All that are under way end when somebody gets through to the database. */
export interface Pauses {
  /**
   * It does not keep the process alive: once the instance is closed, that may end before the database is back.
   *
   * @param tries - that have failed, in a row
   * @returns whether it was cut short: then the next try is as good as the first
   */
  after(tries: number): Promise<boolean>
  cutShort(): void
}

const pauseMs = { least: 25, most: 1_000 } as const

export function createPauses(random: () => number): Pauses {
  const underWay = new Set<() => void>()
  return {
    after(tries) {
      return new Promise((resolve) => {
        const end = (isCutShort: boolean): void => {
          clearTimeout(timer)
          underWay.delete(cut)
          resolve(isCutShort)
        }
        const cut = (): void => end(true)
        const timer = setTimeout(end, backoff(pauseMs, tries, random), false).unref()
        underWay.add(cut)
      })
    },
    cutShort() {
      for (const cut of underWay) cut()
    },
  }
}
