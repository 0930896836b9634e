/** Those who wait until a claim proves the queue empty. */
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
  end(): void
}

interface Waiting {
  readonly tell: () => void
  readonly orPaused: boolean
}

export function createProofs(): Proofs {
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
    },
    failed() {
      before = 0
    },
    end() {
      for (const { tell } of waiting.splice(0)) tell()
    },
  }
}
