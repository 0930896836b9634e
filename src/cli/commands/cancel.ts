import type { CancelFilter } from '../../admin/cancel.js'
import { jobId } from '../../checks.js'
import { plural } from '../../terminal/text.js'
import { batchWork } from '../batches.js'
import { type Cli, exitCodes } from '../cli.js'
import { whichJobs } from '../matching.js'

interface CancelCommandOptions extends CancelFilter {
  readonly all?: boolean
}

const answers = {
  cancelled: 'cancelled',
  requested: 'requested: it runs, and has its signal aborted',
  'not-found': 'not found: it is over, or never was',
} as const

/**
 * `bugle cancel ID…`: exit code 1 where one was not found. JSON: `{ "id", "answer" }` an id; `answer` is 'cancelled',
 * 'requested' or 'not-found'.
 *
 * By a filter, or `--all`: JSON: `{ "cancelled", "isComplete" }`, where those count that run and are to end.
 */
export async function cancel(cli: Cli, ids: readonly string[], options: CancelCommandOptions): Promise<number> {
  const which = whichJobs('cancel', ids, options)
  return 'ids' in which ? cancelIds(cli, which.ids) : cancelMatching(cli, which.filter)
}

async function cancelIds({ out, bugle: open }: Cli, ids: readonly string[]): Promise<number> {
  // Before the first of them is cancelled.
  for (const id of ids) jobId(id)
  const bugle = open()
  let code: number = exitCodes.ok
  for (const id of ids) {
    const answer = await bugle.cancel(id)
    if (answer === 'not-found') code = exitCodes.trouble
    out.json({ id, answer })
    out.say(`${id}: ${out.paint(answer === 'not-found' ? 'yellow' : 'green', answers[answer])}`)
  }
  return code
}

async function cancelMatching(cli: Cli, filter: CancelFilter): Promise<number> {
  const bugle = cli.bugle()
  const work = batchWork(cli, 'cancelled')
  const { signal, onProgress } = work
  const cancelled = await bugle.cancel(filter, { signal, onProgress })
  return work.finish({ cancelled }, `${plural(cancelled, 'job')} cancelled, or to end`)
}
