import { expect, onTestFinished, test } from 'vitest'
import { jobRefused } from '../../src/errors.js'
import { createEvents } from '../../src/events.js'
import { logEvents } from '../../src/logging.js'
import { resolveBugleOptions } from '../../src/options.js'

const job = { queue: 'q', id: '7', kind: null, attempt: 1, workerId: '9' }

/** Each event that is logged, with what no line may show: line ends, and payloads there are none. */
function tellAll(events: ReturnType<typeof createEvents>): void {
  const error = new Error('first line\n  second line')
  events.emit('database:down', { queue: null, error })
  events.emit('database:up', { queue: null, downMs: 1_234 })
  events.emit('listener:health', { queue: null, from: 'connecting', to: 'live' })
  events.emit('listener:health', { queue: null, from: 'live', to: 'polling' })
  events.emit('listener:health', { queue: null, from: 'polling', to: 'stopped' })
  events.emit('consumer:unprotected', { queue: 'q', reason: 'limit', pid: null })
  events.emit('consumer:unprotected', { queue: 'q', reason: 'blocked', pid: 17 })
  events.emit('consumer:unprotected', { queue: 'q', reason: 'down', pid: null })
  events.emit('claim:error', { queue: 'q', error: jobRefused('7', 'cannot be claimed', error) })
  events.emit('worker:rescued', { queue: null, deadWorkerId: '8', jobs: 3 })
  events.emit('worker:lost', { queue: null, workerId: '9', newWorkerId: '10' })
  events.emit('worker:lag', { queue: null, ms: 2_000 })
  events.emit('job:stuck', { ...job, reason: 'TIMEOUT', ageMs: 12_000 })
  events.emit('callback:error', { queue: null, where: 'listener', error })
  // And what is everyday's.
  events.emit('claim:error', { queue: 'q', error })
  events.emit('job:started', { ...job, waitMs: 1 })
  events.emit('job:acked', { ...job, runMs: 1 })
  events.emit('job:failed', { ...job, error, cause: 'exhausted', runMs: 1 })
}

test('what an operator should know is one line each, by the functions of the logger as its methods', () => {
  const lines: string[] = []
  class Logger {
    private readonly to = lines
    info(line: string): void {
      this.to.push(`info ${line}`)
    }
    warn(line: string): void {
      this.to.push(`warn ${line}`)
    }
    error(line: string): void {
      this.to.push(`error ${line}`)
    }
  }
  const events = createEvents()
  logEvents(events, resolveBugleOptions({ logger: new Logger() }, {}).logger)
  tellAll(events)
  expect(lines).toEqual([
    'warn bugle: the database cannot be reached: Error: first line second line',
    'info bugle: the database is back after 1.2 s',
    'info bugle: notifications arrive',
    'warn bugle: notifications do not arrive; jobs are found by sweeps until they do',
    'warn bugle: the consumer of "q" cannot sleep under its lock and sweeps every second: this process holds as ' +
      'many such locks as it may',
    'warn bugle: the consumer of "q" cannot sleep under its lock and sweeps every second: backend 17 holds the ' +
      'lock exclusively',
    'info bugle: the consumer of "q" cannot sleep under its lock and sweeps every second: the control session is lost',
    'warn bugle: "q": BugleError: job 7 cannot be claimed: first line second line',
    'warn bugle: worker 8 is dead or was given up; 3 of its jobs were given back',
    'error bugle: this worker, 9, was given up by others and its handlers aborted; it goes on as 10',
    'warn bugle: the event loop was blocked for 2.0 s; nothing is claimed until it runs freely',
    'warn bugle: the handler of job 7 of "q" goes on 12.0 s after its start, though aborted (TIMEOUT)',
    'error bugle: a callback threw (listener): Error: first line second line',
  ])
})

test('without a logger events are silent; a wrong set-up becomes a warning of Node, with a code', async () => {
  const warnings: (Error & { code?: string })[] = []
  const listener = (warning: Error): number => warnings.push(warning)
  process.on('warning', listener)
  onTestFinished(() => void process.off('warning', listener))
  const events = createEvents()
  const warn = logEvents(events, resolveBugleOptions({}, {}).logger)
  tellAll(events)
  warn('BUGLE_DEAF', 'a line')
  // Node emits them in the next turn.
  await new Promise((resolve) => setImmediate(resolve))
  expect(warnings.map(({ name, code, message }) => [name, code, message])).toEqual([
    ['BugleWarning', 'BUGLE_DEAF', 'a line'],
  ])
})

test('a logger that throws, or whose promise rejects, hurts nobody', async () => {
  const hurt = (): never => {
    throw 'out of disk'
  }
  const events = createEvents()
  const warn = logEvents(events, { info: hurt, warn: async () => hurt(), error: hurt })
  tellAll(events)
  warn('BUGLE_DEAF', 'a line')
  // An unhandled rejection would end the run.
  await new Promise((resolve) => setImmediate(resolve))
})

test('a logger that is none is refused', () => {
  for (const logger of [null, 'console', {}, { info() {}, warn() {} }]) {
    expect(() => resolveBugleOptions({ logger } as object, {})).toThrow(
      /^logger must have the functions info, warn and error; got/,
    )
  }
  for (const logger of [console, Object.assign(() => {}, console)]) {
    expect(resolveBugleOptions({ logger }, {}).logger).toBe(logger)
  }
})
