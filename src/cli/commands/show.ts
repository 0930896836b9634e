import type { JobError, JobRecord } from '../../admin/record.js'
import { shown } from '../../terminal/text.js'
import { type Cli, exitCodes, Refusal } from '../cli.js'
import type { Output } from '../output.js'
import { attemptText, firstLine, stateText, toJson, valueText } from '../records.js'

/**
 * `bugle show ID`: exit code 1 where there is no such job. JSON: a JobRecord, without payload, progress and result
 * unless `--payload`.
 */
export async function show(
  { out, bugle: open }: Cli,
  id: string,
  { payload: withPayload = false }: { readonly payload?: boolean },
): Promise<number> {
  const job = await open().job(id, { contents: withPayload })
  if (job === null) throw new Refusal(`there is no job ${id}: it never was, or was acked, or collected`)
  out.json(toJson(job, withPayload))
  const fields = [...fieldsOf(out, job), ...(withPayload ? contentsOf(job) : [])]
  out.say(fields.map(([name, text]) => `${out.paint('bold', name.padEnd(17))} ${text}`).join('\n'))
  return exitCodes.ok
}

type Field = readonly [name: string, text: string]

function fieldsOf(out: Output, job: JobRecord): Field[] {
  const fields: (readonly [name: string, text: string | null])[] = [
    ['id', job.id],
    ['queue', shown(job.queue)],
    ['kind', job.kind && shown(job.kind)],
    ['state', stateText(out, job.state)],
    ['attempt', attemptText(job)],
    ['priority', job.priority === 0 ? null : String(job.priority)],
    ['key', job.key && shown(job.key)],
    ['flags', job.flags.length === 0 ? null : job.flags.map(shown).join(', ')],
    ['timeout', job.timeoutMs === null ? null : `${job.timeoutMs} ms`],
    ['crashes', job.crashes === 0 ? null : String(job.crashes)],
    ['created', momentText(job.createdAt)],
    ['run at', momentText(job.runAt)],
    ['claimed', job.claimedAt && momentText(job.claimedAt)],
    ['finished', job.finishedAt && momentText(job.finishedAt)],
    ['waited', job.waitMs === null ? null : `${Math.round(job.waitMs)} ms`],
    ['ran', job.runMs === null ? null : `${Math.round(job.runMs)} ms`],
    ['worker', job.workerId],
    ['cancel requested', job.cancelRequestedAt && momentText(job.cancelRequestedAt)],
    ['error', job.error && errorText(job.error)],
    ['errors before', job.errors.length > 1 ? job.errors.slice(0, -1).map(shortError).join('\n') : null],
  ]
  return fields.filter((field): field is Field => field[1] !== null)
}

/** A column that somebody has written by hand may be later than a Date can be. */
function momentText(moment: Date): string {
  return Number.isNaN(moment.getTime()) ? 'after the year 275760' : moment.toISOString()
}

function contentsOf({ payload, progress, result }: JobRecord): Field[] {
  return [
    ['payload', valueText(payload)],
    ...(progress === null ? [] : [['progress', valueText(progress)] as const]),
    ...(result === null ? [] : [['result', valueText(result)] as const]),
  ]
}

/** In a line each, below the field's name. */
function shortError({ name = 'Error', message = '', attempt }: JobError, index: number): string {
  const line = `${attempt === undefined ? '' : `attempt ${attempt}: `}${firstLine(`${name}: ${message}`, 200)}`
  return index === 0 ? line : `  ${line}`
}

/** Why it failed, and the stack below it, if there is one. */
function errorText({ name = 'Error', message = '', stack, code, failedBy, attempt }: JobError): string {
  const about = [failedBy, code, attempt !== undefined && `attempt ${attempt}`].filter(Boolean).join(', ')
  const text = stack ?? `${name}: ${message}`
  const lines = String(text)
    .split('\n')
    .map((line) => `  ${shown(line)}`)
  return [shown(about), ...lines].join('\n')
}
