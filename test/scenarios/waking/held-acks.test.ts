import { expect, onTestFinished } from 'vitest'
import type { BugleOptions, ConsumeOptions, Job } from '../../../src/index.js'
import { signal } from '../../support/database.js'
import { test } from '../../support/gates.js'
import { startProxy } from '../../support/proxy.js'
import { payloads } from '../../support/runs.js'
import { fence, untilState } from '../../support/stopping.js'
import { until } from '../../support/until.js'

const quick = { rescueAfterMs: 1_000, hungAfterMs: 300_000 } as const satisfies BugleOptions

test(
  'the row of a job that was acked is locked by somebody: others are claimed and acked; it is settled when it is ' +
    'let go',
  async ({ db, gate }) => {
    const blocked = gate()
    const bugle = db.bugle()
    const acked = db.collect(bugle, 'job:acked')
    const begun = signal()
    const ids = await bugle.putMany('q', payloads.slice(0, 10))
    const [locked = '', ...others] = ids
    const consumer = await bugle.consume(
      'q',
      async ({ id }) => {
        if (id !== locked) return
        begun.resolve()
        await blocked.promise
      },
      // The locked job keeps one slot. Its ack travels with a claim for the other slot.
      { concurrency: 2, prefetch: 0 },
    )
    await begun.promise
    const stranger = db.connect()
    await stranger.unsafe(`begin; select from ${db.s}.job where id = ${locked} for update`)
    blocked.resolve()
    for (const _ of others) await acked.next()
    // The acks that were in one statement with it are settled one by one.
    expect(new Set(acked.all.map(({ id }) => id))).toEqual(new Set(others))
    expect((await db.jobs()).map(({ id, state }) => [id, state])).toEqual([[locked, 'running']])
    await stranger.unsafe('rollback')
    expect((await acked.next()).id).toBe(locked)
    await consumer.idle()
    expect(await db.jobs()).toEqual([])
  },
)

for (const isCommitted of [true, false]) {
  const what = isCommitted ? 'has committed, and its answer is lost' : 'is ended with its session'
  test(`a claim that took an ack along ${what}: the ack is settled alone, and what was claimed runs once`, async ({
    db,
    gate,
  }) => {
    const { hostname, port } = new URL(db.connectionString)
    const proxy = await startProxy({ host: hostname, port: Number(port) })
    onTestFinished(() => proxy.close())
    const through = Object.assign(new URL(db.connectionString), { port: String(proxy.port) })
    // Each delete waits until the test lets it go on.
    await db.sql.unsafe(`
      create function ${db.s}.await_test() returns trigger language plpgsql as $$
      begin
        perform pg_advisory_xact_lock_shared(471147);
        return old;
      end
      $$;
      create trigger zz_await before delete on ${db.s}.job for each row execute function ${db.s}.await_test()`)
    const bugle = db.bugle({ ...quick, connectionString: through.href })
    const acked = db.collect(bugle, 'job:acked')
    const stale = db.collect(bugle, 'job:stale')
    const blocked = gate()
    const runs: unknown[] = []
    const begun = signal()
    const ids = await db.bugle().putMany('q', [1, 2])
    const consumer = await bugle.consume(
      'q',
      async (job) => {
        runs.push(job.payload)
        begun.resolve()
        await blocked.promise
      },
      { concurrency: 1, prefetch: 0 },
    )
    await begun.promise
    const holder = db.connect()
    await holder`select pg_advisory_lock(471147)`
    blocked.resolve()
    const waiters = async (): Promise<number[]> =>
      (await db.sql<{ pid: number }[]>`select pid from pg_locks where objid = 471147 and not granted`).map(
        ({ pid }) => pid,
      )
    let pids: number[] = []
    await until(async () => {
      pids = await waiters()
      return pids.length > 0
    })
    if (isCommitted) await proxy.refuse()
    else await db.kill(pids)
    await holder`select pg_advisory_unlock(471147)`
    if (isCommitted) {
      await until(async () => (await db.jobs()).length <= 1)
      await proxy.heal()
    }
    expect([(await acked.next()).id, (await acked.next()).id]).toEqual(ids)
    await consumer.idle()
    expect(runs).toEqual([1, 2])
    expect(stale.all).toEqual([])
    expect(await db.jobs()).toEqual([])
  })
}

const prefetches: NonNullable<ConsumeOptions['prefetch']>[] = [0, 'earned', 20, 500]

for (const prefetch of prefetches) {
  for (const backlog of [0, 1_000]) {
    test(`a job that ends is gone from the table though all others run long (prefetch: ${prefetch}, ${backlog} wait)`, {
      timeout: 15_000,
    }, async ({ db, gate }) => {
      const blocked = gate()
      const ends = gate()
      const bugle = db.bugle()
      const ids = await bugle.putMany('q', payloads.slice(0, 3 + backlog))
      const [first = ''] = ids
      let begun = 0
      await bugle.consume(
        'q',
        ({ id }: Job) => {
          begun += 1
          return id === first ? ends.promise : blocked.promise
        },
        { concurrency: 3, prefetch },
      )
      while (begun < 3) await new Promise((resolve) => setImmediate(resolve))
      await fence(db)
      ends.resolve()
      await untilState(db, first, null)
    })
  }
}

test('acks wait for no claim that hangs once the consumer stops', async ({ db, gate }) => {
  const gates = [gate(), gate()]
  const bugle = db.bugle()
  const ids = await bugle.putMany('q', [0, 1])
  let begun = 0
  const consumer = await bugle.consume(
    'q',
    async ({ payload }) => {
      begun += 1
      await gates[payload as number]?.promise
    },
    { concurrency: 2, prefetch: 0 },
  )
  while (begun < 2) await new Promise((resolve) => setImmediate(resolve))
  // Claims read this table, other statements of consumers do not.
  const stranger = db.connect()
  await stranger.unsafe(`begin; lock table ${db.s}.worker in access exclusive mode`)
  gates[0]?.resolve()
  await until(async () => (await db.sql`select from pg_locks where not granted`).length > 0)
  gates[1]?.resolve()
  const stopped = consumer.stop()
  for (const id of ids) await untilState(db, id, null)
  await stranger.unsafe('rollback')
  expect(await stopped).toMatchObject({ completed: 2, abandoned: [] })
})
