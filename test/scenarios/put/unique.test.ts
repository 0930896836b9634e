import { expect } from 'vitest'
import type { Bugle, PutOptions } from '../../../src/index.js'
import { type TestDatabase, test } from '../../support/database.js'
import { keyModes } from '../../support/key-modes.js'
import { refusal } from '../../support/refusal.js'

const ways: Record<string, (bugle: Bugle, payload: unknown, key: string) => Promise<unknown>> = {
  plain: (bugle, payload) => bugle.put('q', payload),
  many: (bugle, payload) => bugle.putMany('q', [payload]),
  'with options': (bugle, payload) => bugle.put('q', payload, { flags: ['f'] }),
  ...Object.fromEntries(
    keyModes.flatMap((keyMode) => [
      [keyMode, (bugle: Bugle, payload: unknown, key: string) => bugle.put('q', payload, { key, keyMode })],
      [
        `many, ${keyMode}`,
        (bugle: Bugle, payload: unknown, key: string) => bugle.putMany('q', [payload], { key, keyMode }),
      ],
    ]),
  ),
}

/** Each way of putting, with and without a transaction, is refused, and writes nothing. */
async function expectRefused(db: TestDatabase, payload: unknown, expected: object): Promise<void> {
  const bugle = db.bugle()
  const before = await db.jobs()
  for (const [way, put] of Object.entries(ways)) {
    expect(await refusal(() => put(bugle, payload, way)), way).toMatchObject(expected)
    const inTransaction = db.sql.begin(async (tx) => {
      const options: PutOptions = { tx, key: way, keyMode: 'reject' }
      throw await refusal(() => bugle.put('q', payload, options))
    })
    await expect(inTransaction).rejects.toMatchObject(expected)
  }
  expect(await db.jobs()).toEqual(before)
}

test('H5 an id that a job has already is ID_TAKEN, whatever the put, and no key is said to be taken', async ({
  db,
}) => {
  await db.bugle().putMany('q', Array(200).fill(0))
  await db.sql.unsafe(`alter table ${db.s}.job alter column id restart with 1`)
  await expectRefused(db, 1, { code: 'ID_TAKEN', message: expect.stringMatching(/"job_pkey".*setval/) })
})

test('H5 what a unique index of the application’s own refuses is INVALID_PAYLOAD, and names the index', async ({
  db,
}) => {
  await db.sql.unsafe(`create unique index their_orders on ${db.s}.job ((payload ->> 'order'))`)
  await db.bugle().put('q', { order: 7 })
  await expectRefused(db, { order: 7 }, { code: 'INVALID_PAYLOAD', message: expect.stringMatching(/their_orders/) })
})

/** From now on each second statement that inserts meets a key that no look at the index has shown. */
async function meetKeyTwice(db: TestDatabase, index: string): Promise<void> {
  await db.sql.unsafe(`
    create sequence ${db.s}.met;
    create function ${db.s}.meet() returns trigger language plpgsql as
      $$ begin
        if nextval('${db.s}.met') % 2 = 1 then
          raise unique_violation using message = 'met', constraint = '${index}';
        end if;
        return new;
      end $$;
    create trigger a_key before insert on ${db.s}.job for each row execute function ${db.s}.meet()`)
}

for (const index of ['job_key', 'job_key_ccnew']) {
  test(`H5 keep and replace are sent again where ${index} refuses them, and reject is KEY_TAKEN`, async ({ db }) => {
    await meetKeyTwice(db, index)
    const bugle = db.bugle()
    for (const keyMode of ['keep', 'replace'] as const) {
      await bugle.put('q', keyMode, { key: keyMode, keyMode })
      await bugle.putMany('q', [`many ${keyMode}`], { key: `many ${keyMode}`, keyMode })
    }
    const reject = { key: 'another', keyMode: 'reject' } as const
    expect(await refusal(() => bugle.put('q', 'reject', reject))).toMatchObject({ code: 'KEY_TAKEN' })
    await bugle.put('q', 'reject', reject)
    expect(await refusal(() => bugle.putMany('q', ['more'], { ...reject, key: 'more' }))).toMatchObject({
      code: 'KEY_TAKEN',
    })
    const payloads = (await db.jobs()).map(({ payload }) => payload)
    expect(payloads).toEqual(['keep', 'many keep', 'replace', 'many replace', 'reject'])
  })

  test(`H5 in a transaction a keep that ${index} refuses is never KEY_TAKEN`, async ({ db }) => {
    await meetKeyTwice(db, index)
    const failed = db.sql.begin((tx) => db.bugle().put('q', 1, { tx, key: 'k', keyMode: 'keep' }))
    await expect(failed).rejects.toMatchObject({ code: '23505', constraint_name: index })
    expect(await db.jobs()).toEqual([])
  })
}

test('H5 while the indexes are made anew, no put with a key is refused for another reason than its key', async ({
  db,
}) => {
  const bugle = db.bugle({ poolSize: 12 })
  let isOver = false
  const errors: unknown[] = []
  const putting = Array.from({ length: 6 }, async (_, n) => {
    const keyMode = keyModes[n % keyModes.length] ?? 'keep'
    for (let round = 0; !isOver; round += 1) {
      const key = `k${round % 3}`
      await bugle.put('q', n, { key, keyMode }).catch((error) => errors.push(error.code))
      if (n === 0) await db.sql.unsafe(`delete from ${db.s}.job where key = '${key}'`)
    }
  })
  for (let round = 0; round < 3; round += 1) await db.sql.unsafe(`reindex index concurrently ${db.s}.job_key`)
  isOver = true
  await Promise.all(putting)
  expect(errors.filter((code) => code !== 'KEY_TAKEN')).toEqual([])
})

for (const isolation of ['repeatable read', 'serializable']) {
  test(`H5 by a role whose transactions are ${isolation}, puts with one key at once all succeed`, async ({ db }) => {
    await db.sql.unsafe(`
      create role ${db.s} login superuser;
      alter role ${db.s} set default_transaction_isolation = '${isolation}'`)
    const connectionString = Object.assign(new URL(db.connectionString), { username: db.schema }).href
    // As behind a pooler: our sessions set nothing.
    const bugle = db.bugle({ connectionString, prepare: false, poolSize: 16 })
    try {
      for (const keyMode of ['keep', 'replace'] as const) {
        for (let round = 0; round < 2; round += 1) {
          const puts = Array.from({ length: 16 }, (_, n) => bugle.put('q', n, { key: `${keyMode} ${round}`, keyMode }))
          expect(new Set(await Promise.all(puts)).size).toBe(1)
        }
      }
      expect(await db.jobs()).toHaveLength(4)
    } finally {
      await bugle.close()
      await db.sql.unsafe(`drop role ${db.s}`)
    }
  })
}

test('input: a limit that the server has met is no fault of the payload, and its error comes through', async ({
  db,
}) => {
  await db.sql.unsafe(`
    create function ${db.s}.full() returns trigger language plpgsql as
      $$ begin raise program_limit_exceeded using message = 'too many notifications in the NOTIFY queue'; end $$;
    create trigger at_its_limit before insert on ${db.s}.job for each row execute function ${db.s}.full()`)
  const bugle = db.bugle()
  for (const put of Object.values(ways)) await expect(put(bugle, 1, 'k')).rejects.toMatchObject({ code: '54000' })
  expect(await db.jobs()).toEqual([])
})
