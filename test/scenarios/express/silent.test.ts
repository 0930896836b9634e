import { expect } from 'vitest'
import { type TestDatabase, test } from '../../support/database.js'
import { openLane, putRows } from '../../support/express.js'
import { startProxy } from '../../support/proxy.js'

// A lane whose other side, or whose own process, says nothing.

async function silentProxy(db: TestDatabase) {
  const { hostname, port } = new URL(db.connectionString)
  const proxy = await startProxy({ host: hostname, port: Number(port) })
  const url = new URL(db.connectionString)
  url.port = String(proxy.port)
  return { proxy, connectionString: url.href }
}

test('express: a commit that is not answered within 2 s is not known, and all of it is written alone', async ({
  db,
}) => {
  const { proxy, connectionString } = await silentProxy(db)
  const [acks = '', runs = ''] = await putRows(db, 2)
  const { started, over, acked, lost } = await openLane(db, { connectionString })
  const [first, second] = await started()
  proxy.freeze()
  first?.begin()
  second?.begin()
  first?.ack()
  expect(await second?.keep()).toBe(true)
  expect(await over).toMatchObject({ is: 'lost', error: { code: 'DEADLINE' } })
  expect(acked).toEqual([[acks, 'durable']])
  expect(lost).toEqual([])
  expect(await db.jobs()).toMatchObject([{ id: runs, state: 'running', attempt: 1 }])
  await proxy.close()
})

test('express: a claim that is not answered within 2 s ends the lane, and nothing has run', async ({ db }) => {
  const { proxy, connectionString } = await silentProxy(db)
  const [id] = await putRows(db, 1)
  const { over, lane } = await openLane(db, {
    connectionString,
    disguise: (session) => ({
      ...session,
      lost: null,
      exchange(statements) {
        proxy.freeze()
        return session.exchange(statements)
      },
    }),
  })
  expect(await over).toMatchObject({ is: 'lost', error: { code: 'DEADLINE' } })
  expect(lane.jobs).toBe(0)
  expect(await db.jobs()).toMatchObject([{ id, state: 'ready' }])
  await proxy.close()
})

test('express: a process that does nothing in its transaction is cut off, and its acks go alone', async ({ db }) => {
  const [acks = '', runs = ''] = await putRows(db, 2)
  const { started, over, acked } = await openLane(db, { hungAfterMs: 300 })
  const [first, second] = await started()
  first?.begin()
  second?.begin()
  first?.ack()
  expect(await over).toMatchObject({ is: 'failed', error: { code: '25P03' } })
  expect(await second?.keep()).toBe(true)
  expect(acked).toEqual([[acks, 'durable']])
  expect(await db.jobs()).toMatchObject([{ id: runs, state: 'running' }])
})

test('express: a table that is locked for longer than a second ends the lane, and nothing has run', async ({ db }) => {
  const [id] = await putRows(db, 1)
  const locker = db.connect()
  await locker`begin`
  await locker.unsafe(`lock table ${db.s}.job in share mode`)
  const { over } = await openLane(db)
  expect(await over).toMatchObject({ is: 'failed', error: { code: '55P03' } })
  await locker`rollback`
  expect(await db.jobs()).toMatchObject([{ id, state: 'ready' }])
  // No lock of the lane's is left.
  expect(await db.sql.unsafe(`select id from ${db.s}.job for update skip locked`)).toHaveLength(1)
})

test('express: a kept job whose row somebody has locked is lost to us, and the others run on', async ({ db }) => {
  const ids = await putRows(db, 3)
  const locker = db.connect()
  const { started, over, lost, session } = await openLane(db, {
    query: (query) => async (name, values) => {
      if (name === 'express_terminate') {
        await locker`begin`
        await locker.unsafe(`select from ${db.s}.job where id = ${ids[1]} for update`)
      }
      return query(name, values)
    },
  })
  for (const job of await started()) job.begin()
  await db.kill([session().pid])
  expect(await over).toMatchObject({ is: 'lost' })
  expect(lost).toEqual([ids[1]])
  await locker`rollback`
  expect((await db.jobs()).map(({ state }) => state)).toEqual(['running', 'ready', 'running'])
})
