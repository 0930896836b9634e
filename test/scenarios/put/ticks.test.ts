import { expect } from 'vitest'
import { test } from '../../support/database.js'

// As README advises where several timers may fire.
const statement = (s: string): string => `
  with tick as (
    insert into ${s}.tick (name, at) values ('report', date_trunc('hour', now() + '30 minutes'))
    on conflict do nothing returning at)
  select ${s}.put('reports', to_jsonb(at)) from tick`

test('ticks: of timers that fire at once, and once more after the job has run, one puts a job', async ({ db }) => {
  await db.sql.unsafe(`create table ${db.s}.tick (name text, at timestamptz, primary key (name, at))`)
  const bugle = db.bugle()
  const runs: unknown[] = []
  const consumer = await bugle.consume('reports', ({ payload }) => void runs.push(payload))
  const timers = [db.connect(), db.connect(), db.connect()]
  const fire = () => Promise.all(timers.map((sql) => sql.unsafe(statement(db.s))))
  expect((await fire()).flat()).toHaveLength(1)
  await consumer.idle()
  expect(runs).toHaveLength(1)
  // A key would let this one through: nothing waits any more.
  expect((await fire()).flat()).toEqual([])
  await consumer.idle()
  expect(runs).toHaveLength(1)
})
