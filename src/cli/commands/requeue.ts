import type { RequeueFilter } from '../../admin/requeue.js'
import { plural } from '../../terminal/text.js'
import { batchWork } from '../batches.js'
import { type Cli, exitCodes } from '../cli.js'
import { whichJobs } from '../matching.js'

interface RequeueCommandOptions extends RequeueFilter {
  readonly all?: boolean
}

/**
 * `bugle requeue ID…`, by a filter, or `--all`; `--limit` beside either of the last two. JSON: `{ "requeued",
 * "isComplete" }`.
 *
 * Not complete, and exit code 1: some of the ids are no failed or archived jobs, or another job has their key. Not
 * complete, and 130: it was interrupted between two batches.
 */
export async function requeue(cli: Cli, ids: readonly string[], options: RequeueCommandOptions): Promise<number> {
  const which = whichJobs('requeue', ids, options)
  return 'ids' in which ? requeueIds(cli, which.ids) : requeueMatching(cli, which.filter)
}

async function requeueIds({ out, bugle: open }: Cli, ids: readonly string[]): Promise<number> {
  const requeued = await open().requeue(ids)
  const missing = ids.length - requeued
  out.json({ requeued, isComplete: missing === 0 })
  const others = missing === 0 ? '' : `; ${missing} of ${ids.length} are neither failed nor archived`
  out.say(`${plural(requeued, 'job')} requeued${others}`)
  return missing === 0 ? exitCodes.ok : exitCodes.trouble
}

async function requeueMatching(cli: Cli, filter: RequeueFilter): Promise<number> {
  const bugle = cli.bugle()
  const work = batchWork(cli, 'requeued')
  const { signal, onProgress } = work
  const requeued = await bugle.requeue(filter, { signal, onProgress })
  return work.finish({ requeued }, `${plural(requeued, 'job')} requeued`)
}
