import { fork } from 'node:child_process'
import { expect, onTestFinished } from 'vitest'
import { takeSnapshot } from '../../faults/snapshot.mjs'
import { type TestDatabase, test } from '../../support/database.js'
import { until } from '../../support/until.js'

// A lane counts no crash: what it holds is no running row. Its deaths must lead to claims that count.

const processes = 8
const maxCrashes = 3

/** A fleet in which each process that dies is followed by another one. */
function startFleet({ connectionString, schema }: TestDatabase) {
  const { bugleUrl, remove } = takeSnapshot(undefined)
  const living = new Set<ReturnType<typeof fork>>()
  let deaths = 0
  let isOver = false
  function start(): void {
    const child = fork(new URL('../../support/poison-process.mjs', import.meta.url), [
      JSON.stringify({ bugleUrl, connectionString, schema }),
    ])
    living.add(child)
    child.once('exit', () => {
      living.delete(child)
      if (isOver) return
      deaths += 1
      start()
    })
  }
  for (let left = processes; left > 0; left -= 1) start()
  onTestFinished(() => {
    isOver = true
    for (const child of living) child.kill('SIGKILL')
    remove()
  })
  return { deaths: () => deaths }
}

test('express: a job that ends its process, in a fleet of eight with lanes, is failed and takes few with it', async ({
  db,
}) => {
  const put = (jobs: number) =>
    db.sql.unsafe(`insert into ${db.s}.job (queue, payload) select 'q', '1' from generate_series(1, ${jobs})`)
  const one = async <T>(text: string): Promise<T> => {
    const [row] = await db.sql.unsafe<{ value: T }[]>(text)
    return row?.value as T
  }
  const fleet = startFleet(db)
  const untilLanes = () =>
    until(async () => {
      const left = await one<number>(`select count(*)::int as value from ${db.s}.job`)
      if (left < 20_000) await put(10_000)
      return one<boolean>(`
        select count(*) >= 4 as value from ${db.s}.worker where 'q' = any (lanes) and seen_at > now() - interval '2 s'`)
    })
  await untilLanes()
  expect(fleet.deaths()).toBe(0)
  // Before all others of its priority that are put from now on, and behind a backlog for lanes.
  await db.sql.unsafe(`insert into ${db.s}.job (queue, payload, max_attempts) values ('q', '"poison"', 20)`)
  await put(20_000)
  await until(() => one<boolean>(`select exists (select from ${db.s}.job where state = 'failed') as value`))
  const [failed] = await db.sql.unsafe<{ payload: string; crashes: number }[]>(
    `select payload, crashes from ${db.s}.job where state = 'failed'`,
  )
  expect(failed).toEqual({ payload: 'poison', crashes: maxCrashes })
  // One lane may have died of it, uncounted, and one more that had looked at the row in that very moment.
  expect(fleet.deaths()).toBeGreaterThanOrEqual(maxCrashes)
  expect(fleet.deaths()).toBeLessThanOrEqual(maxCrashes + 2)
  await until(async () => (await one<number>(`select count(*)::int as value from ${db.s}.job`)) === 1)
  const uncounted = fleet.deaths() - maxCrashes
  const calm = await one<boolean>(`select count(*) > 0 as value from ${db.s}.queue where calm_ms is not null`)
  // It was a lane, if any, that has died uncounted; and whoever buried it has made the queue calm.
  if (uncounted > 0) expect(calm).toBe(true)
  console.log(`poison: ${fleet.deaths()} deaths, ${uncounted} of them on a lane`)
}, 240_000)
