import { expect } from 'vitest'
import type { BugleOptions, StopReport } from '../../../src/index.js'
import { signal, type TestDatabase } from '../../support/database.js'
import { test } from '../../support/gates.js'
import { startProxy } from '../../support/proxy.js'
import { aborted, holdClaims, marginMs, nothing, timed, untilState } from '../../support/stopping.js'

const stops = Number(process.env.BUGLE_TEST_STOPS ?? 2)
const times = { graceMs: 200, abortMs: 200 } as const

/** An instance that reaches the database by a proxy: with all sessions, or with its listener and control session. */
async function behindProxy(db: TestDatabase, what: 'everything' | 'listening', options: BugleOptions = {}) {
  const { hostname, port } = new URL(db.connectionString)
  const proxy = await startProxy({ host: hostname, port: Number(port) })
  const through = new URL(db.connectionString)
  through.port = String(proxy.port)
  const bugle = db.bugle({
    ...options,
    ...(what === 'everything' ? { connectionString: through.href } : { listenConnectionString: through.href }),
  })
  return { bugle, proxy }
}

type Proxied = Awaited<ReturnType<typeof behindProxy>>

const faults: Record<string, { what: 'everything' | 'listening'; strike: (proxied: Proxied) => unknown }> = {
  'the database gone (refused)': { what: 'everything', strike: ({ proxy }) => proxy.refuse() },
  'the database gone (connections are dropped)': { what: 'everything', strike: ({ proxy }) => proxy.drop() },
  'the database gone (frozen)': { what: 'everything', strike: ({ proxy }) => proxy.freeze() },
  'a half-open listener': { what: 'listening', strike: ({ proxy }) => proxy.freeze() },
  'handlers that never end and all well otherwise': { what: 'everything', strike: () => {} },
}

const stopWays: Record<string, (proxied: Proxied, stop: () => Promise<StopReport>) => Promise<unknown>> = {
  stop: (_proxied, stop) => stop(),
  close: ({ bugle }) => bugle.close(times),
}

for (const [fault, { what, strike }] of Object.entries(faults)) {
  for (const [way, act] of Object.entries(stopWays)) {
    test(`E10 ${way} with ${fault}: ends within graceMs + abortMs + ${marginMs / 1_000} s, each of ${stops} times`, {
      timeout: 60_000 + stops * 5_000,
    }, async ({ db }) => {
      const took: number[] = []
      for (let round = 0; round < stops; round += 1) {
        const proxied = await behindProxy(db, what)
        const { bugle, proxy } = proxied
        const all = signal()
        let begun = 0
        const consumer = await bugle.consume(
          'q',
          async (job, ctx) => {
            begun += 1
            if (begun === 3) all.resolve()
            // One never ends, one ends by the abort, one returns after it.
            if (job.payload === 'never') await new Promise(() => {})
            const reason = await aborted(ctx)
            if (job.payload === 'throws') throw reason
          },
          { concurrency: 3 },
        )
        const [never] = await db.bugle().putMany('q', ['never', 'throws', 'returns'])
        await all.promise
        await strike(proxied)
        const { tookMs } = await timed(() => act(proxied, () => consumer.stop(times)))
        took.push(tookMs)
        const report = await consumer.stopped
        expect(report.abandoned.map(({ id }) => id)).toContain(never)
        const { completed, failed, interrupted, abandoned } = report
        // The report counts each job once: a job whose outcome could not be written is abandoned.
        expect(completed + failed + interrupted + abandoned.length).toBe(3)
        // The report names each job that is left. While the database is there, a job may be settled after the report.
        const left = (await db.jobs()).filter(({ state }) => state === 'running').map(({ id }) => id)
        expect(abandoned.map(({ id }) => id)).toEqual(expect.arrayContaining(left))
        await proxy.close()
        await bugle.close({ graceMs: 0, abortMs: 0 })
        await db.sql.unsafe(`delete from ${db.s}.job`)
      }
      expect(Math.max(...took)).toBeLessThan(times.graceMs + times.abortMs + marginMs)
    })
  }
}

test('E10 an idle consumer with the database gone stops by its deadline', async ({ db }) => {
  for (const fault of ['refuse', 'freeze', 'drop'] as const) {
    const { bugle, proxy } = await behindProxy(db, 'everything')
    const consumer = await bugle.consume('q', () => {})
    await consumer.idle()
    await proxy[fault]()
    const { value, tookMs } = await timed(() => consumer.stop(times))
    expect(tookMs).toBeLessThan(times.graceMs + times.abortMs + marginMs)
    expect(value).toEqual(nothing)
    const closed = await timed(() => bugle.close(times))
    expect(closed.tookMs).toBeLessThan(times.graceMs + times.abortMs + marginMs)
    await proxy.close()
  }
})

test('E10 a database that comes back within the grace: what had ended meanwhile is settled', async ({ db, gate }) => {
  const { bugle, proxy } = await behindProxy(db, 'everything')
  const begun = signal()
  const end = gate()
  const consumer = await bugle.consume('q', async () => {
    begun.resolve()
    await end.promise
  })
  await db.bugle().put('q', 1)
  await begun.promise
  await proxy.refuse()
  const downs = db.collect(bugle, 'database:down')
  end.resolve()
  await downs.next()
  const stopped = consumer.stop({ graceMs: 30_000, abortMs: 0 })
  await proxy.heal()
  expect(await stopped).toEqual({ ...nothing, completed: 1 })
  expect(await db.jobs()).toEqual([])
  await bugle.close()
  await proxy.close()
})

test('E10 with an unanswered claim a stop by force is in time, and others run what it takes after all', async ({
  db,
}) => {
  const bugle = db.bugle({ rescueAfterMs: 600 })
  const starting = bugle.consume('q', () => {}, times)
  const consumer = await starting
  const claims = await holdClaims(db)
  await bugle.put('q', 'taken late')
  await claims.untilHeld()
  const { tookMs } = await timed(() => consumer.stop({ graceMs: 0, abortMs: 100 }))
  expect(tookMs).toBeLessThan(100 + marginMs)
  await bugle.close({ graceMs: 0, abortMs: 0 })
  const ran = signal<unknown>()
  const other = db.bugle({ rescueAfterMs: 600 })
  const opened = claims.open()
  await other.consume('q', (job) => ran.resolve(job.payload))
  await opened
  expect(await ran.promise).toBe('taken late')
})

test(
  'E4 a database that is away when an abandoned handler ends after the close: its job is settled, or rescued, ' +
    'when it is back',
  async ({ db, gate }) => {
    const { bugle, proxy } = await behindProxy(db, 'everything', { rescueAfterMs: 600 })
    const begun = signal<string>()
    const end = gate()
    await bugle.consume('q', async (job) => {
      begun.resolve(job.id)
      await end.promise
    })
    await db.bugle().put('q', 1)
    const id = await begun.promise
    await bugle.close({ graceMs: 0, abortMs: 0 })
    await proxy.refuse()
    end.resolve()
    const ran = signal()
    await db.bugle({ rescueAfterMs: 600 }).consume('q', () => ran.resolve())
    await proxy.heal()
    await Promise.race([ran.promise, untilState(db, id, null)])
    await untilState(db, id, null)
    await proxy.close()
  },
)
