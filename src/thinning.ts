/** How many lines of a kind are told one by one, before a sum takes their place. */
const toldOneByOne = 5
/** How long they are counted; each further sum of the same burst waits twice as long, up to the longest. */
const firstSumMs = 1_000
const longestSumMs = 60_000

interface Burst {
  readonly say: (text: string) => void
  told: number
  /** Since the last sum. */
  untold: number
  /** Makes the last line that was not told. */
  last: () => string
  sumMs: number
  timer: NodeJS.Timeout | undefined
}

/** Lines of a log, of which a burst leaves a few and sums. */
interface Thinning {
  /**
   * Say a line, or count it.
   *
   * @param kind - lines of one kind make a burst together
   * @param line - called only if the line is said
   */
  tell(kind: string, say: (text: string) => void, line: () => string): void
  /** Say the sums that are due, and begin anew. */
  end(): void
}

/**
 * A thousand jobs that fail within a second must not make a thousand lines: that costs more than the jobs, and hides
 * everything else. The first five of a kind are said at once. What follows within a second is counted, and becomes one
 * line with the number and the last of them; while it goes on, a sum comes after 2 s, 4 s, and so on, then each minute.
 * A wait without any ends the burst.
 *
 * Its timers do not keep the process alive: call `end` before it ends.
 */
export function createThinning(): Thinning {
  const bursts = new Map<string, Burst>()

  function sum(kind: string): void {
    const burst = bursts.get(kind)
    if (burst === undefined) return
    if (burst.untold === 0) {
      bursts.delete(kind)
      return
    }
    sayUntold(burst)
    burst.sumMs = Math.min(2 * burst.sumMs, longestSumMs)
    wait(kind, burst)
  }

  function wait(kind: string, burst: Burst): void {
    burst.timer = setTimeout(sum, burst.sumMs, kind)
    burst.timer.unref()
  }

  return {
    tell(kind, say, line) {
      let burst = bursts.get(kind)
      if (burst === undefined) {
        burst = { say, told: 0, untold: 0, last: line, sumMs: firstSumMs, timer: undefined }
        bursts.set(kind, burst)
        wait(kind, burst)
      }
      if (burst.told < toldOneByOne) {
        burst.told += 1
        say(line())
      } else {
        burst.untold += 1
        burst.last = line
      }
    },
    end() {
      for (const burst of bursts.values()) {
        clearTimeout(burst.timer)
        if (burst.untold > 0) sayUntold(burst)
      }
      bursts.clear()
    },
  }
}

function sayUntold(burst: Burst): void {
  burst.say(`${burst.untold} more of these; the last: ${burst.last()}`)
  burst.untold = 0
}
