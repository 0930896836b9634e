import { expect } from 'vitest'
import { test } from '../../support/database.js'

// As src/guides/schedules.md advises for a nightly job.
const statement = (s: string): string =>
  `select ${s}.put('reports', key => 'nightly', key_for_ms => 12 * 60 * 60 * 1000) as id`

test('ticks: of timers that fire at once, and once more after the job has run, one puts a job', async ({ db }) => {
  const bugle = db.bugle()
  const runs: string[] = []
  const consumer = await bugle.consume('reports', ({ id }) => void runs.push(id))
  const timers = [db.connect(), db.connect(), db.connect()]
  const fire = async () => {
    const answers = await Promise.all(timers.map((sql) => sql.unsafe<{ id: string }[]>(statement(db.s))))
    return answers.flat().map(({ id }) => id)
  }
  const first = await fire()
  expect(new Set(first).size).toBe(1)
  await consumer.idle()
  expect(runs).toEqual([first[0]])
  // A key alone would let these through: nothing waits any more.
  expect(await fire()).toEqual(first)
  await consumer.idle()
  expect(runs).toHaveLength(1)
})
