import type { DiscardFilter } from '../../admin/discard.js'
import type { MatchFilter } from '../../admin/matching.js'
import { plural } from '../../terminal/text.js'
import { batchWork } from '../batches.js'
import { type Cli, exitCodes, UsageError } from '../cli.js'
import { whichJobs } from '../matching.js'

interface DiscardCommandOptions extends MatchFilter {
  readonly state?: DiscardFilter['state']
}

/**
 * `bugle discard ID…`, or by a filter with `--state`. JSON: `{ "discarded", "isComplete" }`.
 *
 * Not complete, and exit code 1: some of the ids are of jobs that run, or of none. Not complete, and 130: it was
 * interrupted between two batches.
 */
export async function discard(cli: Cli, ids: readonly string[], options: DiscardCommandOptions): Promise<number> {
  const which = whichJobs('discard', ids, options, '')
  if ('ids' in which) return discardIds(cli, which.ids)
  const { state, ...rest } = which.filter
  if (state === undefined) throw new UsageError('discard needs --state: what it deletes is gone')
  return discardMatching(cli, { ...rest, state })
}

async function discardIds({ out, bugle: open }: Cli, ids: readonly string[]): Promise<number> {
  const discarded = await open().discard(ids)
  const missing = ids.length - discarded
  out.json({ discarded, isComplete: missing === 0 })
  const others = missing === 0 ? '' : `; ${missing} of ${ids.length} run, or are not there`
  out.say(`${plural(discarded, 'job')} discarded${others}`)
  return missing === 0 ? exitCodes.ok : exitCodes.trouble
}

async function discardMatching(cli: Cli, filter: DiscardFilter): Promise<number> {
  const bugle = cli.bugle()
  const work = batchWork(cli, 'discarded')
  const { signal, onProgress } = work
  const discarded = await bugle.discard(filter, { signal, onProgress })
  return work.finish({ discarded }, `${plural(discarded, 'job')} discarded`)
}
