/**
 * What a consumer has done: counters over its whole life, the pace of the last minute, and how long its last runs
 * waited and ran.
 *
 * It is fed with every job, so a run costs a few writes into arrays that are there already, and nothing is allocated
 * (measured in a loop: 25 ns of CPU a run). Whatever costs more, such as sorting, is done when somebody asks.
 */
export interface Tally {
  /** A run has ended, whatever with. `endedAt` on performance.now(). */
  ran(claimed: Ran, runMs: number, endedAt: number): void
  count(what: Counted): void
  readonly counts: Readonly<Record<Counted, number>>
  figures(now: number): Figures
}

interface Ran {
  readonly waitMs: number
  readonly job: { readonly crashes: number }
}

/** How a claimed job's way here ended; each ends in one of them. */
export type RunEnd =
  /** Acked. */
  | 'completed'
  | 'failed'
  /** It waits for its next attempt. */
  | 'retried'
  /** It ended with `release` or `partial`: it waits for a later run. */
  | 'deferred'
  /** Aborted by us: back, attempt given back. */
  | 'interrupted'
  /** Never begun: back, attempt given back. */
  | 'released'
  /** Its lease was no longer ours. */
  | 'stale'
  /** Nothing is known of it: the instance was closed first, or what was only to go back had been taken over. */
  | 'unknown'

type Counted = RunEnd | 'errors' | 'wakeUps' | 'sweepsThatFound' | 'timeouts'

interface Figures extends Pick<ConsumerStats, 'rescued' | 'perSecond' | 'waitMs' | 'runMs'> {}

/** Milliseconds, by nearest rank: each is a value that was measured. */
export interface Percentiles {
  readonly p50: number
  readonly p95: number
  readonly p99: number
  readonly max: number
}

/** What one consumer of this process has done since its start. */
export interface ConsumerStats {
  /** Its slots. */
  readonly concurrency: number
  /** Slots that are taken now. */
  readonly active: number
  /** Jobs acked. */
  readonly completed: number
  /** Jobs failed for good. */
  readonly failed: number
  /** Runs after which the job waits for its next attempt (`job:retrying`). */
  readonly retried: number
  /** Runs that ended with `release` or `partial`: their jobs wait for a later run. */
  readonly deferred: number
  /**
   * Jobs claimed and never begun; they went back, attempt given back. As in the StopReport: not the outcome `release`.
   */
  readonly released: number
  /** Runs that were aborted by us, a stop above all; their jobs went back, attempt given back. */
  readonly interrupted: number
  /** Runs whose outcome came too late, and changed nothing (`job:stale`). */
  readonly stale: number
  /** Runs that passed their `timeoutMs` (`job:timeout`). They are counted once more by how they ended. */
  readonly timeouts: number
  /** Runs of jobs that a process had died under (`job.crashes` above 0): given back by a rescue, and taken here. */
  readonly rescued: number
  /** Claims that failed, or what a consumer needs around them (`claim:error`); each was tried again. */
  readonly errors: number
  /** Notifications that woke it. Those that came while it was awake are not counted. */
  readonly wakeUps: number
  /** Sweeps that saw ready jobs while it slept, of which no notification had come. Others may have taken them first. */
  readonly sweepsThatFound: number
  /** Runs that ended, a second, over the last minute, or since its start if that is shorter. */
  readonly perSecond: number
  /** From when a job could run to its claim, by the database's clock, of the last up to 1,000 runs; null: none yet. */
  readonly waitMs: Percentiles | null
  /** The handlers' time, of the same runs. */
  readonly runMs: Percentiles | null
}

const keptRuns = 1_000
/** The second that goes on and those before it. */
const keptSeconds = 60

/** @param startedAt - on performance.now() */
export function createTally(startedAt: number): Tally {
  const counts: Record<Counted, number> = {
    completed: 0,
    failed: 0,
    retried: 0,
    deferred: 0,
    interrupted: 0,
    released: 0,
    stale: 0,
    unknown: 0,
    errors: 0,
    wakeUps: 0,
    sweepsThatFound: 0,
    timeouts: 0,
  }
  const waitMs = new Float64Array(keptRuns)
  const runMs = new Float64Array(keptRuns)
  let runs = 0
  let next = 0
  let rescued = 0
  /** Runs by the second in which they ended; `second` is the newest of them. */
  const perSecond = new Uint32Array(keptSeconds)
  let second = secondOf(startedAt)

  /** Seconds in which nothing ended have no runs, and those of a minute ago are over. */
  function turnTo(newest: number): void {
    const passed = Math.min(newest - second, keptSeconds)
    for (let ago = 0; ago < passed; ago += 1) perSecond[(newest - ago) % keptSeconds] = 0
    second = newest
  }

  function pace(now: number): number {
    if (secondOf(now) > second) turnTo(secondOf(now))
    const ended = perSecond.reduce((sum, runsThen) => sum + runsThen, 0)
    // The whole seconds that are kept, and what has passed of the one that goes on.
    const seenMs = Math.min(now - startedAt, now - (second - keptSeconds + 1) * 1_000)
    return ended / (Math.max(seenMs, 1_000) / 1_000)
  }

  return {
    counts,
    count(what) {
      counts[what] += 1
    },
    ran(claimed, tookMs, endedAt) {
      waitMs[next] = claimed.waitMs
      runMs[next] = tookMs
      next += 1
      if (next === keptRuns) next = 0
      runs += 1
      if (claimed.job.crashes > 0) rescued += 1
      if (endedAt >= (second + 1) * 1_000) turnTo(secondOf(endedAt))
      const at = second % keptSeconds
      perSecond[at] = (perSecond[at] ?? 0) + 1
    },
    figures(now) {
      const kept = Math.min(runs, keptRuns)
      return {
        rescued,
        perSecond: pace(now),
        waitMs: percentiles(waitMs.slice(0, kept)),
        runMs: percentiles(runMs.slice(0, kept)),
      }
    },
  }
}

function secondOf(ms: number): number {
  return Math.floor(ms / 1_000)
}

/** @param values - sorted in place */
function percentiles(values: Float64Array): Percentiles | null {
  if (values.length === 0) return null
  values.sort()
  const at = (share: number): number => values[Math.ceil(share * values.length) - 1] ?? Number.NaN
  return { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1) }
}
