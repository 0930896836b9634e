import { describe, expect, test } from 'vitest'
import { ack, reject } from '../../src/index.js'
import { collectEvents, drain, makeDue, runOne, testContext, testJob, waitForJob } from '../../src/testing/index.js'
import { signal } from '../support/signal.js'
import { open, refused, withDatabase } from '../support/testing-database.js'

withDatabase()

describe('makeDue', () => {
  test('makes scheduled jobs of one queue or of all ready, and wakes their consumers', async () => {
    const bugle = open()
    const ran = signal<number>()
    const consumer = await bugle.consume('others', (job) => ran.resolve(job.payload.n))
    await consumer.idle()
    const email = await bugle.put('emails', { to: 'a' }, { delayMs: 3_600_000, key: 'k' })
    await bugle.put('others', { n: 7 }, { runAt: new Date(Date.now() + 3_600_000) })
    expect(await makeDue(bugle, 'emails')).toBe(1)
    expect(await makeDue(bugle, 'emails')).toBe(0)
    const record = await bugle.job(email)
    expect(record).toMatchObject({ state: 'ready', key: 'k' })
    expect(record?.runAt.getTime()).toBeLessThan((record?.createdAt.getTime() ?? 0) + 3_600_000)
    expect(await makeDue(bugle)).toBe(1)
    expect(await ran.promise).toBe(7)
  })

  test('leaves running and failed jobs alone', async () => {
    const bugle = open()
    await bugle.put('emails', { to: 'a' })
    await runOne(bugle, 'emails', () => reject('no'))
    await bugle.put('emails', { to: 'b' })
    await runOne(bugle, 'emails', async () => {
      expect(await makeDue(bugle)).toBe(0)
    })
    expect((await bugle.jobs()).jobs.map(({ state }) => state)).toEqual(['failed'])
    // @ts-expect-error: not one of its queues
    expect(await refused(makeDue(bugle, ''))).toMatchObject({ code: 'INVALID_QUEUE' })
  })
})

describe('waitForJob', () => {
  test('finds what is there, and what comes or changes later, also by others', async () => {
    const bugle = open()
    const other = open()
    const id = await bugle.put('emails', { to: 'a' })
    expect(await waitForJob(bugle, (job) => job.queue === 'emails')).toMatchObject({ id, state: 'ready' })
    const failed = waitForJob(bugle, (job) => job.state === 'failed', { queue: 'emails' })
    const put = waitForJob(bugle, (job) => job.queue === 'others')
    await other.put('others', { n: 1 })
    expect(await put).toMatchObject({ payload: { n: 1 } })
    await runOne(bugle, 'emails', () => reject('no'))
    expect(await failed).toMatchObject({ id, error: { message: 'no' } })
  })

  test('times out with what was there instead', async () => {
    const bugle = open()
    expect(await refused(waitForJob(bugle, () => false, { timeoutMs: 0 }))).toMatchObject({
      code: 'TIMEOUT',
      message: 'no job matched within 0 ms; there was none',
    })
    const id = await bugle.put('emails', { to: 'a' })
    await runOne(bugle, 'emails', () => reject('no line'))
    const { message } = await refused(waitForJob(bugle, (job) => job.state === 'ready', { timeoutMs: 1 }))
    expect(message).toBe(
      'no job matched within 1 ms; there was 1:\n' +
        `  ${id} "emails" failed, attempt 1, payload { to: 'a' }, last error: no line`,
    )
  })

  test('ends by its signal, and by what the predicate throws', async () => {
    const bugle = open()
    const stop = new AbortController()
    const waiting = refused(waitForJob(bugle, () => false, { signal: stop.signal }))
    stop.abort(new Error('enough'))
    expect(await waiting).toMatchObject({ message: 'enough' })
    await bugle.put('emails', { to: 'a' })
    const throwing = waitForJob(bugle, () => {
      throw new Error('wrong')
    })
    expect(await refused(throwing)).toMatchObject({ message: 'wrong' })
  })
})

describe('collectEvents', () => {
  test('records events in order, and hands each out once', async () => {
    const bugle = open()
    using events = collectEvents(bugle, ['job:started', 'job:acked', 'job:failed'])
    const soon = events.next('job:failed')
    const [one, two] = await bugle.putMany('emails', [{ to: 'a' }, { to: 'b' }])
    await drain(bugle, 'emails', (job) => (job.payload.to === 'a' ? ack() : reject('b')))
    expect(await soon).toMatchObject({ id: two, cause: 'rejected' })
    expect(events.all.map(({ name, data }) => [name, data.id])).toEqual([
      ['job:started', one],
      ['job:acked', one],
      ['job:started', two],
      ['job:failed', two],
    ])
    expect(events.of('job:started').map(({ id }) => id)).toEqual([one, two])
    expect(await events.next('job:started', ({ id }) => id === two)).toMatchObject({ id: two })
    expect(await events.next('job:started')).toMatchObject({ id: one })
    expect(await refused(events.next('job:started', undefined, { timeoutMs: 1 }))).toMatchObject({
      code: 'TIMEOUT',
      message: 'no event job:started that matches came within 1 ms; there came: job:started (2), job:acked, job:failed',
    })
  })

  test('stops: what is waited for rejects, and nothing more comes', async () => {
    const bugle = open()
    const events = collectEvents(bugle)
    const waiting = refused(events.next('job:acked'))
    events.stop()
    expect(await waiting).toMatchObject({ code: 'CLOSED' })
    await bugle.put('emails', { to: 'a' })
    await runOne(bugle, 'emails', () => {})
    expect(events.all).toEqual([])
    const few = collectEvents(bugle, ['job:acked'])
    // @ts-expect-error: it is not collected
    expect(await refused(few.next('job:failed'))).toMatchObject({ code: 'INVALID_OPTION' })
    few.stop()
  })
})

describe('testJob and testContext', () => {
  test('are what a handler can be called with', async () => {
    const handler = async (job: ReturnType<typeof testJob<{ to: string }>>, ctx: ReturnType<typeof testContext>) =>
      `${job.payload.to} ${job.attempt} ${ctx.signal.aborted}`
    expect(await handler(testJob({ to: 'a' }, { attempt: 3 }), testContext())).toBe('a 3 false')
    const acked: unknown[] = []
    const ctx = testContext({ ack: async (tx) => void acked.push(tx) })
    await ctx.ack(async () => [])
    expect(acked).toHaveLength(1)
    expect(await refused(testContext().ack(async () => []))).toMatchObject({ code: 'INVALID_OPTION' })
  })
})
