import { plural } from '../../terminal/text.js'
import { batchWork } from '../batches.js'
import { type Cli, UsageError } from '../cli.js'

interface CollectCommandOptions {
  readonly failedOlderThan?: number
  readonly archivedOlderThan?: number
  readonly limit?: number
}

/**
 * `bugle collect`. JSON: `{ "failed", "archived", "isComplete" }`; not complete: it was interrupted between two
 * batches.
 */
export async function collect(
  cli: Cli,
  { failedOlderThan, archivedOlderThan, limit }: CollectCommandOptions,
): Promise<number> {
  if (failedOlderThan === undefined && archivedOlderThan === undefined) {
    throw new UsageError('collect needs --failed-older-than, --archived-older-than or both')
  }
  const bugle = cli.bugle()
  const work = batchWork(cli, 'deleted')
  const report = await bugle.collect({
    ...(failedOlderThan !== undefined && { failedOlderThanMs: failedOlderThan }),
    ...(archivedOlderThan !== undefined && { archivedOlderThanMs: archivedOlderThan }),
    ...(limit !== undefined && { limit }),
    signal: work.signal,
    onProgress: work.onProgress,
  })
  return work.finish(
    report,
    `deleted: ${plural(report.failed, 'failed job')}, ${plural(report.archived, 'archived job')}`,
  )
}
