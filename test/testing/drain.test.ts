import { describe, expect, inject, onTestFinished, test } from 'vitest'
import { reject, release, retry } from '../../src/index.js'
import { drain, makeDue } from '../../src/testing/index.js'
import { holdAnswers } from '../support/held-claims.js'
import { db, open, type Queues, refused, withDatabase } from '../support/testing-database.js'

withDatabase()

describe('drain', () => {
  test('runs what is ready, what handlers put meanwhile, and tells of each in order', async () => {
    const bugle = open()
    await bugle.putMany('others', [{ n: 1 }, { n: 2 }])
    await bugle.put('others', { n: 9 }, { delayMs: 60_000 })
    const results = await drain(bugle, 'others', async (job, ctx) => {
      if (job.payload.n === 1) await ctx.bugle.put('others', { n: 3 })
      if (job.payload.n === 2) return reject('two')
      return job.payload.n
    })
    expect(results).toMatchObject([
      { outcome: 'acked', result: 1 },
      { outcome: 'failed', result: undefined },
      { outcome: 'acked', result: 3 },
    ])
    expect((await bugle.jobs()).jobs.map(({ state }) => state)).toEqual(['scheduled', 'failed'])
    expect(await drain(bugle, 'others', () => expect.unreachable())).toEqual([])
  })

  test('with concurrency tells the runs of a job apart that goes back and is claimed again at once', async () => {
    const bugle = open()
    for (let round = 0; round < 5; round += 1) {
      await bugle.putMany(
        'others',
        Array.from({ length: 60 }, (_, n) => ({ n })),
      )
      const results = await drain(
        bugle,
        'others',
        (job) => (job.attempt < 4 ? retry({ delayMs: 0 }) : { last: job.id }),
        { concurrency: 8 },
      )
      expect(results).toHaveLength(240)
      for (const { job, outcome, result } of results)
        expect([job.attempt, outcome, result]).toEqual(
          job.attempt < 4 ? [job.attempt, 'retrying', undefined] : [4, 'acked', { last: job.id }],
        )
    }
  })

  test('runs one job after the other, also where concurrency is undefined', async () => {
    const bugle = open()
    await bugle.putMany('others', [{ n: 1 }, { n: 2 }, { n: 3 }])
    let running = 0
    const handler = async (): Promise<number> => {
      running += 1
      const atOnce = running
      await new Promise(setImmediate)
      running -= 1
      return atOnce
    }
    const results = await drain(bugle, 'others', handler, { concurrency: undefined, prefetch: undefined })
    expect(results.map(({ result }) => result)).toEqual([1, 1, 1])
  })

  test("until 'scheduled' a job that always throws has all its attempts at once", async () => {
    const bugle = open()
    await bugle.put('emails', { to: 'a' })
    await bugle.put('emails', { to: 'b' }, { delayMs: 3_600_000 })
    const results = await drain(
      bugle,
      'emails',
      (job) => {
        if (job.payload.to === 'a') throw new Error(`run ${job.attempt}`)
      },
      { until: 'scheduled' },
    )
    const outcomes = results.map(({ job, outcome, error }) => [
      job.payload.to,
      job.attempt,
      outcome,
      error?.message ?? null,
    ])
    expect(outcomes.filter(([to]) => to === 'a')).toEqual([
      ['a', 1, 'retrying', 'run 1'],
      ['a', 2, 'retrying', 'run 2'],
      ['a', 3, 'retrying', 'run 3'],
      ['a', 4, 'retrying', 'run 4'],
      ['a', 5, 'failed', 'run 5'],
    ])
    expect(outcomes.filter(([to]) => to === 'b')).toEqual([['b', 1, 'acked', null]])
  })

  test("until 'scheduled' runs a job that became ready by itself after the last claim", async () => {
    const claims = await holdAnswers(inject('connectionString'))
    const bugle = db.bugle<Queues>({ connectionString: claims.connectionString, listen: false })
    onTestFinished(() => bugle.close())
    claims.hold(bugle, 'others')
    await bugle.put('others', { n: 1 }, { delayMs: 60_000 })
    const drained = drain(bugle, 'others', (job) => job.payload.n, { until: 'scheduled' })
    const first = await claims.next()
    first.answer()
    const nothingReady = await claims.next()
    expect(await makeDue(open(), 'others')).toBe(1)
    claims.open()
    nothingReady.answer()
    expect(await drained).toMatchObject([{ outcome: 'acked', result: 1 }])
    expect((await bugle.jobs()).jobs).toEqual([])
  })

  test("until 'scheduled' ends though a job is ready that is not for its handlers", async () => {
    const bugle = open()
    await bugle.put('media', { url: 'b' }, { kind: 'probe' })
    await bugle.put('media', { file: 'a' }, { kind: 'thumb', delayMs: 60_000 })
    const results = await drain(bugle, 'media', { thumb: () => {} } as never, { until: 'scheduled' })
    expect(results).toMatchObject([{ job: { kind: 'thumb' }, outcome: 'acked' }])
    expect((await bugle.jobs()).jobs).toMatchObject([{ kind: 'probe', state: 'ready' }])
  })

  test("until 'scheduled' ends though another consumer schedules its own again and again", async () => {
    const bugle = open()
    const consumer = await open().consume('media', { probe: () => release({ delayMs: 60_000 }) } as never)
    await bugle.put('media', { url: 'b' }, { kind: 'probe' })
    await bugle.put('media', { file: 'a' }, { kind: 'thumb', delayMs: 60_000 })
    const results = await drain(bugle, 'media', { thumb: () => {} } as never, { until: 'scheduled' })
    await consumer.stop()
    expect(results).toMatchObject([{ job: { kind: 'thumb' }, outcome: 'acked' }])
  })

  test('ends with an error after maxRuns', async () => {
    const bugle = open()
    await bugle.putMany('emails', [{ to: 'a' }, { to: 'b' }])
    expect(await drain(bugle, 'emails', () => {}, { maxRuns: 2 })).toHaveLength(2)
    await bugle.put('emails', { to: 'a' })
    const forever = drain(bugle, 'emails', () => release({ delayMs: 0 }), { maxRuns: 3 })
    expect(await refused(forever)).toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringContaining('maxRuns'),
    })
  })
})
