import { expect } from 'vitest'
import { countIn } from '../../support/counts.js'
import { signal } from '../../support/database.js'
import { test } from '../../support/gates.js'
import { until } from '../../support/until.js'

for (const [where, rescueAfterMs] of [
  ['in this process', 3_600_000],
  ['in another process', 300],
] as const) {
  test(`pause: a queue that is paused ${where} gets back what is held and has not begun`, async ({ db, gate }) => {
    const bugle = db.bugle({ rescueAfterMs, hungAfterMs: 3_600_000 })
    const other = where === 'in this process' ? bugle : db.bugle()
    const first = gate()
    const begun = signal()
    const ran: unknown[] = []
    // A number given as prefetch is held for as long as it takes.
    const options = { concurrency: 1, prefetch: 20 }
    const consumer = await bugle.consume(
      'q',
      async ({ payload }) => {
        ran.push(payload)
        begun.resolve()
        if (payload === 1) await first.promise
      },
      options,
    )
    await bugle.putMany(
      'q',
      Array.from({ length: 10 }, (_, n) => n + 1),
    )
    await begun.promise
    await until(async () => (await countIn(db, 'running')) === 10)

    expect(await other.pause('q')).toBe(true)
    await until(async () => (await countIn(db, 'ready')) === 9)
    expect((await db.jobs()).filter(({ state }) => state === 'ready').map(({ attempt }) => attempt)).toEqual(
      Array(9).fill(0),
    )
    first.resolve()
    await until(async () => (await countIn(db, 'running')) === 0)
    expect(ran).toEqual([1])

    expect(await other.resume('q')).toBe(true)
    await consumer.idle()
    expect(ran.toSorted((a, b) => Number(a) - Number(b))).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    expect(await db.jobs()).toEqual([])
  })
}
