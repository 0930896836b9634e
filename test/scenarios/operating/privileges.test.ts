import { expect } from 'vitest'
import { signal } from '../../support/database.js'
import { refusal } from '../../support/refusal.js'
import { test } from '../../support/roles.js'

const noPrivilege = (what: RegExp) => ({
  code: 'NO_PRIVILEGE',
  message: expect.stringMatching(new RegExp(`${what.source}.*\`bugle grants\``)),
  cause: { code: '42501' },
})

test('K grants: a privilege that is missing is NO_PRIVILEGE, which names what on and the remedy', async ({
  db,
  roles,
}) => {
  const producer = roles.bugle('producer')
  await producer.put('q', 'granted')
  const role = `"${roles.names.producer.replaceAll('"', '""')}"`
  await db.sql.unsafe(`
    revoke insert on ${roles.s}.job from ${role};
    revoke insert (queue, kind, payload, priority, run_at, key, key_while, flags, max_attempts, timeout_ms)
      on ${roles.s}.job from ${role};
    revoke execute on function ${roles.s}.put_keyed(text, json, text, boolean) from ${role}`)
  const table = noPrivilege(/put.*permission denied for table job/)
  expect(await refusal(() => producer.put('q', 1))).toMatchObject(table)
  expect(await refusal(() => producer.putMany('q', [1]))).toMatchObject(table)
  const keep = { key: 'k', keyMode: 'keep' } as const
  expect(await refusal(() => producer.put('q', 1, keep))).toMatchObject(
    noPrivilege(/put.*permission denied for function put_keyed/),
  )
  const sql = roles.connect('producer')
  const inTransaction = sql.begin((tx) => producer.put('q', 1, { tx }))
  await expect(inTransaction).rejects.toMatchObject(table)
  expect(await refusal(() => producer.job('1'))).toMatchObject(noPrivilege(/job.*permission denied for table/))
  expect(await refusal(() => producer.cancel('1'))).toMatchObject(noPrivilege(/cancel.*permission denied for function/))
  expect(await refusal(() => producer.consume('q', () => {}))).toMatchObject(
    noPrivilege(/permission denied for table worker/),
  )
  // It is there, and answers.
  expect(await producer.health()).toMatchObject({ isHealthy: true, database: { isUp: true } })
})

test('K grants: where not even the migrations may be read, the database is up, and says why not', async ({
  db,
  roles,
}) => {
  await db.sql.unsafe(`revoke select on ${roles.s}.migration from "${roles.names.producer.replaceAll('"', '""')}"`)
  const producer = roles.bugle('producer')
  const downs = db.collect(producer, 'database:down')
  const expected = noPrivilege(/permission denied for table migration/)
  expect(await refusal(() => producer.put('q', 1))).toMatchObject(expected)
  expect(await refusal(() => producer.consume('q', () => {}))).toMatchObject(expected)
  expect(await producer.health()).toMatchObject({
    isHealthy: false,
    problems: [expect.stringMatching(/permission denied for table migration.*`bugle grants`/)],
    database: { isUp: true },
  })
  expect(downs.all).toEqual([])
})

test('K grants: a consumer that loses a privilege reports it with its remedy, and goes on once it is back', async ({
  db,
  roles,
}) => {
  const bugle = roles.bugle('consumer')
  const errors = db.collect(bugle, 'claim:error')
  const downs = db.collect(bugle, 'database:down')
  const ran = signal()
  const consumer = await bugle.consume('q', () => ran.resolve())
  await consumer.idle()
  const role = `"${roles.names.consumer.replaceAll('"', '""')}"`
  await db.sql.unsafe(`revoke update on ${roles.s}.job from ${role}`)
  await roles.bugle('producer').put('q', 1)
  expect((await errors.next()).error).toMatchObject(noPrivilege(/permission denied for table job/))
  await db.sql.unsafe(`grant update on ${roles.s}.job to ${role}`)
  await ran.promise
  expect(downs.all).toEqual([])
})
