import { drizzle } from 'drizzle-orm/node-postgres'
import { expect } from 'vitest'
import { type TestDatabase, test } from '../../support/database.js'
import { refusal } from '../../support/refusal.js'
import {
  accounts,
  createKnexOf,
  createKysely,
  createPrisma,
  libraries,
  openLibrary,
  openPool,
} from '../../support/transactions.js'

const wrapped = libraries.filter(({ name }) => /^(Kysely|Drizzle|Knex|Prisma)/.test(name))

for (const library of wrapped) {
  test(`transactions: with ${library.name}, its own transaction is taken as it is`, async ({ db }) => {
    const opened = await openLibrary(db, library)
    const bugle = db.bugle()
    await opened.transaction(async ({ raw, insert }) => {
      await insert('kept')
      const tx = raw as never
      await bugle.put('q', 'kept', { tx, key: 'k', priority: 5 })
      await bugle.putMany('q', ['one', 'two'], { tx })
      expect(await db.jobs()).toEqual([])
    })
    const rolledBack = opened.transaction(async ({ raw, insert }) => {
      await insert('gone')
      await bugle.put('q', 'gone', { tx: raw as never })
      throw new Error('no')
    })
    await expect(rolledBack).rejects.toThrow('no')
    expect((await db.jobs()).map(({ payload }) => payload)).toEqual(['kept', 'one', 'two'])
    expect(await accounts(db)).toEqual(['kept'])
  })
}

/** What has no transaction, of each library, and what a put says of it. */
const outside: Record<string, [open: (db: TestDatabase) => unknown, says: RegExp]> = {
  'a Kysely': [createKysely, /^fromKysely takes .* got a Kysely that is no transaction$/],
  'a Drizzle database': [(db) => drizzle({ client: openPool(db) }), /^fromDrizzle takes .* got a Drizzle database$/],
  'a Knex': [createKnexOf, /^fromKnex takes .* got a Knex that is no transaction$/],
  'a Prisma client': [createPrisma, /^fromPrisma takes .* got a Prisma client$/],
  'a pg pool': [openPool, /got a pg pool: pass the client that pool.connect\(\) gave you$/],
  'a postgres.js instance': [(db) => db.connect(), /got a postgres.js instance: pass what sql.begin gives/],
}

for (const [what, [open, says]] of Object.entries(outside)) {
  test(`transactions: ${what} is refused by name, and nothing is written`, async ({ db }) => {
    const bugle = db.bugle()
    const tx = (await open(db)) as never
    const expected = { code: 'INVALID_OPTION', message: expect.stringMatching(says) }
    expect(await refusal(() => bugle.put('q', 1, { tx }))).toMatchObject(expected)
    expect(await refusal(() => bugle.putMany('q', [1], { tx }))).toMatchObject(expected)
    expect(await db.jobs()).toEqual([])
  })
}
