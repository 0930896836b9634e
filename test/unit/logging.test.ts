import { expect, onTestFinished, test, vi } from 'vitest'
import { BugleError, jobRefused } from '../../src/errors.js'
import { createEvents } from '../../src/events.js'
import { logEvents } from '../../src/logging.js'
import { resolveBugleOptions } from '../../src/options.js'

const job = { queue: 'q', id: '7', kind: null, attempt: 1, workerId: '9' }
const ended = { ...job, runMs: 1 }

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
  events.emit('job:failed', { ...ended, error, cause: 'exhausted' })
  const refusal = new BugleError('REJECTED', 'no such user')
  events.emit('job:failed', { ...ended, kind: 'k', error: refusal, cause: 'rejected' })
  events.emit('job:failed', { ...ended, error: refusal, cause: 'cancelled' })
  const retry = { ...ended, error, retryAt: new Date('2030-01-01'), retriesLeft: 3 }
  events.emit('job:retrying', retry)
  // And what is everyday's.
  events.emit('job:retrying', retry)
  events.emit('claim:error', { queue: 'q', error })
  events.emit('job:started', { ...job, waitMs: 1 })
  events.emit('job:acked', { ...job, runMs: 1 })
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
    'warn bugle: the database cannot be reached: Error: first line second line; what waits for it goes on by itself',
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
    expect.stringMatching(
      /^error bugle: job 7 of "q" failed for good at attempt 1 \(exhausted\): Error: .* \(\S+logging.test.ts:[\d:]+\)$/,
    ),
    'warn bugle: job 7 of "q", kind "k", failed for good at attempt 1 (rejected): BugleError: no such user',
    'info bugle: job 7 of "q" failed for good at attempt 1 (cancelled): BugleError: no such user',
    expect.stringMatching(
      /^warn bugle: job 7 of "q" failed at attempt 1, and runs again at 2030-01-01T00:00:00.000Z: Error: first line/,
    ),
  ])
})

/** What goes to standard error, by `console.error`. */
function printed(): string[] {
  const lines: string[] = []
  const print = vi.spyOn(console, 'error').mockImplementation((line) => void lines.push(line))
  onTestFinished(() => print.mockRestore())
  return lines
}

/** What goes to `process.emitWarning`; Node emits it in the next turn. */
function nodeWarnings(): (Error & { code?: string })[] {
  const warnings: (Error & { code?: string })[] = []
  const listener = (warning: Error): number => warnings.push(warning)
  process.on('warning', listener)
  onTestFinished(() => void process.off('warning', listener))
  return warnings
}

test('without a logger standard error has what went wrong; a wrong set-up is a warning of Node', async () => {
  const warnings = nodeWarnings()
  const lines = printed()
  const events = createEvents()
  const { warn } = logEvents(events, resolveBugleOptions({}, {}).logger)
  tellAll(events)
  warn('BUGLE_DEAF', 'a line')
  await new Promise((resolve) => setImmediate(resolve))
  expect(warnings.map(({ name, code, message }) => [name, code, message])).toEqual([
    ['BugleWarning', 'BUGLE_DEAF', 'a line'],
  ])
  expect(lines).toHaveLength(14)
  expect(lines).toContain('bugle: the database is back after 1.2 s')
  expect(lines).toContain('bugle: the event loop was blocked for 2.0 s; nothing is claimed until it runs freely')
  expect(lines).toContainEqual(expect.stringMatching(/^bugle: job 7 of "q" failed for good at attempt 1 \(exhausted\)/))
  // What is well, or was asked for.
  expect(lines.join('\n')).not.toMatch(/notifications arrive|control session is lost|cancelled/)
})

test('standard error hears that notifications arrive again, and no control character of a message', () => {
  const lines = printed()
  const events = createEvents()
  logEvents(events, 'standard error')
  events.emit('listener:health', { queue: null, from: 'live', to: 'polling' })
  events.emit('listener:health', { queue: null, from: 'polling', to: 'live' })
  events.emit('job:failed', { ...ended, error: new BugleError('REJECTED', 'bad\u001b[2J'), cause: 'rejected' })
  expect(lines.slice(1)).toEqual([
    'bugle: notifications arrive',
    'bugle: job 7 of "q" failed for good at attempt 1 (rejected): BugleError: bad\\x1b[2J',
  ])
})

test('logger: false is quiet', async () => {
  const warnings = nodeWarnings()
  const lines = printed()
  const events = createEvents()
  const { warn } = logEvents(events, resolveBugleOptions({ logger: false }, {}).logger)
  tellAll(events)
  warn('BUGLE_DEAF', 'a line')
  await new Promise((resolve) => setImmediate(resolve))
  expect([lines, warnings]).toEqual([[], []])
})

test('of a thousand failures at once five are told, and the rest with the last of them when the instance ends', () => {
  const lines = printed()
  const events = createEvents()
  const { end } = logEvents(events, 'standard error')
  for (let id = 1; id <= 1_000; id += 1) {
    events.emit('job:failed', { ...ended, id: `${id}`, error: new BugleError('REJECTED', 'no'), cause: 'rejected' })
  }
  events.emit('job:failed', { ...ended, queue: 'other', error: new BugleError('REJECTED', 'no'), cause: 'rejected' })
  expect(lines).toHaveLength(6)
  end()
  expect(lines.slice(5)).toEqual([
    'bugle: job 7 of "other" failed for good at attempt 1 (rejected): BugleError: no',
    'bugle: 995 more of these; the last: job 1000 of "q" failed for good at attempt 1 (rejected): BugleError: no',
  ])
})

test('a logger that throws, or whose promise rejects, hurts nobody', async () => {
  const hurt = (): never => {
    throw 'out of disk'
  }
  const events = createEvents()
  const { warn } = logEvents(events, { info: hurt, warn: async () => hurt(), error: hurt })
  tellAll(events)
  warn('BUGLE_DEAF', 'a line')
  // An unhandled rejection would end the run.
  await new Promise((resolve) => setImmediate(resolve))
})

test('a logger that is none is refused', () => {
  for (const logger of [null, 'console', {}, { info() {}, warn() {} }]) {
    expect(() => resolveBugleOptions({ logger } as object, {})).toThrow(
      /^logger must have the functions info, warn and error, or be false; got/,
    )
  }
  for (const logger of [console, Object.assign(() => {}, console)]) {
    expect(resolveBugleOptions({ logger }, {}).logger).toBe(logger)
  }
})

/** The lines of standard error about jobs that failed with these. */
function linesAbout(...errors: Error[]): string[] {
  const lines = printed()
  const events = createEvents()
  logEvents(events, 'standard error')
  for (const error of errors) events.emit('job:failed', { ...ended, error, cause: 'exhausted' })
  return lines.map((line) => line.replace(/^.*\(exhausted\): /, ''))
}

/** What a call throws. */
function thrownBy(call: () => unknown): Error {
  try {
    call()
  } catch (error) {
    return error as Error
  }
  throw new Error('it threw nothing')
}

test('an error that something native throws has the place of its caller', () => {
  const [parsed] = linesAbout(thrownBy(() => JSON.parse('{')))
  expect(parsed).toMatch(/^SyntaxError: .* JSON .* \(\S+logging.test.ts:\d+:\d+\)$/)
  const places = ['at f (/a b/c.js:1:2)', 'at async file:///a%20b/c.js:3:4', 'at async Promise.all (index 0)']
  const stacks = places.map((place) => Object.assign(new Error('x'), { stack: `Error: x\n    ${place}` }))
  expect(linesAbout(...stacks)).toEqual(['Error: x (/a b/c.js:1:2)', 'Error: x (file:///a%20b/c.js:3:4)', 'Error: x'])
})

test('an error that says nothing by itself is told with those beneath it', () => {
  const stackless = <E extends Error>(error: E): E => Object.assign(error, { stack: '' })
  const refused = ['::1', '127.0.0.1'].map((host) => new Error(`connect ECONNREFUSED ${host}:25`))
  const fetched = new TypeError('fetch failed', { cause: new Error('getaddrinfo ENOTFOUND api') })
  const hostile = Object.defineProperty(new Error('x'), 'cause', {
    get() {
      throw new Error('no')
    },
  })
  expect(linesAbout(...[new AggregateError(refused), fetched, hostile].map(stackless))).toEqual([
    'AggregateError: connect ECONNREFUSED ::1:25; connect ECONNREFUSED 127.0.0.1:25',
    'TypeError: fetch failed: getaddrinfo ENOTFOUND api',
    'Error: x',
  ])
})

test('retries of a queue are one line per hour, with their number', () => {
  const lines = printed()
  const events = createEvents()
  let nowMs = 0
  logEvents(events, 'standard error', () => nowMs)
  const retry = (queue: string): void =>
    events.emit('job:retrying', { ...ended, queue, error: new Error('x'), retryAt: new Date(0), retriesLeft: Infinity })
  for (let n = 0; n < 1_000; n += 1) retry('q')
  retry('other')
  expect(lines).toHaveLength(2)
  nowMs = 3_600_000
  retry('q')
  retry('q')
  expect(lines).toHaveLength(3)
  expect(lines.at(-1)).toMatch(/runs again at .*: Error: x .*\(999 more of this queue since the last such line\)$/)
})
