import { expect, onTestFinished } from 'vitest'
import { signal } from '../../support/database.js'
import { test } from '../../support/running-job.js'
import { aborted, fence } from '../../support/stopping.js'

test('G2 a handler that reads its signal only after the cancel finds it aborted', async ({ db, runningJob }) => {
  const found = signal<AbortSignal>()
  const { bugle, id, end } = await runningJob({
    bugle: db.bugle({ rescueAfterMs: 900 }),
    handler: async (_job, ctx, untilEnd) => {
      await untilEnd
      found.resolve(ctx.signal)
      await aborted(ctx)
      throw new Error('its own words')
    },
  })
  const failed = db.collect(bugle, 'job:failed')
  await bugle.cancel(id)
  // Notifications arrive in the order of their commits: that of the fence arrives after that of the cancel.
  await fence(db)
  end.resolve()
  expect((await failed.next()).cause).toBe('cancelled')
  expect((await found.promise).reason).toMatchObject({ code: 'CANCELLED' })
})

test('the signal: the same object each time, in middleware and handler, and none is made unless it is read', async ({
  db,
}) => {
  const Original = globalThis.AbortController
  let made = 0
  globalThis.AbortController = class extends Original {
    constructor() {
      super()
      // A session that is opened meanwhile has one as well.
      if (new Error().stack?.includes('run/runs')) made += 1
    }
  }
  onTestFinished(() => {
    globalThis.AbortController = Original
  })
  const bugle = db.bugle()
  const seen: AbortSignal[] = []
  const reads = await bugle.consume(
    'reads',
    (_job, ctx) => {
      const { signal: own } = ctx
      expect(own).toBeInstanceOf(AbortSignal)
      expect(own).toBe(ctx.signal)
      seen.push(own)
    },
    {
      middleware: [
        async (_job, ctx, next) => {
          await next()
          expect(ctx.signal).toBe(seen.at(-1))
        },
      ],
      concurrency: 1,
    },
  )
  const ignores = await bugle.consume('ignores', () => {}, { timeoutMs: 60_000 })
  made = 0
  await bugle.putMany('ignores', [...Array(20).keys()])
  await ignores.idle()
  expect(made).toBe(0)
  await bugle.putMany('reads', [...Array(5).keys()])
  await reads.idle()
  expect(made).toBe(5)
  expect(new Set(seen).size).toBe(5)
  expect((await reads.stop()).completed).toBe(5)
  // After a run nobody uses its signal, and a stop does not abort it.
  expect(seen.every(({ aborted: isAborted }) => !isAborted)).toBe(true)
})
