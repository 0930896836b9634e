import { types } from 'node:util'
import createDebug from 'debug'
import { BugleError, describe, toError } from './errors.js'
import type { EventSource } from './events.js'

const log = createDebug('bugle:logging')

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
   * What somebody should mend: a callback that threw, a handler that did not give the outcome that it made, handlers
   * that were aborted since this process was taken for dead.
   */
  error(message: string): unknown
}

/** What is wrong with how the program was set up: a line, and a code that stays what it is. */
type Warn = (code: string, message: string) => void

/** @throws BugleError `INVALID_OPTION` */
export function loggerOption(value: unknown): Logger {
  const isLogger =
    ((typeof value === 'object' && value !== null) || typeof value === 'function') &&
    (['info', 'warn', 'error'] as const).every(
      (name) => name in value && typeof Reflect.get(value, name) === 'function',
    )
  if (isLogger) return value as Logger
  throw new BugleError('INVALID_OPTION', `logger must have the functions info, warn and error; got ${describe(value)}`)
}

/**
 * One line for each event that an operator should know of: what is wrong with the database, with other workers, with
 * handlers that do not end. Nothing of single jobs that run as they should, and never a payload, a result or progress.
 *
 * @param logger - null: no line for events: an application without a logger listens to them itself, or does not want
 *   them
 * @returns for what is no event, since it is about how the program was set up; without a logger its warnings and errors
 *   become Node's (`process.emitWarning`)
 */
export function logEvents(events: Pick<EventSource, 'on'>, logger: Logger | null): Warn {
  if (logger === null) return emitWarning
  const to = safely(logger)

  events.on('database:down', ({ error }) => to.warn(`the database cannot be reached: ${inOneLine(error)}`))
  events.on('database:up', ({ downMs }) => to.info(`the database is back after ${seconds(downMs)}`))
  events.on('database:moved', ({ from, to: next }) =>
    to.warn(`the database is on another server: ${next}, not ${from}`),
  )
  events.on('database:outdated', ({ error }) => to.error(inOneLine(error)))
  events.on('database:split', ({ error }) => to.error(inOneLine(error)))
  events.on('listener:health', ({ from, to: next }) => {
    if (next === 'live') to.info('notifications arrive')
    if (next === 'polling' && from === 'live') {
      to.warn('notifications do not arrive; jobs are found by sweeps until they do')
    }
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
    if (error instanceof BugleError && error.code === 'JOB_REFUSED') to.warn(`${describe(queue)}: ${inOneLine(error)}`)
  })
  events.on('worker:rescued', ({ deadWorkerId, jobs }) =>
    to.warn(`worker ${deadWorkerId} is dead or was given up; ${jobs} of its jobs were given back`),
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
    to.warn(`the event loop was blocked for ${seconds(ms)}; nothing is claimed until it runs freely`),
  )
  events.on('job:stuck', ({ queue, id, reason, ageMs }) =>
    to.warn(
      `the handler of job ${id} of ${describe(queue)} goes on ${seconds(ageMs)} after its start, ` +
        `though aborted (${reason})`,
    ),
  )
  events.on('callback:error', ({ where, error }) =>
    to.error(where === 'handler' ? inOneLine(error) : `a callback threw (${where}): ${inOneLine(error)}`),
  )
  return (_code, message) => to.warn(message)
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

function inOneLine({ name, message }: Error): string {
  const text = `${name}: ${message}`.replaceAll(/\s+/g, ' ')
  return text.length > 300 ? `${text.slice(0, 300)}…` : text
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`
}
