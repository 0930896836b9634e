import { expect } from 'vitest'
import { signal, type TestDatabase } from '../../support/database.js'
import { test } from '../../support/gates.js'
import { untilAsleep, untilAwake, watchNotifications } from '../../support/sleepers.js'
import { untilShown, withoutHeartbeat } from '../../support/stopping.js'
import { until } from '../../support/until.js'

test('pause: while one process is paused the others go on, and its own writers are silent for it', async ({ db }) => {
  const paused = db.bugle(withoutHeartbeat)
  const consumer = await paused.consume('q', () => expect.unreachable())
  await untilAsleep(db, 'q')
  await consumer.pause()
  await untilAwake(db, 'q')
  const notified = await watchNotifications(db)
  await paused.put('q', 'silent')
  expect(await notified()).toEqual([])
  const seen: unknown[] = []
  const other = await db.bugle(withoutHeartbeat).consume('q', (job) => void seen.push(job.payload))
  await paused.put('q', 'second')
  await other.idle()
  expect(seen).toEqual(['silent', 'second'])
  expect(await db.jobs()).toEqual([])
})

test('pause: the consumer of a paused queue holds no lock, is not notified of puts, and does not poll', async ({
  db,
}) => {
  const bugle = db.bugle(withoutHeartbeat)
  const ran = signal()
  await bugle.consume('q', () => ran.resolve())
  await untilAsleep(db, 'q')
  await untilShown(db)
  await db.bugle().pause('q')
  await bugle.put('q', 'the one that tells it')
  await untilAwake(db, 'q')
  const notified = await watchNotifications(db)
  await bugle.putMany('q', [1, 2, 3])
  await bugle.put('q', 4)
  expect(await notified()).toEqual([])
  const before = await lastStatements(db)
  await new Promise((resolve) => setTimeout(resolve, 1_500))
  expect(await lastStatements(db)).toEqual(before)
  await bugle.resume('q')
  await ran.promise
})

test('pause: a consumer that is paused in this process neither polls nor is notified, also with jobs there', async ({
  db,
}) => {
  const bugle = db.bugle(withoutHeartbeat)
  const ran = signal()
  const consumer = await bugle.consume('q', () => ran.resolve())
  await untilAsleep(db, 'q')
  await consumer.pause()
  await untilAwake(db, 'q')
  await bugle.putMany('q', [1, 2, 3])
  // A heartbeat reports the pause soon.
  await until(() => saysPaused(db))
  const before = await lastStatements(db)
  await new Promise((resolve) => setTimeout(resolve, 1_500))
  expect(await lastStatements(db)).toEqual(before)
  consumer.resume()
  await ran.promise
})

/** When each session of the test's instances began its last statement. */
async function lastStatements(db: TestDatabase): Promise<string[]> {
  const pids = [...(await db.backends('')), ...(await db.backends('control'))]
  const rows = await db.sql<{ began: string }[]>`
    select query_start::text as began from pg_stat_activity where pid = any (${pids}) order by pid`
  return rows.map(({ began }) => began)
}

async function saysPaused(db: TestDatabase): Promise<boolean> {
  const [worker] = await db.sql.unsafe<{ paused: boolean }[]>(
    `select consumers @> '[{"isPaused": true}]' as paused from ${db.s}.worker`,
  )
  return worker?.paused ?? false
}
