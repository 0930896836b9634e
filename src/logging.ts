import { types } from 'node:util'
import createDebug from 'debug'
import { BugleError, describe, toError } from './errors.js'
import type { EventSource, FailureCause, JobEvent } from './events.js'
import { shown } from './terminal/shown.js'
import { createThinning } from './thinning.js'

const log = createDebug('bugle:logging')

/** Between two lines about retries of one queue. */
const betweenRetriesMs = 3_600_000

/**
 * Where an operator reads. Each function is given one line of text, as a method of this object; what it returns is
 * ignored.
 */
export interface Logger {
  /** All is well again, or a change that was asked for. */
  info(message: string): unknown
  /** Something that goes on by itself, and that an operator should look at. */
  warn(message: string): unknown
  /**
   * What somebody should mend: a job that failed for good, a callback that threw, a handler that did not give the
   * outcome that it made, handlers that were aborted since this process was taken for dead.
   */
  error(message: string): unknown
}

/** Where lines go: to the application's logger, to standard error, or nowhere. */
export type LogTarget = Logger | 'standard error' | 'nowhere'

/**
 * @param value - undefined: standard error; false: nowhere
 * @throws BugleError `INVALID_OPTION`
 */
export function loggerOption(value: unknown): LogTarget {
  if (value === undefined) return 'standard error'
  if (value === false) return 'nowhere'
  const isLogger =
    ((typeof value === 'object' && value !== null) || typeof value === 'function') &&
    (['info', 'warn', 'error'] as const).every(
      (name) => name in value && typeof Reflect.get(value, name) === 'function',
    )
  if (isLogger) return value as Logger
  const rule = 'must have the functions info, warn and error, or be false'
  throw new BugleError('INVALID_OPTION', `logger ${rule}; got ${describe(value)}`)
}

interface Log {
  /**
   * Tell what is no event, since it is about how the program was set up. Where lines go to standard error, this becomes
   * a warning of Node's (`process.emitWarning`), by which a program can look for the code.
   *
   * @param code - stays what it is
   */
  readonly warn: (code: string, message: string) => void
  /** A line that is no event, about something that goes on by itself. */
  readonly say: (message: string) => void
  /** Say what was counted and not said yet. */
  end(): void
}

/**
 * One line for each event that an operator should know of: jobs that failed for good, what is wrong with the database,
 * with other workers, with handlers that do not end. Nothing of single jobs that run as they should, and never a
 * payload, a result or progress. A burst of one kind becomes sums (`createThinning`).
 *
 * Standard error hears all but `info`, and of that what takes a warning back: an outage is over. It is written to by
 * `console.error`, not by `process.emitWarning`: a failed job is no mistake of the program's set-up, so it must not
 * vanish with `--no-warnings`, nor with a `process.exit` in the same turn, nor bring a stack of ours with it.
 */
export function logEvents(events: Pick<EventSource, 'on'>, target: LogTarget, now = () => performance.now()): Log {
  if (target === 'nowhere') return { warn() {}, say() {}, end() {} }
  const isOurs = target === 'standard error'
  const to = safely(isOurs ? standardError : target)
  const thinning = createThinning()
  /** The level of a line that takes a warning back. */
  const relief = isOurs ? 'warn' : 'info'
  let isDeafTold = false
  /** By queue: when the last line about its retries was said, and how many there were since. */
  const retries = new Map<string, { saidAt: number; untold: number }>()

  function tell(kind: string, level: keyof Logger, line: () => string): void {
    thinning.tell(`${kind} ${level}`, to[level], line)
  }

  events.on('database:down', ({ error }) =>
    to.warn(`the database cannot be reached: ${inOneLine(error)}; what waits for it goes on by itself`),
  )
  events.on('database:up', ({ downMs }) => to[relief](`the database is back after ${seconds(downMs)}`))
  events.on('database:moved', ({ from, to: next }) =>
    to.warn(`the database is on another server: ${next}, not ${from}`),
  )
  events.on('database:outdated', ({ error }) => to.error(inOneLine(error)))
  events.on('database:split', ({ error }) => to.error(inOneLine(error)))
  events.on('listener:health', ({ from, to: next }) => {
    if (next === 'live') to[isDeafTold ? relief : 'info']('notifications arrive')
    if (next === 'polling' && from === 'live') {
      to.warn('notifications do not arrive; jobs are found by sweeps until they do')
    }
    isDeafTold = next === 'polling' && (isDeafTold || from === 'live')
  })
  events.on('consumer:unprotected', ({ queue, reason, pid }) => {
    const of = `the consumer of ${describe(queue)} cannot sleep under its lock and sweeps every second`
    if (reason === 'limit') to.warn(`${of}: this process holds as many such locks as it may`)
    if (reason === 'blocked') {
      to.warn(`${of}: ${pid === null ? 'somebody' : `backend ${pid}`} holds the lock exclusively`)
    }
    if (reason === 'down') to.info(`${of}: the control session is lost`)
  })
  events.on('claim:error', ({ queue, error }) => {
    // Other errors of claims pass, or are those of the whole database.
    if (!(error instanceof BugleError && error.code === 'JOB_REFUSED')) return
    tell(`claim:error ${queue}`, 'warn', () => `${describe(queue)}: ${inOneLine(error)}`)
  })
  events.on('worker:rescued', ({ deadWorkerId, jobs }) =>
    to.warn(
      deadWorkerId === '0'
        ? `jobs that were running without a worker, as somebody has written them, were given back: ${jobs}`
        : `worker ${deadWorkerId} is dead or was given up; ${jobs} of its jobs were given back`,
    ),
  )
  events.on('worker:lost', ({ workerId, newWorkerId }) =>
    to.error(`this worker, ${workerId}, was given up by others and its handlers aborted; it goes on as ${newWorkerId}`),
  )
  events.on('worker:blocked', ({ workerId, pid }) =>
    to.warn(
      `${pid === null ? 'somebody' : `backend ${pid}`} holds a lock on the row of this worker, ${workerId}, ` +
        'or on its table: heartbeats wait for it',
    ),
  )
  events.on('worker:lag', ({ ms }) =>
    tell(
      'worker:lag',
      'warn',
      () => `the event loop was blocked for ${seconds(ms)}; nothing is claimed until it runs freely`,
    ),
  )
  events.on('job:failed', (job) => {
    tell(
      `job:failed ${job.queue}`,
      failureLevels[job.cause] ?? 'error',
      () => `${about(job)} failed for good at attempt ${job.attempt} (${job.cause}): ${withPlace(job.error)}`,
    )
  })
  events.on('job:retrying', (job) => {
    // The first: while somebody writes a handler, a silence until the last retry would be long. Then one per hour: with
    // a strategy that never gives up nothing else would be said.
    const said = retries.get(job.queue)
    if (said !== undefined && now() - said.saidAt < betweenRetriesMs) {
      said.untold += 1
      return
    }
    retries.set(job.queue, { saidAt: now(), untold: 0 })
    const others =
      said === undefined
        ? 'further retries of this queue are one line per hour'
        : `${said.untold} more of this queue since the last such line`
    to.warn(
      `${about(job)} failed at attempt ${job.attempt}, and runs again at ${job.retryAt.toISOString()}: ` +
        `${withPlace(job.error)} (${others})`,
    )
  })
  events.on('job:stuck', (job) =>
    tell(
      `job:stuck ${job.queue}`,
      'warn',
      () =>
        `the handler of ${about(job)} goes on ${seconds(job.ageMs)} after its start, though aborted (${job.reason})`,
    ),
  )
  events.on('callback:error', ({ queue, where, error }) =>
    tell(`callback:error ${where} ${queue}`, 'error', () =>
      where === 'handler' ? inOneLine(error) : `a callback threw (${where}): ${inOneLine(error)}`,
    ),
  )
  return { warn: isOurs ? emitWarning : (_code, message) => to.warn(message), say: to.warn, end: thinning.end }
}

/** By weight; all others are errors. */
const failureLevels: { readonly [Cause in FailureCause]?: keyof Logger } = {
  // The handler has said so.
  rejected: 'warn',
  // Somebody has asked for it.
  cancelled: 'info',
}

/** `console.error` does not mind a standard error that is closed. */
const standardError: Logger = {
  info() {},
  warn: (message) => console.error(shown(message)),
  error: (message) => console.error(shown(message)),
}

function emitWarning(code: string, message: string): void {
  process.emitWarning(message, { type: 'BugleWarning', code })
}

/** Called as methods, since some loggers need their `this`. A logger may not hurt, not even later. */
function safely(logger: Logger): Logger {
  function to(level: keyof Logger) {
    return (message: string): void => {
      try {
        const returned = logger[level](`bugle: ${message}`)
        if (types.isPromise(returned)) returned.catch(broken)
      } catch (thrown) {
        broken(thrown)
      }
    }
  }
  return { info: to('info'), warn: to('warn'), error: to('error') }
}

// Told nowhere else: callback:error would come back here.
function broken(thrown: unknown): void {
  log('the logger threw: %s', toError(thrown).message)
}

function about({ queue, id, kind }: JobEvent): string {
  return `job ${id} of ${describe(queue)}${kind === null ? '' : `, kind ${describe(kind)},`}`
}

/** With where it was thrown, if that was not in ours. */
function withPlace(error: Error): string {
  const place = error instanceof BugleError ? undefined : placeOf(error)
  return place === undefined ? inOneLine(error) : `${inOneLine(error)} (${place})`
}

/** The first place of the stack that is neither in Node nor in a package. */
function placeOf(error: Error): string | undefined {
  try {
    const lines = String(error.stack).split('\n')
    const frames = lines.filter((line) => /^\s+at /.test(line) && !/node:|node_modules/.test(line))
    // What is built in, such as JSON.parse, has none. A path with blanks stands in brackets, unless it is a bare frame.
    const places = frames.map((line) => /(?:\((.+:\d+:\d+)\)|([^\s()]+:\d+:\d+))$/.exec(line))
    const place = places.find((found) => found !== null)
    return place?.[1] ?? place?.[2]
  } catch {
    // A stack may be a getter that throws.
    return undefined
  }
}

function inOneLine(error: Error): string {
  const told = [error.message, beneath(error)].filter((each) => each !== '').join(': ')
  const text = `${error.name}: ${told}`.replaceAll(/\s+/g, ' ')
  return text.length > 300 ? `${text.slice(0, 300)}…` : text
}

/** What it is made of, or its cause, where that says more: a `localhost` that refuses twice, `fetch failed`. */
function beneath(error: Error): string {
  try {
    const { message, cause } = error
    const parts = error instanceof AggregateError ? error.errors : cause instanceof Error ? [cause] : []
    const more = parts.map((part) => toError(part).message).filter((each) => each !== '' && !message.includes(each))
    return [...new Set(more)].join('; ')
  } catch {
    // A cause may be a getter that throws, too.
    return ''
  }
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`
}
