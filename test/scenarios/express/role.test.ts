import { expect } from 'vitest'
import { tableFaults } from '../../../src/consume/express/statements.js'
import { openLane, putRows } from '../../support/express.js'
import { operator } from '../../support/operator.js'
import { test } from '../../support/roles.js'

// The lane of a role that may no more than a consumer must, and defaults to other settings.

test('express: a consumer’s role may claim, ack and keep on a lane, and end its server process', async ({
  db,
  roles,
}) => {
  const theirs = { ...db, schema: roles.schema, s: roles.s, connectionString: roles.connectionString('consumer') }
  await db.sql.unsafe(`alter table ${roles.s}.job alter column payload set default '0'`)
  const ids = await putRows(theirs, 3)
  const { database } = operator(theirs)
  await database.ready()
  expect(await tableFaults(database.query)).toEqual([])
  const { started, over, acked } = await openLane(theirs, { claims: 2, limit: 2 })
  const [first, second] = await started()
  first?.begin()
  second?.begin()
  first?.ack()
  expect(await second?.keep()).toBe(true)
  const [third] = await started()
  third?.begin()
  third?.ack()
  expect(await over).toEqual({ is: 'closed' })
  expect(acked).toEqual([
    [ids[0], 'durable'],
    [ids[2], 'durable'],
  ])
  expect(await db.sql.unsafe(`select id, state from ${roles.s}.job`)).toEqual([{ id: ids[1], state: 'running' }])
})

test('express: a lane’s server process is told from a later one with its number', async ({ db, roles }) => {
  const theirs = { ...db, schema: roles.schema, s: roles.s, connectionString: roles.connectionString('consumer') }
  await putRows(theirs, 1)
  const { started, over, session, lane, database } = await openLane(theirs)
  await started()
  const { pid, started: since } = session()
  expect(
    await database.query('express_terminate', [pid, since.replace(/.$/, (digit) => (digit === '0' ? '1' : '0'))]),
  ).toEqual([])
  expect(lane.state).toBe('running')
  expect(await database.query('express_terminate', [pid, since])).toEqual([{ terminated: true }])
  expect(await over).toMatchObject({ is: 'lost' })
})

test('express: a lane has its own settings, whatever its role’s are', async ({ db, roles }) => {
  const name = `"${roles.names.consumer.replaceAll('"', '""')}"`
  const bad = {
    enable_tidscan: 'off',
    synchronous_commit: 'off',
    lock_timeout: '7ms',
    idle_in_transaction_session_timeout: '1h',
    default_transaction_isolation: 'serializable',
    default_transaction_read_only: 'off',
  }
  for (const [setting, value] of Object.entries(bad)) {
    await db.sql.unsafe(`alter role ${name} set ${setting} = '${value}'`)
  }
  await db.sql.unsafe(`create table ${roles.s}.seen as select name, setting from pg_settings where false`)
  await db.sql.unsafe(`grant insert on ${roles.s}.seen to ${name}`)
  const theirs = { ...db, schema: roles.schema, s: roles.s, connectionString: roles.connectionString('consumer') }
  await putRows(theirs, 1)
  const { started, lane, over } = await openLane(theirs, {
    hungAfterMs: 123_456,
    statements: (statements) => ({
      ...statements,
      express_lock: `insert into ${roles.s}.seen select name, setting from pg_settings
        where name in ('${Object.keys(bad).join(`', '`)}', 'transaction_isolation')`,
    }),
  })
  await started()
  await lane.close()
  expect(await over).toEqual({ is: 'closed' })
  const seen = await db.sql.unsafe<{ name: string; setting: string }[]>(`select * from ${roles.s}.seen`)
  expect(Object.fromEntries(seen.map((row) => [row.name, row.setting]))).toMatchObject({
    enable_tidscan: 'on',
    synchronous_commit: 'on',
    lock_timeout: '1000',
    idle_in_transaction_session_timeout: '123456',
    transaction_isolation: 'read committed',
  })
})
