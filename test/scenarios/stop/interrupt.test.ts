import { expect } from 'vitest'
import { signal, test } from '../../support/database.js'
import { startStopProcess } from '../../support/stop-process.js'
import { workerRows } from '../../support/stopping.js'

/** The interrupt example: three long jobs, each in a process of its own, and a Ctrl-C in each. */

const abortable = {
  'E1 a timer that is given the signal': 'timer',
  'E2 a promise that rejects on abort': 'promise',
} as const

for (const [title, handler] of Object.entries(abortable)) {
  test(`interrupt: ${title}: Ctrl-C ends a 10-second job at once, and the next start picks it up`, async ({ db }) => {
    const process = startStopProcess(db, {
      queue: 'q',
      handler,
      ms: 10_000,
      bugle: { handleSignals: true, graceMs: 0 },
    })
    await process.next('consume')
    const id = await db.bugle().put('q', 'long')
    await process.next('begin')
    const interruptedAt = performance.now()
    process.kill('SIGINT')
    expect((await process.next('abort')).code).toBe('SHUTDOWN')
    expect((await process.next('job:interrupted')).data).toMatchObject({ id, attempt: 1, reason: 'SHUTDOWN' })
    expect((await process.next('consumer:stopped')).data).toMatchObject({
      report: { completed: 0, failed: 0, interrupted: 1, released: 0, abandoned: [] },
    })
    expect(await process.exited).toEqual({ code: 0, signal: null })
    expect(performance.now() - interruptedAt).toBeLessThan(3_000)
    expect(await db.jobs()).toMatchObject([{ id, state: 'ready', attempt: 0, worker_id: null, last_error: null }])
    expect(await workerRows(db)).toEqual([])

    // At the next start, in a further process.
    const next = startStopProcess(db, { queue: 'q', handler: 'quick', bugle: { handleSignals: true } })
    expect(await next.next('begin')).toMatchObject({ id, attempt: 1 })
    expect((await next.next('job:acked')).data).toMatchObject({ id })
    await next.next('consume')
    next.kill('SIGINT')
    expect((await next.next('consumer:stopped')).data).toMatchObject({ report: { completed: 1 } })
    expect(await next.exited).toEqual({ code: 0, signal: null })
    expect(await db.jobs()).toEqual([])
  })
}

test(
  'interrupt: E3b a busy loop is waited for: Node delivers Ctrl-C after it, the job is acked, then the stop ends, ' +
    'and nothing new is claimed',
  async ({ db }) => {
    const process = startStopProcess(db, {
      queue: 'q',
      handler: 'busy',
      ms: 3_000,
      bugle: { handleSignals: true, graceMs: 0 },
      consume: { concurrency: 1 },
    })
    await process.next('consume')
    const id = await db.bugle().put('q', 'busy')
    await process.next('begin')
    const later = await db.bugle().put('q', 'later')
    process.kill('SIGINT')
    expect((await process.next('job:acked')).data).toMatchObject({ id, runMs: expect.any(Number) })
    expect((await process.next('consumer:stopped')).data).toMatchObject({
      report: { completed: 1, failed: 0, interrupted: 0, released: 0, abandoned: [] },
    })
    expect(await process.exited).toEqual({ code: 0, signal: null })
    const events = process.told.filter(({ did }) => did === 'event').map(({ name }) => name)
    expect(events.indexOf('job:acked')).toBeLessThan(events.indexOf('consumer:stopped'))
    expect(events.filter((name) => name === 'job:started')).toHaveLength(1)
    expect(await db.jobs()).toMatchObject([{ id: later, state: 'ready', attempt: 0 }])

    const ran = signal<string>()
    await db.bugle().consume('q', (job) => ran.resolve(job.id))
    expect(await ran.promise).toBe(later)
  },
)

test('interrupt: E3a a job that ignores its signal is waited for and acked, and nothing new is claimed', async ({
  db,
}) => {
  const process = startStopProcess(db, {
    queue: 'q',
    handler: 'stubborn',
    ms: 1_500,
    bugle: { handleSignals: true, graceMs: 0 },
    consume: { concurrency: 1 },
  })
  await process.next('consume')
  const id = await db.bugle().put('q', 'stubborn')
  await process.next('begin')
  process.kill('SIGINT')
  expect((await process.next('abort')).code).toBe('SHUTDOWN')
  const later = await db.bugle().put('q', 'later')
  expect((await process.next('job:acked')).data).toMatchObject({ id })
  expect((await process.next('consumer:stopped')).data).toMatchObject({ report: { completed: 1, abandoned: [] } })
  expect(await process.exited).toEqual({ code: 0, signal: null })
  expect(await db.jobs()).toMatchObject([{ id: later, state: 'ready', attempt: 0 }])
})
