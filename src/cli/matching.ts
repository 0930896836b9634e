import type { MatchFilter } from '../admin/matching.js'
import { UsageError } from './cli.js'

/** Options of a command that is for ids, for all jobs, or for those that a filter names. */
interface WhichOptions extends MatchFilter {
  readonly all?: boolean
}

/**
 * Which of the three was given: one, and no other.
 *
 * @param what - the command's name
 * @param orAll - what stands for all jobs, if the command has it
 * @returns the ids, each once; or the filter
 * @throws UsageError
 */
export function whichJobs<Filter extends WhichOptions>(
  what: string,
  ids: readonly string[],
  { all = false, ...filter }: Filter,
  orAll = ', or --all',
): { readonly ids: readonly string[] } | { readonly filter: Omit<Filter, 'all'> } {
  const { limit, ...which } = filter
  const isFiltered = Object.keys(which).length > 0
  if ([ids.length > 0, isFiltered, all].filter(Boolean).length !== 1) {
    throw new UsageError(
      `${what} needs ids, or options that say which jobs (such as --queue; not --limit alone)${orAll}`,
    )
  }
  if (ids.length > 0 && limit !== undefined) throw new UsageError('--limit is not for ids: give as many as you mean')
  return ids.length > 0 ? { ids: [...new Set(ids)] } : { filter }
}
