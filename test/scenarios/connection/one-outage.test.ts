import { expect } from 'vitest'
import type { Bugle } from '../../../src/index.js'
import { test as base } from '../../support/database.js'
import { refusal } from '../../support/refusal.js'

// Some connections of an instance go on answering while others are refused. That is one outage, told once.

interface Role {
  /** Change it, by what follows `alter role NAME`. */
  alter(how: string): Promise<unknown>
  /** An instance of that role's, with an open connection for what consumers need, and none for puts. */
  bugle(): Promise<Bugle>
}

/** A role that is no superuser, and may use the schema's tables. */
const test = base.extend<{ role: Role }>({
  role: async ({ db }, use) => {
    await db.sql.unsafe(`
      create role ${db.s} login;
      grant all on schema ${db.s} to ${db.s};
      grant all on all tables in schema ${db.s} to ${db.s};
      grant all on all sequences in schema ${db.s} to ${db.s}`)
    const url = new URL(db.connectionString)
    url.username = db.schema
    const bugles: Bugle[] = []
    await use({
      alter: (how) => db.sql.unsafe(`alter role ${db.s} ${how}`),
      async bugle() {
        const bugle = db.bugle({ connectionString: url.href, poolSize: 2 })
        bugles.push(bugle)
        expect(await bugle.health()).toMatchObject({ isHealthy: true })
        return bugle
      },
    })
    await Promise.all(bugles.map((bugle) => bugle.close()))
    await db.sql.unsafe(`drop owned by ${db.s}; drop role ${db.s}`)
  },
})

/** Each put is refused, and each look at the database is answered. */
async function inTurns(bugle: Bugle): Promise<void> {
  for (let turn = 0; turn < 3; turn += 1) {
    expect(await refusal(() => bugle.put('q', 'refused'))).toMatchObject({ code: 'DATABASE_DOWN' })
    expect((await bugle.health()).database.isUp).toBe(true)
  }
}

test('no slot is left for one more connection, while those that are open answer: one outage', async ({ db, role }) => {
  const bugle = await role.bugle()
  const downs = db.collect(bugle, 'database:down')
  const ups = db.collect(bugle, 'database:up')
  await role.alter('connection limit 1')
  await inTurns(bugle)
  expect(downs.all).toMatchObject([{ error: { code: '53300' } }])
  expect(ups.all).toEqual([])
  // Nobody puts, and it ends all the same.
  await role.alter('connection limit 10')
  await ups.next()
  await bugle.put('q', 'taken')
  expect([downs.all.length, ups.all.length]).toEqual([1, 1])
  expect(await db.jobs()).toMatchObject([{ payload: 'taken' }])
})

test('a server that is made read only, while open connections answer what only reads: one outage', async ({
  db,
  role,
}) => {
  const bugle = await role.bugle()
  const downs = db.collect(bugle, 'database:down')
  const ups = db.collect(bugle, 'database:up')
  await bugle.put('q', 'before')
  // New sessions are read only; those that are open are refused what they write.
  await role.alter('set default_transaction_read_only = on')
  await db.sql.unsafe(`
    create function ${db.s}.refuse() returns trigger language plpgsql as
      $$ begin raise sqlstate '25006'; end $$;
    create trigger refuse before insert on ${db.s}.job execute function ${db.s}.refuse()`)
  await inTurns(bugle)
  expect([downs.all.length, ups.all.length]).toEqual([1, 0])
  await db.sql.unsafe(`drop function ${db.s}.refuse cascade`)
  await role.alter('reset default_transaction_read_only')
  await ups.next()
  await bugle.put('q', 'after')
  expect([downs.all.length, ups.all.length]).toEqual([1, 1])
  expect(await db.jobs()).toMatchObject([{ payload: 'before' }, { payload: 'after' }])
})
