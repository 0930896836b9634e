import { expect } from 'vitest'
import { test } from '../../support/gates.js'
import { startStopProcess } from '../../support/stop-process.js'
import { nothing, timed, workerRows } from '../../support/stopping.js'
import { until } from '../../support/until.js'

for (const name of ['SIGINT', 'SIGTERM'] as const) {
  test(`E8 ${name}: the first stops with grace, a second skips it, a third the rest; former handlers are back`, async ({
    db,
  }) => {
    const process = startStopProcess(db, {
      queue: 'q',
      handler: 'never',
      former: true,
      bugle: { handleSignals: true, graceMs: 60_000, abortMs: 60_000 },
    })
    await process.next('consume')
    const id = await db.bugle().put('q', 1)
    await process.next('begin')
    process.kill(name)
    expect((await process.next('consumer:stopping')).data).toMatchObject({ graceMs: 60_000, forced: false })
    process.kill(name)
    expect((await process.next('abort')).code).toBe('SHUTDOWN')
    process.kill(name)
    expect((await process.next('consumer:stopped')).data).toMatchObject({ report: { abandoned: [{ id }] } })
    const end = await process.next('end')
    expect(end).toMatchObject({ before: [1, 1], after: [1, 1], sameFormer: true })
    expect(await process.exited).toEqual({ code: 0, signal: null })
  })
}

test(
  'E8 one signal, and the handler ends within the grace: acked, the connections are closed, and the process ends ' +
    'by itself',
  async ({ db }) => {
    const process = startStopProcess(db, {
      queue: 'q',
      handler: 'timer',
      ms: 400,
      bugle: { handleSignals: true },
    })
    await process.next('consume')
    await db.bugle().put('q', 1)
    await process.next('begin')
    process.kill('SIGTERM')
    expect((await process.next('consumer:stopped')).data).toMatchObject({ report: { ...nothing, completed: 1 } })
    expect(await process.next('end')).toMatchObject({ before: [0, 0], after: [0, 0] })
    expect(await process.exited).toEqual({ code: 0, signal: null })
    expect(await db.jobs()).toEqual([])
    expect(await workerRows(db)).toEqual([])
  },
)

test('E8 after a signal nothing keeps an idle process alive, however long the times are', async ({ db }) => {
  const process = startStopProcess(db, {
    queue: 'q',
    handler: 'quick',
    bugle: { handleSignals: true, graceMs: 3_600_000, abortMs: 3_600_000 },
  })
  await process.next('consume')
  process.kill('SIGINT')
  await process.next('consumer:stopped')
  const { value, tookMs } = await timed(() => process.exited)
  expect(value).toEqual({ code: 0, signal: null })
  expect(tookMs).toBeLessThan(5_000)
})

test('E8 SIGTERM and SIGINT count together', async ({ db }) => {
  const process = startStopProcess(db, {
    queue: 'q',
    handler: 'swallow',
    bugle: { handleSignals: true, graceMs: 60_000 },
  })
  await process.next('consume')
  await db.bugle().put('q', 1)
  await process.next('begin')
  process.kill('SIGTERM')
  await process.next('consumer:stopping')
  process.kill('SIGINT')
  expect((await process.next('consumer:stopped')).data).toMatchObject({ report: { ...nothing, completed: 1 } })
  expect(await process.exited).toEqual({ code: 0, signal: null })
})

test('E8 once closed, a signal does again what it does without us', async ({ db }) => {
  const process = startStopProcess(db, {
    queue: 'q',
    handler: 'quick',
    stays: true,
    bugle: { handleSignals: true },
  })
  await process.next('consume')
  process.kill('SIGINT')
  expect(await process.next('stopped')).toBeTruthy()
  // The close goes on for a moment after the last consumer has stopped. A signal in that moment only shortens it.
  await until(
    async () =>
      (await db.sql`select from pg_stat_activity where application_name like ${`${db.schema}%`}`).length === 0,
  )
  const again = setInterval(() => process.kill('SIGINT'), 50)
  expect(await process.exited).toEqual({ code: null, signal: 'SIGINT' })
  clearInterval(again)
})

test('E8 without handleSignals there is no listener, and SIGTERM ends the process as ever', async ({ db }) => {
  const process = startStopProcess(db, { queue: 'q', handler: 'never' })
  expect((await process.next('consume')).listeners).toEqual([0, 0])
  process.kill('SIGTERM')
  expect(await process.exited).toEqual({ code: null, signal: 'SIGTERM' })
})

for (const name of ['SIGINT', 'SIGTERM'] as const) {
  test(`E8 ${name} while consume waits: it resolves with a stopped consumer, and so does the next`, async ({ db }) => {
    const connectionString = Object.assign(new URL(db.connectionString), { port: '1' }).href
    const process = startStopProcess(db, {
      queue: 'q',
      also: 'another',
      handler: 'quick',
      bugle: { connectionString, handleSignals: true, graceMs: 60_000 },
    })
    await process.next('database:down')
    process.kill(name)
    await process.next('consume')
    await process.next('stopped')
    expect(await process.exited).toEqual({ code: 0, signal: null })
  })
}
