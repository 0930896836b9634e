/**
 * Those who wait until a claim proves the queue empty. A claim that leaves jobs behind (others have them locked, or due
 * ones become ready in this moment) proves nothing, and where K cannot be had nobody may tell when that is over. So
 * while somebody waits, the loop claims again by itself.
 */
export interface Proofs {
  /**
   * Resolves when a claim that begins after this call has proven the queue empty; or at `end`.
   *
   * @param orPaused - or has found it paused
   */
  wait(orPaused: boolean): Promise<void>
  /** A claim is about to be sent. @returns whether somebody waits for what it proves */
  begin(): boolean
  /** It was answered. */
  answered(is: { readonly empty: boolean; readonly paused: boolean }): void
  /** It was not: the next one may prove it. */
  failed(): void
  /** After how many ms to claim again at the latest; Infinity: nobody waits. */
  readonly againMs: number
  end(): void
}

interface Waiting {
  readonly tell: () => void
  readonly orPaused: boolean
}

/** Doubled with each claim that proves nothing. */
const proveAgainMs = { least: 10, most: 1_000 } as const

export function createProofs(): Proofs {
  let againMs: number = proveAgainMs.least
  let waiting: Waiting[] = []
  /** Of those, the ones that the claim in flight may tell. */
  let before = 0
  return {
    wait: (orPaused) => new Promise((tell) => void waiting.push({ tell, orPaused })),
    begin() {
      before = waiting.length
      return before > 0
    },
    answered({ empty, paused }) {
      if (before === 0) return
      const asked = waiting.slice(0, before)
      const isTold = ({ orPaused }: Waiting): boolean => empty || (paused && orPaused)
      waiting = waiting.filter((one, at) => at >= before || !isTold(one))
      before = 0
      for (const one of asked) if (isTold(one)) one.tell()
      againMs = waiting.length === 0 ? proveAgainMs.least : Math.min(2 * againMs, proveAgainMs.most)
    },
    get againMs() {
      return waiting.length === 0 ? Number.POSITIVE_INFINITY : againMs
    },
    failed() {
      before = 0
    },
    end() {
      for (const { tell } of waiting.splice(0)) tell()
    },
  }
}
