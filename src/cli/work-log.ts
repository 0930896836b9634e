import type { Bugle } from '../bugle.js'
import { BugleError } from '../errors.js'
import type { Logger } from '../logging.js'
import { shown } from '../terminal/text.js'
import type { Output } from './output.js'
import { firstLine } from './records.js'

/** The library's logger on standard error: lines for people, or of JSON where standard output has JSON. */
export function workLogger(out: Output, stderr: NodeJS.WriteStream): Logger {
  const to = (level: keyof Logger) => (message: string) => {
    if (out.isJson) stderr.write(`${JSON.stringify({ level, message })}\n`)
    else out.note(shown(message))
  }
  return { info: to('info'), warn: to('warn'), error: to('error') }
}

/**
 * Prints failed claims, and with `verbose` each run. The logger prints everything else, jobs that failed for good above
 * all. No payload is ever printed.
 */
export function tellRuns(bugle: Bugle, log: Logger, verbose: boolean): void {
  const job = ({ queue, id, kind, attempt }: { queue: string; id: string; kind: string | null; attempt: number }) =>
    `job ${id} of ${JSON.stringify(queue)}${kind === null ? '' : `, kind ${JSON.stringify(kind)}`}, attempt ${attempt}`
  bugle.on('claim:error', ({ queue, error }) => {
    if (error instanceof BugleError && error.code === 'JOB_REFUSED') return
    log.warn(`a claim of ${JSON.stringify(queue)} failed, and is tried again: ${firstLine(error.message, 200)}`)
  })
  if (!verbose) return
  bugle.on('job:started', (data) => log.info(`${job(data)}: started after ${Math.round(data.waitMs)} ms`))
  bugle.on('job:acked', (data) => log.info(`${job(data)}: acked after ${Math.round(data.runMs)} ms`))
  bugle.on('job:retrying', (data) =>
    log.warn(`${job(data)}: again at ${data.retryAt.toISOString()}: ${firstLine(data.error.message, 200)}`),
  )
  bugle.on('job:partial', (data) => log.info(`${job(data)}: goes on at ${data.runAt.toISOString()}`))
  bugle.on('job:released', (data) => log.info(`${job(data)}: released`))
  bugle.on('job:interrupted', (data) => log.info(`${job(data)}: interrupted (${data.reason})`))
  bugle.on('job:timeout', (data) => log.warn(`${job(data)}: is past its ${data.timeoutMs} ms, and aborted`))
  bugle.on('job:stale', (data) => log.warn(`${job(data)}: its outcome came too late, and changed nothing`))
}
