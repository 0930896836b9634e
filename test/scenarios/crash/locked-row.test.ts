import { expect } from 'vitest'
import { signal, test } from '../../support/database.js'
import { transaction } from '../../support/open-transaction.js'
import { lockHeld, workerIds } from '../../support/presence.js'

for (const [what, lock] of [
  ['the rows of all workers', 'select from SCHEMA.worker for update'],
  ['the table of workers', 'lock table SCHEMA.worker in share row exclusive mode'],
] as const) {
  const isRun = what === 'the rows of all workers' || Boolean(process.env.BUGLE_TEST_SLOW)
  test.runIf(isRun)(
    `presence: while somebody holds a lock on ${what}, it is reported, and jobs go on`,
    async ({ db }) => {
      const options = { rescueAfterMs: 2_000 }
      const bugles = [db.bugle(options), db.bugle(options)]
      let ran = signal<unknown>()
      const blocked = bugles.map((bugle) => db.collect(bugle, 'worker:blocked'))
      const lost = bugles.map((bugle) => db.collect(bugle, 'worker:lost'))
      for (const [index, bugle] of bugles.entries()) {
        await bugle.consume(`q${index}`, ({ payload }) => ran.resolve(payload))
        await lockHeld(db, bugle)
      }
      const ids = await workerIds(db)

      const end = await transaction(db, lock.replace('SCHEMA', db.s))
      const [row] = await db.sql<{ pid: number }[]>`
      select pid from pg_locks where relation = ${`${db.s}.worker`}::regclass and mode <> 'AccessShareLock'
        and mode <> 'RowExclusiveLock' and granted`
      for (const [index, told] of blocked.entries()) {
        expect(await told.next()).toEqual({ queue: null, workerId: bugles[index]?.workerId, pid: row?.pid })
      }
      // Longer than a worker may go unconfirmed, and than others wait before they ask for its lock.
      await db.sql`select pg_sleep(2.5)`
      for (const [index, bugle] of bugles.entries()) {
        ran = signal()
        await bugle.put(`q${index}`, index)
        expect(await ran.promise).toBe(index)
      }
      expect(await workerIds(db)).toEqual(ids)
      await end('rollback')
      for (const bugle of bugles) await lockHeld(db, bugle)
      expect(lost.flatMap(({ all }) => all)).toEqual([])
      expect(blocked.map(({ all }) => all.length)).toEqual([1, 1])
      expect(await workerIds(db)).toEqual(ids)
      expect(await db.jobs()).toEqual([])
    },
  )
}
