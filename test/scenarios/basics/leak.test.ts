import { fork } from 'node:child_process'
import { once } from 'node:events'
import { expect, onTestFinished } from 'vitest'
import { test } from '../../support/database.js'
import { workerRows } from '../../support/stopping.js'
import { until } from '../../support/until.js'

const rounds = process.env.BUGLE_TEST_SLOW ? 200 : 20

test(`no leak: ${rounds} starts and stops leave no connection, lock, row, timer, socket or listener; memory is flat`, {
  timeout: 60_000 + rounds * 1_000,
}, async ({ db }) => {
  const { connectionString, schema } = db
  const child = fork(
    new URL('../../support/leak-process.mjs', import.meta.url),
    [JSON.stringify({ connectionString, schema, rounds })],
    { execArgv: ['--expose-gc'] },
  )
  onTestFinished(() => {
    child.kill('SIGKILL')
  })
  const exited = once(child, 'exit')
  const ended = exited.then(([code]) => Promise.reject(new Error(`the process ended with ${code} before its end`)))
  const [told] = (await Promise.race([once(child, 'message'), ended])) as [Leaks]
  ended.catch(() => {})

  // It lives still: whatever it had not given back would be there.
  expect(told.after).toEqual(told.before)
  expect(await workerRows(db)).toEqual([])
  expect(await db.jobs()).toEqual([])
  // A backend ends some moments after its client has left.
  const backends = () => db.sql`select pid from pg_stat_activity where application_name like ${`${schema}%`}`
  await until(async () => (await backends()).length === 0)
  const locks = await db.sql.unsafe(
    `select locktype, mode, pid from pg_locks
       where locktype = 'advisory' and classid in ('${db.s}.job'::regclass::oid, '${db.s}.worker'::regclass::oid)`,
  )
  expect(locks).toEqual([])
  const perRound = (told.heapAtEnd - told.heapAfterWarmUp) / (rounds - Math.max(4, Math.floor(rounds / 4)))
  // An instance holds some 100 kB while it lives: one that stayed in each round would show. The first rounds compile.
  expect(perRound).toBeLessThan(rounds >= 200 ? 5_000 : 80_000)
  child.send('end')
  expect(await exited).toEqual([0, null])
})

interface Leaks {
  readonly before: object
  readonly after: object
  readonly heapAfterWarmUp: number
  readonly heapAtEnd: number
}
