import { execFile, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { promisify } from 'node:util'
import pg from 'pg'
import { expect, onTestFinished } from 'vitest'
import { ack, reject } from '../../../src/index.js'
import { signal, type TestDatabase, test } from '../../support/database.js'
import { untilAsleep, watchNotifications } from '../../support/sleepers.js'

const hasPsql = spawnSync('psql', ['--version']).error === undefined

test('A1 put returns an id; an acked job is gone', async ({ db }) => {
  const bugle = db.bugle()
  const seen: unknown[] = []
  const consumer = await bugle.consume('emails', (job) => void seen.push([job.id, job.payload, job.attempt]))
  const id = await bugle.put('emails', { to: 'a@example.org' })
  expect(id).toMatch(/^\d+$/)
  await consumer.idle()
  expect(seen).toEqual([[id, { to: 'a@example.org' }, 1]])
  expect(await db.jobs()).toEqual([])
})

test('A1 putMany returns the ids in the order of the payloads, and each job runs with its own', async ({ db }) => {
  const bugle = db.bugle()
  const ids = await bugle.putMany('emails', [0, 1, 2, 3, 4], (payload) => ({ priority: payload as number }))
  const seen: unknown[] = []
  const consumer = await bugle.consume('emails', (job) => void seen.push([job.id, job.payload, job.priority]), {
    concurrency: 1,
  })
  await consumer.idle()
  // The highest priority runs first.
  expect(seen).toEqual(ids.map((id, index) => [id, index, index]).reverse())
  expect(await db.jobs()).toEqual([])
})

test('A2 a rejected job stays failed with its reason and attempt 1, and does not run again', async ({ db }) => {
  const bugle = db.bugle()
  const failed = db.collect(bugle, 'job:failed')
  const runs: string[] = []
  const consumer = await bugle.consume('emails', (job) => {
    runs.push(job.id)
    return job.payload === 'bad' ? reject('no such address') : ack()
  })
  const id = await bugle.put('emails', 'bad')
  const { error, ...event } = await failed.next()
  expect(event).toEqual({
    queue: 'emails',
    id,
    kind: null,
    attempt: 1,
    workerId: bugle.workerId,
    cause: 'rejected',
  })
  expect(error).toMatchObject({ name: 'BugleError', code: 'REJECTED', message: 'no such address' })
  const marker = await bugle.put('emails', 'good')
  await consumer.idle()
  expect(runs).toEqual([id, marker])
  expect(await db.jobs()).toMatchObject([
    {
      id,
      state: 'failed',
      attempt: 1,
      worker_id: null,
      last_error: { message: 'no such address', code: 'REJECTED', failedBy: 'rejected', attempt: 1 },
    },
  ])
})

test('A3 two queues: no cross-over, also where one name begins with the other', async ({ db }) => {
  const bugle = db.bugle()
  const seen = new Map<string, unknown[]>()
  const queues = ['emails', 'emails2', 'Emails']
  const consumers = await Promise.all(
    queues.map((queue) => {
      seen.set(queue, [])
      return bugle.consume(queue, (job) => void seen.get(queue)?.push([job.queue, job.payload]))
    }),
  )
  for (const n of [1, 2]) for (const queue of queues) await bugle.put(queue, `${queue} ${n}`)
  await bugle.put('nobody', 'stays')
  await Promise.all(consumers.map((consumer) => consumer.idle()))
  for (const queue of queues) {
    expect(seen.get(queue)).toEqual([
      [queue, `${queue} 1`],
      [queue, `${queue} 2`],
    ])
  }
  expect(await db.jobs()).toMatchObject([{ queue: 'nobody', state: 'ready', attempt: 0 }])
})

for (const [count, concurrency] of [
  [100, 10],
  [100_000, 100],
] as const) {
  test(`A4 a backlog of ${count} jobs put before any consumer exists is drained at start`, {
    // Ten seconds on a quiet machine; how fast it is, the bench says.
    timeout: 180_000,
  }, async ({ db }) => {
    await db.sql.unsafe(`
      insert into ${db.s}.job (queue, payload)
      select 'emails', to_jsonb(n) from generate_series(1, ${count}) as n`)
    const runs = new Uint8Array(count + 1)
    const consumer = await db.bugle().consume(
      'emails',
      (job) => {
        const n = job.payload as number
        runs[n] = (runs[n] ?? 0) + 1
      },
      { concurrency },
    )
    await consumer.idle()
    expect(runs.subarray(1).findIndex((times) => times !== 1)).toBe(-1)
    expect(await db.jobs()).toEqual([])
    expect(await consumer.stop()).toMatchObject({ completed: count, failed: 0 })
  })
}

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

/** Puts in a transaction of one kind; `end` is called inside it, and when it throws the transaction rolls back. */
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

test('A7 stop and start does not run failed jobs again', async ({ db }) => {
  const bugle = db.bugle()
  const runs: unknown[] = []
  const start = () =>
    bugle.consume(
      'emails',
      (job) => {
        runs.push(job.payload)
        if (job.payload === 'throws') throw new Error('broken')
        return job.payload === 'rejected' ? reject('no') : undefined
      },
      { retryStrategy: false },
    )
  await bugle.putMany('emails', ['throws', 'rejected'])
  const first = await start()
  await first.idle()
  expect(await first.stop()).toMatchObject({ completed: 0, failed: 2 })
  const before = await db.jobs()
  // Again in the same instance, and in another one.
  for (const marker of ['same', 'other']) {
    const consumer = await (marker === 'same' ? start() : db.bugle().consume('emails', (job) => runs.push(job.payload)))
    await bugle.put('emails', marker)
    await consumer.idle()
    expect(await consumer.stop()).toMatchObject({ completed: 1, failed: 0 })
  }
  expect(runs.slice(0, 2).sort()).toEqual(['rejected', 'throws'])
  expect(runs.slice(2)).toEqual(['same', 'other'])
  expect(await db.jobs()).toEqual(before)
  expect(before.map(({ state, attempt }) => [state, attempt])).toEqual([
    ['failed', 1],
    ['failed', 1],
  ])
})

test("A8 with outcome: 'explicit' a return that is no outcome never acks", async ({ db }) => {
  const bugle = db.bugle()
  const acked = db.collect(bugle, 'job:acked')
  const returns: Record<string, unknown> = {
    nothing: undefined,
    null: null,
    true: true,
    text: 'ack',
    'the function itself': ack,
    'something that looks like an ack': { type: 'ack', result: undefined },
    'an ack in an array': [ack()],
    'what cannot be shown': {
      toString() {
        throw new Error('no')
      },
    },
  }
  const names = Object.keys(returns)
  await bugle.putMany('emails', [...names, 'an ack', 'a promise of an ack', 'an ack with a result'])
  const consumer = await bugle.consume(
    'emails',
    ({ payload }) => {
      if (payload === 'an ack') return ack()
      if (payload === 'an ack with a result') return ack({ sent: 1 })
      if (payload === 'a promise of an ack') return Promise.resolve(ack())
      return returns[payload as string]
    },
    { outcome: 'explicit' },
  )
  await consumer.idle()
  expect(acked.all).toHaveLength(3)
  const rows = await db.jobs()
  expect(rows.map(({ payload }) => payload)).toEqual(names)
  for (const row of rows) {
    expect(row).toMatchObject({
      state: 'failed',
      attempt: 1,
      last_error: { code: 'REJECTED', failedBy: 'rejected', message: expect.stringMatching(/^the handler returned /) },
    })
  }
})

test('A8 without it, whatever a handler returns is an ack, but for a reject', async ({ db }) => {
  const bugle = db.bugle()
  const returns = [undefined, null, 0, 'reject', { type: 'reject', reason: 'mine' }, Symbol('s'), 1n, () => {}]
  await bugle.putMany('emails', [...returns.keys(), returns.length])
  const consumer = await bugle.consume('emails', ({ payload }) =>
    payload === returns.length ? reject('this one') : returns[payload as number],
  )
  await consumer.idle()
  expect(await db.jobs()).toMatchObject([{ payload: returns.length, state: 'failed' }])
})

const deep = Array.from({ length: 900 }).reduce<unknown>((inner, _, level) => (level % 2 ? [inner] : { inner }), 'end')
const payloads: Record<string, unknown> = {
  'an empty string': '',
  'a string': 'hello',
  'quotes, backslashes and line ends': `'"\\\r\n\t$1 \\u0041 \\x41 %s :'schema' {}`,
  'control characters': `${String.fromCharCode(...Array.from({ length: 31 }, (_, index) => index + 1))}\u007f\u0085`,
  'unicode and emoji': 'žluťoučký kůň 数据库 עברית 👩‍👩‍👧‍👦 🏴󠁧󠁢󠁥󠁮󠁧󠁿 e\u0301 \ufeff\u2028\u2029\u{10ffff}',
  'a string that looks like a JSON string': '"x"',
  'a string that looks like a JSON object': '{"a":1}',
  'a string that looks like null': 'null',
  'a string that looks like a number': '1',
  zero: 0,
  'a number': -12.5,
  'a fraction that is not exact': 0.1 + 0.2,
  'the largest number': Number.MAX_VALUE,
  'the smallest number': Number.MIN_VALUE,
  'the largest safe integer': Number.MAX_SAFE_INTEGER,
  null: null,
  true: true,
  false: false,
  'an empty array': [],
  'an empty object': {},
  'nested arrays': [1, 'a', null, [[], [{}], [null]]],
  'an object of everything': {
    snake_case: { also_inside: 1 },
    camelCase: 2,
    'with space': 3,
    '': 4,
    '"quoted"': 5,
    '🏴': 6,
    $1: 7,
    nested: { list: [{ deep_er: true }] },
  },
  '900 levels': deep,
  'one megabyte': 'x'.repeat(1_048_574),
  'one megabyte in UTF-8': '€'.repeat(349_524),
}

test('A9 payloads come back as they were put, by put and by putMany', async ({ db }) => {
  const bugle = db.bugle()
  const names = Object.keys(payloads)
  const values = Object.values(payloads)
  const ids: string[] = []
  for (const value of values) ids.push(await bugle.put('emails', value))
  ids.push(...(await bugle.putMany('emails', values)))
  const seen = new Map<string, unknown>()
  const consumer = await bugle.consume('emails', (job) => void seen.set(job.id, job.payload))
  await consumer.idle()
  for (const [index, id] of ids.entries()) {
    const name = names[index % names.length] ?? ''
    expect(seen.get(id), name).toStrictEqual(payloads[name])
  }
  expect(seen.size).toBe(ids.length)
  expect(await db.jobs()).toEqual([])
})

test('A9 what JSON writes otherwise comes back as JSON has it', async ({ db }) => {
  const bugle = db.bugle()
  const date = new Date('2024-02-29T12:00:00.000Z')
  await bugle.put('emails', { date, left: undefined, minusZero: -0, url: new URL('https://example.org/ä') })
  const seen: unknown[] = []
  const consumer = await bugle.consume('emails', (job) => void seen.push(job.payload))
  await consumer.idle()
  expect(seen).toStrictEqual([{ date: date.toJSON(), minusZero: 0, url: 'https://example.org/%C3%A4' }])
})

test('A9 ids beyond 2^53 are exact', async ({ db }) => {
  await db.sql.unsafe(`alter table ${db.s}.job alter column id restart with 9007199254740993`)
  const bugle = db.bugle()
  const seen: string[] = []
  const consumer = await bugle.consume('emails', (job) => void seen.push(job.id), { concurrency: 1 })
  const ids = [await bugle.put('emails', 1), ...(await bugle.putMany('emails', [2, 3]))]
  await consumer.idle()
  expect(ids).toEqual(['9007199254740993', '9007199254740994', '9007199254740995'])
  expect(seen).toEqual(ids)
  expect(await db.jobs()).toEqual([])
})

test('A9 the times of a job are those of the database', async ({ db }) => {
  const bugle = db.bugle()
  const id = await bugle.put('emails', null)
  const [row] = await db.sql.unsafe<{ at: string }[]>(
    `select (extract(epoch from created_at) * 1000)::float8 as at from ${db.s}.job`,
  )
  const started = db.collect(bugle, 'job:started')
  const seen: unknown[] = []
  const consumer = await bugle.consume('emails', ({ createdAt, runAt }) => void seen.push([createdAt, runAt]))
  await consumer.idle()
  const createdAt = new Date(Number(row?.at))
  expect(seen).toEqual([[createdAt, createdAt]])
  const { waitMs, ...event } = await started.next()
  expect(event).toEqual({ queue: 'emails', id, kind: null, attempt: 1, workerId: bugle.workerId })
  expect(waitMs).toBeGreaterThan(0)
})

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

test('what a handler is given can be taken apart, inherited from and stood in front of', async ({ db }) => {
  const bugle = db.bugle()
  const aborted: unknown[] = []
  const consumer = await bugle.consume('q', async ({ id }, context) => {
    const { signal, ack, workerId } = context
    aborted.push(signal.aborted, Object.create(context).signal === signal, new Proxy(context, {}).signal === signal)
    expect({ ...context }.workerId).toBe(workerId)
    await db.sql.begin((tx) => ack(tx))
    return id
  })
  await bugle.put('q', 1)
  await consumer.idle()
  expect(aborted).toEqual([false, true, true])
  expect(await consumer.stop()).toMatchObject({ completed: 1, failed: 0 })
  expect(await db.jobs()).toEqual([])
})
