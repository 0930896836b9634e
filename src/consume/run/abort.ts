import type { Run, Runs } from './runs.js'

/** Abort those of the runs that are meant. */
export type Abort = (isMeant: (run: Run) => boolean, ...reason: Parameters<Run['abort']>) => void

export function abortOf(runs: Runs): Abort {
  return (isMeant, ...reason) => {
    for (const run of runs.all()) if (isMeant(run)) run.abort(...reason)
  }
}
