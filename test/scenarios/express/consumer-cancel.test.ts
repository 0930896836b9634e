import { expect } from 'vitest'
import type { CancelAnswer } from '../../../src/index.js'
import { runCli } from '../../support/cli.js'
import { signal, type TestDatabase, test } from '../../support/database.js'
import { putRows } from '../../support/express.js'
import { holdLane, type LaneConsumer, lanesOpenSoon } from '../../support/lane-consumer.js'
import { aborted } from '../../support/stopping.js'
import { until } from '../../support/until.js'

// Jobs of a lane are cancelled: whoever cancels waits for the batch, and then finds the row gone, ready or running.

const laneConsumer = await lanesOpenSoon()
const still = { mostMs: 60_000, patienceMs: 60_000 } as const

/** Who asks for the cancel of a job, and how. */
const askers: Record<string, (db: TestDatabase, here: LaneConsumer, id: string) => Promise<unknown>> = {
  'by the instance that runs it': (_db, { bugle }, id) => bugle.cancel(id),
  'by another instance': (db, _here, id) => db.bugle().cancel(id),
  'by the SQL function': async (db, _here, id) =>
    (await db.sql.unsafe(`select ${db.s}.cancel(${id}) as answer`))[0]?.answer,
  'by the command': (db, _here, id) => runCli(db, ['cancel', id]),
}

/** A statement waits for a row of the lane's. */
async function untilBlocked(db: TestDatabase, pid: number): Promise<void> {
  await until(async () => {
    const blocked = await db.sql`select from pg_stat_activity where ${pid} = any (pg_blocking_pids(pid))`
    return blocked.length > 0
  })
}

for (const [who, ask] of Object.entries(askers)) {
  test(`express: a job that runs on a lane is cancelled ${who}: its handler is told, and it fails so`, async ({
    db,
  }) => {
    await putRows(db, 1_500)
    const reason = signal<unknown>()
    let itself = ''
    // With the timer of a lane: nobody else cuts it.
    const here = await laneConsumer(db, {
      handler: async ({ id }, context, { isOnLane }) => {
        if (itself !== '' || !isOnLane(id)) return
        itself = id
        const why = await aborted(context)
        reason.resolve(why)
        throw why
      },
    })
    const failed = db.collect(here.bugle, 'job:failed')
    await until(() => itself)
    await ask(db, here, itself)
    expect(await reason.promise).toMatchObject({ code: 'CANCELLED' })
    expect(await failed.next()).toMatchObject({ id: itself, cause: 'cancelled' })
    await here.consumer.idle()
    expect(await db.jobs()).toMatchObject([
      { id: itself, state: 'failed', attempt: 1, last_error: { failedBy: 'cancelled' } },
    ])
  })

  test(`express: a job that a lane holds is cancelled ${who}: it never runs`, async ({ db }) => {
    await putRows(db, 1_500)
    const go = signal()
    const ran: string[] = []
    const here = await laneConsumer(db, {
      ...still,
      consume: { concurrency: 2 },
      handler: async ({ id }, _, { isOnLane }) => {
        ran.push(id)
        if (isOnLane(id)) await go.promise
      },
    })
    const batch = await here.untilBegun(2)
    const held = batch.findLast(({ part }) => part === 'held')?.claimed.job.id ?? ''
    const cancelled = ask(db, here, held)
    await untilBlocked(db, await here.untilOpen())
    await here.lanes[0]?.lane.close()
    await cancelled
    go.resolve()
    await here.consumer.idle()
    expect(ran).not.toContain(held)
    expect(await db.jobs()).toMatchObject([
      { id: held, state: 'failed', attempt: 0, last_error: { failedBy: 'cancelled' } },
    ])
  })
}

test('express: a job whose ack waits for the commit is not found by a cancel', async ({ db }) => {
  await putRows(db, 1_500)
  const held = holdLane('express_commit')
  const here = await laneConsumer(db, { ...held, handler: () => {} })
  const acked = db.collect(here.bugle, 'job:acked')
  await held.waits
  const [batch = []] = here.lanes[0]?.batches ?? []
  const id = batch.find(({ part }) => part === 'acked')?.claimed.job.id ?? ''
  expect(await here.bugle.cancel(id)).toBe('not-found' satisfies CancelAnswer)
  held.release()
  await here.consumer.idle()
  expect(acked.all.filter((data) => data.id === id).length).toBe(1)
  expect(await db.jobs()).toEqual([])
})
