import { byClaimOrder, type ClaimResult } from '../statements.js'

export function foundIn(results: readonly ClaimResult[]): number {
  return results.reduce((found, { claimed }) => found + claimed.found, 0)
}

export function withoutJobs(result: ClaimResult): ClaimResult {
  return { ...result, claimed: { ...result.claimed, found: 0, jobs: [] } }
}

/** One answer of several: all jobs, and the signs of the last. */
export function joined(limit: number, taken: readonly ClaimResult[], last: ClaimResult): ClaimResult {
  const jobs = [...taken, last].flatMap(({ claimed }) => claimed.jobs).sort(byClaimOrder)
  return {
    ...last,
    claimed: { ...last.claimed, asked: limit, found: jobs.length, jobs },
    tookMs: taken.reduce((ms, { tookMs }) => ms + tookMs, last.tookMs),
  }
}

/** An answer that came before an error: more jobs may be there, and nothing is proven. */
export function unproven({ claimed, ...rest }: ClaimResult): ClaimResult {
  return { ...rest, claimed: { ...claimed, leftBehind: true, xmin: 0n, target: 0n } }
}
