import { execFile, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { promisify } from 'node:util'
import pg from 'pg'
import { expect, onTestFinished } from 'vitest'
import { signal, type TestDatabase, test } from '../../support/database.js'
import { untilAsleep, watchNotifications } from '../../support/sleepers.js'

const hasPsql = spawnSync('psql', ['--version']).error === undefined

const strangers: Record<string, (db: TestDatabase) => Promise<unknown>> = {
  psql: (db) =>
    promisify(execFile)('psql', [
      '--no-psqlrc',
      '--set=ON_ERROR_STOP=1',
      `--command=insert into ${db.s}.job (queue, payload) values ('emails', '"from outside"')`,
      db.connectionString,
    ]),
  'select bugle.put(…)': (db) => db.sql.unsafe(`select ${db.s}.put('emails', '"from outside"')`),
  COPY: async (db) => {
    const copy = await db.sql.unsafe(`copy ${db.s}.job (queue, payload) from stdin`).writable()
    copy.end('emails\t"from outside"\n')
    await once(copy, 'finish')
  },
  'a transaction of another driver (pg)': async (db) => {
    const client = await connectPg(db)
    await client.query('begin isolation level repeatable read')
    await client.query(`insert into ${db.s}.job (queue, payload) values ('emails', '"from outside"')`)
    await client.query('commit')
  },
}

for (const [stranger, insert] of Object.entries(strangers)) {
  test(`A5 a job put by ${stranger} wakes a sleeping consumer`, async ({ db, skip }) => {
    if (stranger === 'psql' && !hasPsql) {
      console.warn('SKIPPED: A5 by psql: there is no psql program on this machine')
      skip('there is no psql program on this machine')
    }
    const bugle = db.bugle()
    const ran = signal<unknown>()
    const consumer = await bugle.consume('emails', (job) => ran.resolve(job.payload))
    await untilAsleep(db, 'emails')
    const notified = await watchNotifications(db)
    await insert(db)
    expect(await ran.promise).toBe('from outside')
    await consumer.idle()
    expect(await db.jobs()).toEqual([])
    expect(await notified()).toEqual(['emails'])
  })
}

/** Puts in a transaction of one kind, and calls `end` inside it. The transaction rolls back when `end` throws. */
type Transactor = (db: TestDatabase, put: (tx: never) => Promise<unknown>, end: () => Promise<void>) => Promise<void>

const transactors: Record<string, Transactor> = {
  'a postgres.js transaction': async (db, put, end) => {
    await db.connect().begin(async (tx) => {
      await put(tx as never)
      await end()
    })
  },
  'a pg client': async (db, put, end) => {
    const client = await connectPg(db)
    await inPg(client, () => put(client as never), end)
  },
  'a function that answers with rows': async (db, put, end) => {
    const client = await connectPg(db)
    const tx = async (text: string, values: unknown[]) => (await client.query(text, values)).rows
    await inPg(client, () => put(tx as never), end)
  },
  'a function that answers with a result': async (db, put, end) => {
    const client = await connectPg(db)
    const tx = (text: string, values: unknown[]) => client.query(text, values)
    await inPg(client, () => put(tx as never), end)
  },
}

for (const [kind, transact] of Object.entries(transactors)) {
  test(`A6 a job put with ${kind} that rolls back leaves nothing`, async ({ db }) => {
    const bugle = db.bugle()
    const seen: unknown[] = []
    const consumer = await bugle.consume('emails', (job) => void seen.push(job.payload))
    await untilAsleep(db, 'emails')
    const rollback = new Error('no')
    const ids: unknown[] = []
    await expect(
      transact(
        db,
        async (tx) => {
          ids.push(await bugle.put('emails', 'one', { tx }))
          ids.push(...(await bugle.putMany('emails', ['two', 'three'], { tx })))
        },
        () => Promise.reject(rollback),
      ),
    ).rejects.toBe(rollback)
    expect(ids).toHaveLength(3)
    await bugle.put('emails', 'marker')
    await consumer.idle()
    expect(seen).toEqual(['marker'])
    expect(await db.jobs()).toEqual([])
  })

  test(`A6 a job put with ${kind} starts after the commit, never before`, async ({ db }) => {
    const bugle = db.bugle()
    const order: unknown[] = []
    const marked = signal()
    const consumer = await bugle.consume('emails', (job) => {
      order.push(job.payload)
      if (job.payload === 'marker') marked.resolve()
    })
    await untilAsleep(db, 'emails')
    await transact(
      db,
      async (tx) => {
        await bugle.put('emails', 'one', { tx })
        await bugle.putMany('emails', ['two', 'three'], { tx })
      },
      async () => {
        // The marker is put later and runs earlier: the consumer is awake, and does not see the others.
        await bugle.put('emails', 'marker')
        await marked.promise
        await consumer.idle()
        order.push('commit')
      },
    )
    await consumer.idle()
    expect(order.slice(0, 2)).toEqual(['marker', 'commit'])
    expect(order.slice(2).sort()).toEqual(['one', 'three', 'two'])
    expect(await db.jobs()).toEqual([])
  })
}

async function connectPg(db: TestDatabase): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: db.connectionString })
  await client.connect()
  onTestFinished(() => client.end())
  return client
}

async function inPg(client: pg.Client, put: () => Promise<unknown>, end: () => Promise<void>): Promise<void> {
  await client.query('begin')
  try {
    await put()
    await end()
    await client.query('commit')
  } catch (error) {
    await client.query('rollback')
    throw error
  }
}
