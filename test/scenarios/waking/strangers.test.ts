import { expect } from 'vitest'
import { signal, test } from '../../support/database.js'
import { untilAsleep, untilAwake } from '../../support/sleepers.js'

/** Jobs that come fast and wake a consumer for nothing: what it takes, what others put, and a job that it takes. */
const strangers = {
  'of another kind': {
    options: {},
    handler: (ran: () => void) => ({ rare: ran }),
    others: `(queue, kind, payload) values ('q', 'common', '1')`,
    own: { kind: 'rare' },
  },
  'with a flag that it does not take': {
    options: { withoutFlags: ['heavy'] },
    handler: (ran: () => void) => ran,
    others: `(queue, flags, payload) values ('q', '{heavy}', '1')`,
    own: {},
  },
  'that are due later': {
    options: {},
    handler: (ran: () => void) => ran,
    others: `(queue, run_at, payload) values ('q', now() + interval '50 s', '1')`,
    own: {},
  },
} as const

for (const [which, { options, handler, others, own }] of Object.entries(strangers)) {
  test(`linger: while jobs ${which} come fast, an idle consumer makes no writer notify`, async ({ db }) => {
    const bugle = db.bugle()
    let ran = signal()
    const consumer = await bugle.consume(
      'q',
      handler(() => ran.resolve()),
      options,
    )
    await untilAsleep(db, 'q')
    let isOver = false
    const writer = db.connect()
    const writing = (async () => {
      while (!isOver) {
        await writer.unsafe(`
          do $$ begin for n in 1..200 loop insert into ${db.s}.job ${others}; commit; end loop; end $$`)
      }
    })()
    // It gives the lock up, with nothing of its own found; and takes its jobs all the same.
    await untilAwake(db, 'q')
    await bugle.put('q', 'its own', own)
    await ran.promise
    isOver = true
    await writing
    await untilAsleep(db, 'q')
    ran = signal()
    await bugle.put('q', 'its own', own)
    await ran.promise
    await consumer.idle()
    expect(await db.sql.unsafe(`select from ${db.s}.job where payload = '"its own"'`)).toEqual([])
  })
}
