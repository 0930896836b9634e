/** How many lines of a kind are told one by one, before a sum takes their place. */
const toldOneByOne = 5
/** How long they are counted; each further sum of the same burst waits twice as long, up to the longest. */
const firstSumMs = 1_000
/** A burst ends when there was none for this long, too. */
const longestSumMs = 60_000

interface Burst {
  readonly say: (text: string) => void
  told: number
  /** Since the last sum. */
  untold: number
  /** Makes the last line that was not told. */
  last: () => string
  sumMs: number
  /** Since the last wait for a sum began, there was none. */
  isQuiet: boolean
  /** How long the waits without any were, in a row. */
  quietMs: number
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
  /** Say what was counted and not said, and begin anew. */
  end(): void
}

/**
 * A thousand jobs that fail within a second must not make a thousand lines: that costs more than the jobs, and hides
 * everything else. The first five of a kind are said at once. What follows is counted, and becomes one line with the
 * number and the last of them: after 1 s, 2 s, 4 s, and so on, then once per minute. A minute without any ends the
 * burst, so a steady trickle is a burst too.
 *
 * Its timers do not keep the process alive. What was counted and not said is said when the process exits.
 */
export function createThinning(): Thinning {
  const bursts = new Map<string, Burst>()

  function sum(kind: string): void {
    const burst = bursts.get(kind)
    if (burst === undefined) return
    burst.quietMs = burst.isQuiet ? burst.quietMs + burst.sumMs : 0
    if (burst.quietMs >= longestSumMs) {
      bursts.delete(kind)
      return
    }
    if (burst.untold > 0) sayUntold(burst)
    burst.sumMs = Math.min(2 * burst.sumMs, longestSumMs)
    wait(kind, burst)
  }

  function wait(kind: string, burst: Burst): void {
    burst.isQuiet = true
    burst.timer = setTimeout(sum, burst.sumMs, kind)
    burst.timer.unref()
  }

  function end(): void {
    for (const burst of bursts.values()) {
      clearTimeout(burst.timer)
      if (burst.untold > 0) sayUntold(burst)
    }
    bursts.clear()
    forget(end)
  }

  return {
    tell(kind, say, line) {
      let burst = bursts.get(kind)
      if (burst === undefined) {
        burst = { say, told: 0, untold: 0, last: line, sumMs: firstSumMs, isQuiet: false, quietMs: 0, timer: undefined }
        bursts.set(kind, burst)
        wait(kind, burst)
      }
      burst.isQuiet = false
      if (burst.told < toldOneByOne) {
        burst.told += 1
        say(line())
      } else {
        burst.untold += 1
        burst.last = line
        remember(end)
      }
    },
    end,
  }
}

function sayUntold(burst: Burst): void {
  burst.say(`${burst.untold} more of these; the last: ${burst.last()}`)
  burst.untold = 0
}

/** The ends of those that have counted: one listener serves all, since Node warns of many. */
const counting = new Set<() => void>()

function remember(end: () => void): void {
  if (counting.size === 0) process.on('exit', endAll)
  counting.add(end)
}

function forget(end: () => void): void {
  if (counting.delete(end) && counting.size === 0) process.off('exit', endAll)
}

function endAll(): void {
  for (const end of counting) end()
}
