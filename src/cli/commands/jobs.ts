import type { JobsFilter } from '../../admin/find.js'
import type { JobRecord } from '../../admin/record.js'
import { shown, sinceText } from '../../terminal/text.js'
import { type Cli, exitCodes } from '../cli.js'
import type { Output } from '../output.js'
import { attemptText, firstLine, stateText, toJson, valueText } from '../records.js'

interface JobsCommandOptions extends JobsFilter {
  readonly payload?: boolean
}

/**
 * `bugle jobs`. JSON: a JobRecord a line, without payload, progress and result unless `--payload`; then a last line
 * `{ "cursor" }`, for `--cursor`, null where there is no further page; with `--containing` also `isCut`: whether the
 * look has ended at its bound.
 */
export async function jobs({ out, bugle: open }: Cli, options: JobsCommandOptions): Promise<number> {
  const { payload: withPayload = false, ...filter } = options
  const page = await open().jobs({ ...filter, contents: withPayload })
  for (const job of page.jobs) out.json(toJson(job, withPayload))
  out.json({ cursor: page.cursor, ...('containing' in filter && { isCut: page.isCut }) })
  if (page.jobs.length === 0) out.note('no such jobs')
  else out.say(tableOf(out, page.jobs, withPayload))
  if (page.isCut)
    out.note(`no more payloads were read; there may be such jobs among the older ones: --cursor ${page.cursor}`)
  else if (page.cursor !== null) out.note(`there are more: --cursor ${page.cursor}`)
  return exitCodes.ok
}

function tableOf(out: Output, records: readonly JobRecord[], withPayload: boolean): string {
  const now = Date.now()
  const head = ['id', 'queue', 'kind', 'state', 'attempt', 'age', 'error', ...(withPayload ? ['payload'] : [])]
  const rows = records.map((job) => [
    job.id,
    shown(job.queue),
    shown(job.kind ?? ''),
    stateText(out, job.state),
    attemptText(job),
    sinceText(job.createdAt, now),
    firstLine(job.error?.message ?? '', 60),
    ...(withPayload ? [valueText(job.payload)] : []),
  ])
  return out.table(head, rows, ['right', 'left', 'left', 'left', 'left', 'right'])
}
