import { expect } from 'vitest'
import { signal } from '../../support/database.js'
import { test } from '../../support/running-job.js'
import { aborted, fence, isPending, marginMs, nothing, timed } from '../../support/stopping.js'

test('E7 a second stop joins the first: one report, one consumer:stopped', async ({ db, runningJob }) => {
  const bugle = db.bugle()
  const stopped = db.collect(bugle, 'consumer:stopped')
  const stopping = db.collect(bugle, 'consumer:stopping')
  const { consumer, end } = await runningJob({ bugle })
  const both = [consumer.stop({ graceMs: 60_000 }), consumer.stop({ graceMs: 60_000 })]
  end.resolve()
  const [first, second] = await Promise.all(both)
  expect(first).toEqual({ ...nothing, completed: 1 })
  expect(second).toEqual(first)
  expect(await consumer.stop()).toEqual(first)
  expect(stopped.all).toHaveLength(1)
  expect(stopping.all).toMatchObject([{ queue: 'q', graceMs: 60_000, forced: false }])
})

test('E7 a second stop shortens the first: its grace is over at once, and then its deadline', async ({
  db,
  runningJob,
}) => {
  const bugle = db.bugle()
  const stopping = db.collect(bugle, 'consumer:stopping')
  const wasAborted = signal()
  const { consumer, id } = await runningJob({
    bugle,
    handler: async (_job, ctx, untilEnd) => {
      await aborted(ctx)
      wasAborted.resolve()
      await untilEnd
    },
  })
  const first = consumer.stop({ graceMs: 60_000, abortMs: 60_000 })
  await fence(db)
  expect(await isPending(wasAborted.promise)).toBe(true)
  const second = consumer.stop({ graceMs: 0, abortMs: 60_000 })
  await wasAborted.promise
  await fence(db)
  expect(await isPending(first)).toBe(true)
  const { value: report, tookMs } = await timed(() => consumer.stop({ graceMs: 0, abortMs: 0 }))
  expect(tookMs).toBeLessThan(marginMs)
  expect(report).toMatchObject({ ...nothing, abandoned: [{ id }] })
  expect(await first).toEqual(report)
  expect(await second).toEqual(report)
  expect(stopping.all).toMatchObject([
    { graceMs: 60_000, forced: false },
    { graceMs: 0, forced: false },
    { graceMs: 0, forced: true },
  ])
})

test('E7 a second stop with longer times does not lengthen the first', async ({ runningJob }) => {
  const { consumer, id } = await runningJob()
  const { value: reports, tookMs } = await timed(() =>
    Promise.all([
      consumer.stop({ graceMs: 100, abortMs: 100 }),
      consumer.stop({ graceMs: 60_000, abortMs: 60_000 }),
      consumer.stop({ graceMs: Infinity, abortMs: Infinity }),
      consumer.stop(),
    ]),
  )
  expect(tookMs).toBeLessThan(200 + marginMs)
  for (const report of reports) expect(report).toMatchObject({ abandoned: [{ id }] })
})

test('E7 a stop that was begun without end can be ended by force', async ({ db, runningJob }) => {
  const { consumer } = await runningJob()
  const first = consumer.stop({ graceMs: Infinity, abortMs: Infinity })
  await fence(db)
  const { value: report, tookMs } = await timed(() => consumer.stop({ graceMs: 0, abortMs: 0 }))
  expect(tookMs).toBeLessThan(marginMs)
  expect(report.abandoned).toHaveLength(1)
  expect(await first).toEqual(report)
})

test('a second close joins the first and shortens it', async ({ db, runningJob }) => {
  const { bugle, consumer } = await runningJob()
  const first = bugle.close({ graceMs: 60_000, abortMs: 60_000 })
  await fence(db)
  expect(await isPending(first)).toBe(true)
  const { tookMs } = await timed(() => bugle.close({ graceMs: 0, abortMs: 0 }))
  expect(tookMs).toBeLessThan(marginMs)
  await first
  expect((await consumer.stopped).abandoned).toHaveLength(1)
})
