import { expect } from 'vitest'
import { resolveConnection } from '../../../src/database/connection.js'
import { openSession, sessionSettings } from '../../../src/database/session.js'
import { loadStatements } from '../../../src/database/statements.js'
import { test as base, signal } from '../../support/database.js'
import { refusal } from '../../support/refusal.js'

/** A role of the test's own, as which `connectionString` connects. */
const test = base.extend<{ role: { readonly name: string; readonly connectionString: string } }>({
  role: async ({ db }, use) => {
    const name = `role_${db.schema.slice(5)}`
    await db.sql.unsafe(`create role ${name} superuser login`)
    const url = new URL(db.connectionString)
    url.username = name
    try {
      await use({ name, connectionString: url.href })
    } finally {
      await db.sql.unsafe(`drop role ${name}`)
    }
  },
})

test('a session of ours may use the plans that it is meant to use, whatever its role has switched off', async ({
  db,
  role,
}) => {
  const [server] = await db.sql<{ version: number }[]>`select current_setting('server_version_num')::int as version`
  const methods = await db.sql<
    { name: string }[]
  >`select name from pg_settings where name ~ '^enable_.*(scan|join|loop)$'`
  for (const { name } of methods) await db.sql.unsafe(`alter role ${role.name} set ${name} = off`)
  const settings = sessionSettings(server?.version ?? 0, 8_000)
  const session = await openSession({
    connection: resolveConnection({ connectionString: role.connectionString }, {}),
    stateStatement: loadStatements(db.schema).state,
    name: 'test',
    settings,
  })
  const { rows } = await session.client.query<{ name: string; setting: string }>(
    `select name, setting from pg_settings
     where name in ('enable_indexscan', 'enable_indexonlyscan', 'enable_nestloop', 'enable_seqscan') order by name`,
  )
  await session.end()
  expect(rows).toEqual([
    { name: 'enable_indexonlyscan', setting: 'on' },
    { name: 'enable_indexscan', setting: 'on' },
    { name: 'enable_nestloop', setting: 'on' },
    { name: 'enable_seqscan', setting: 'off' },
  ])
})

test('a role that is read only by default writes nothing, says why, and works once it may write', async ({
  db,
  role,
}) => {
  const id = await db.bugle().put('q', 'before')
  await db.sql.unsafe(`alter role ${role.name} set default_transaction_read_only = on`)
  const bugle = db.bugle({ connectionString: role.connectionString })
  const down = db.collect(bugle, 'database:down')
  const up = db.collect(bugle, 'database:up')
  const readOnly = {
    code: 'DATABASE_DOWN',
    message: expect.stringMatching(/^cannot write to .*default_transaction_read_only is on/),
  }
  expect(await refusal(() => bugle.put('q', 1))).toMatchObject(readOnly)
  expect(await refusal(() => bugle.cancel(id))).toMatchObject(readOnly)
  expect(await refusal(() => bugle.migrate())).toMatchObject(readOnly)
  const ran = signal<unknown>()
  const consuming = bugle.consume('q', (job) => ran.resolve(job.payload))
  expect(await down.next()).toMatchObject({ error: { name: 'ReadOnlyError' } })
  expect(await db.jobs()).toMatchObject([{ id, payload: 'before', state: 'ready', attempt: 0 }])
  expect(await db.sql.unsafe(`select from ${db.s}.worker`)).toEqual([])

  await db.sql.unsafe(`alter role ${role.name} reset default_transaction_read_only`)
  const consumer = await consuming
  expect(await ran.promise).toBe('before')
  await up.next()
  await consumer.idle()
  expect(await db.jobs()).toEqual([])
  await bugle.close()
})
