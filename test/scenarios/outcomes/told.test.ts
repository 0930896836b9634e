import { expect, onTestFinished, vi } from 'vitest'
import { signal, test } from '../../support/database.js'

/** What an instance without a logger prints from now on. */
function printed(): string[] {
  const lines: string[] = []
  const print = vi.spyOn(console, 'error').mockImplementation((line) => void lines.push(line))
  onTestFinished(() => print.mockRestore())
  return lines
}

/** As a program has it that gives no logger; the tests' own instances are quiet. */
const noLogger = { logger: undefined } as object

test('a job that fails for good is a line on standard error, with the place, and never its payload', async ({ db }) => {
  const lines = printed()
  const bugle = db.bugle(noLogger)
  const id = await bugle.put('q', { secret: 'payload' }, { kind: 'mail' })
  await bugle.drain('q', () => Object(null).nothing.name, { retryStrategy: false })
  expect(lines).toEqual([
    expect.stringMatching(
      new RegExp(
        `^bugle: job ${id} of "q", kind "mail", failed for good at attempt 1 \\(exhausted\\): ` +
          String.raw`TypeError: Cannot read properties .* \(\S+/told.test.ts:\d+:\d+\)$`,
      ),
    ),
  ])
})

test('the first retry of a queue is a line, and no further one', async ({ db }) => {
  const lines = printed()
  const bugle = db.bugle(noLogger)
  await bugle.putMany('q', [1, 2, 3])
  const fail = (): never => {
    throw new Error('boom')
  }
  await bugle.drain('q', fail, { retryStrategy: { maxAttempts: 2 }, until: 'scheduled' })
  expect(lines.filter((line) => /runs again at/.test(line))).toHaveLength(1)
  expect(lines.filter((line) => /failed for good at attempt 2/.test(line))).toHaveLength(3)
})

test('a thousand failures are a few lines whose numbers add up, the last at the close', async ({ db }) => {
  const lines = printed()
  const bugle = db.bugle(noLogger)
  await bugle.putMany('q', Array(1_000).fill(1))
  const fail = (): never => {
    throw new Error('boom')
  }
  await bugle.drain('q', fail, { retryStrategy: false, concurrency: 100 })
  await bugle.close()
  // A busy machine may have more to say: of a blocked event loop, say.
  const ofJobs = lines.filter((line) => /failed for good/.test(line))
  const sums = ofJobs.map((line) => Number(/^bugle: (\d+) more of these; the last: job/.exec(line)?.[1] ?? 0))
  const single = sums.filter((sum) => sum === 0).length
  expect(single).toBe(5)
  expect(sums.reduce((all, sum) => all + sum, single)).toBe(1_000)
  expect(lines.length).toBeLessThan(20)
})

test('an outage is told by who waits for its end, and logger: false says not a word', async ({ db }) => {
  const lines = printed()
  const down = { connectionString: 'postgres://127.0.0.1:1/none' }
  const told = db.bugle({ ...noLogger, ...down })
  const quiet = db.bugle(down)
  const stop = new AbortController()
  const heard = signal<void>()
  told.on('database:down', () => heard.resolve())
  const waiting = [told, quiet].map((bugle) => bugle.consume('q', () => {}, { signal: stop.signal }).catch(() => {}))
  await heard.promise
  expect(lines).toEqual([
    expect.stringMatching(/^bugle: the database cannot be reached: .*; what waits for it goes on by itself$/),
  ])
  stop.abort()
  await Promise.all(waiting)
  expect(lines).toHaveLength(1)
})

test('a run of ten minutes without a time-out is a line, once for the consumer; one with a time-out is not', async ({
  db,
}) => {
  const lines = printed()
  // The watch looks once a minute.
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
  const clock = vi.spyOn(performance, 'now')
  onTestFinished(() => {
    clock.mockRestore()
    vi.useRealTimers()
  })
  const bugle = db.bugle(noLogger)
  await bugle.put('q', 1, { timeoutMs: '1h' })
  const id = await bugle.put('q', 2)
  const bothRun = signal<void>()
  const done = signal<void>()
  let begun = 0
  await bugle.consume('q', async () => {
    begun += 1
    if (begun === 2) bothRun.resolve()
    await done.promise
  })
  await bothRun.promise
  vi.advanceTimersByTime(60_000)
  const early = [...lines]
  const later = performance.now() + 600_000
  clock.mockImplementation(() => later)
  vi.advanceTimersByTime(120_000)
  clock.mockRestore()
  // The handlers end before the stop waits for them.
  done.resolve()
  expect(early).toEqual([])
  expect(lines.filter((line) => line.includes('ten minutes'))).toEqual([
    expect.stringMatching(new RegExp(`^bugle: job ${id} of "q" has run for ten minutes and has no timeoutMs: `)),
  ])
})
