import pg from 'pg'
import { expect } from 'vitest'
import { type BugleErrorCode, type BugleOptions, createBugle, type PutOptions } from '../../../src/index.js'
import { signal, test } from '../../support/database.js'
import { expectNothing } from '../../support/nothing-written.js'
import { refusal } from '../../support/refusal.js'

const cycle: Record<string, unknown> = { name: 'cycle' }
cycle.self = { inner: [cycle] }

/** What put refuses: the payload, its code, and what the message must name. */
const badPayloads: Record<string, [value: unknown, code: BugleErrorCode, message: RegExp]> = {
  undefined: [undefined, 'INVALID_PAYLOAD', /payload is undefined/],
  'a function': [() => {}, 'INVALID_PAYLOAD', /payload is a function/],
  'a symbol': [Symbol('s'), 'INVALID_PAYLOAD', /payload is a symbol/],
  'a BigInt': [{ n: 1n }, 'INVALID_PAYLOAD', /payload\.n is a BigInt/],
  'a cycle': [cycle, 'INVALID_PAYLOAD', /payload\.self\.inner\[0\] is part of a cycle/],
  NaN: [{ list: [0, Number.NaN] }, 'INVALID_PAYLOAD', /payload\.list\[1\] is NaN/],
  Infinity: [Number.NEGATIVE_INFINITY, 'INVALID_PAYLOAD', /payload is -Infinity/],
  'an invalid date': [{ at: new Date(Number.NaN) }, 'INVALID_PAYLOAD', /payload\.at is an invalid Date/],
  'a NUL character': [{ text: 'a\0b' }, 'INVALID_PAYLOAD', /payload\.text has a NUL character/],
  'a lone surrogate': ['\ud800', 'INVALID_PAYLOAD', /payload has a lone surrogate/],
  'a NUL character in a name': [{ 'a\0b': 1 }, 'INVALID_PAYLOAD', /NUL character in its name/],
  'a lone surrogate in a name': [{ '\udc00': 1 }, 'INVALID_PAYLOAD', /lone surrogate in its name/],
  'a hole in an array': [Array(1), 'INVALID_PAYLOAD', /payload\[0\] is undefined/],
  'a Map': [new Map([[1, 2]]), 'INVALID_PAYLOAD', /payload is a Map/],
  'a toJSON that throws': [
    {
      user: {
        toJSON() {
          throw new Error('mine')
        },
      },
    },
    'INVALID_PAYLOAD',
    /payload\.user cannot be turned into JSON: mine/,
  ],
  '1,001 levels': [
    Array.from({ length: 1_001 }).reduce<unknown>((inner) => [inner], 0),
    'INVALID_PAYLOAD',
    /deeper than 1000/,
  ],
  'one byte too many': ['x'.repeat(1_048_575), 'PAYLOAD_TOO_LARGE', /at most 1048576 bytes.*got 1048577 bytes/],
  'one byte too many in UTF-8': ['€'.repeat(349_525), 'PAYLOAD_TOO_LARGE', /at most 1048576 bytes/],
}

for (const [what, [payload, code, message]] of Object.entries(badPayloads)) {
  test(`input: a payload with ${what} is ${code}, and nothing is written`, async ({ db }) => {
    const bugle = db.bugle()
    const refused = { code, message: expect.stringMatching(message) }
    expect(await refusal(() => bugle.put('emails', payload))).toMatchObject(refused)
    // Of many, the others are not written either, and the message says which one.
    const many = await refusal(() => bugle.putMany('emails', ['good', payload, 'good']))
    expect(many.code).toBe(code)
    expect(many.message).toMatch(/^payloads\[1\]/)
    await expectNothing(db)
  })
}

const badQueues: Record<string, unknown> = {
  'an empty string': '',
  '129 characters': 'q'.repeat(129),
  '129 emoji': '🐘'.repeat(129),
  'a NUL character': 'a\0b',
  'a lone surrogate': 'a\ud800',
  undefined: undefined,
  null: null,
  'a number': 7,
  'an object': { toString: () => 'emails' },
  'a String object': new String('emails'),
}

test('input: a bad queue name is INVALID_QUEUE for put, putMany and consume, and nothing is written', async ({
  db,
}) => {
  const bugle = db.bugle()
  for (const [what, value] of Object.entries(badQueues)) {
    const queue = value as string
    for (const act of [
      () => bugle.put(queue, 1),
      () => bugle.putMany(queue, [1]),
      () => bugle.putMany(queue, []),
      () => bugle.consume(queue, () => {}),
    ]) {
      const refused = await refusal(act)
      expect(refused.code, what).toBe('INVALID_QUEUE')
      expect(refused.message, what).toMatch(/^queue must be a string of 1 to 128 characters/)
    }
  }
  await expectNothing(db)
})

test('input: names of 128 characters, also of 512 bytes, are queues', async ({ db }) => {
  const bugle = db.bugle()
  for (const queue of ['q'.repeat(128), '🐘'.repeat(128)]) {
    const ran = signal<unknown>()
    const consumer = await bugle.consume(queue, (job) => ran.resolve(job.queue))
    await bugle.put(queue, null)
    expect(await ran.promise).toBe(queue)
    await consumer.stop()
  }
})

const badPutOptions: Record<string, [options: unknown, message: RegExp]> = {
  'an unknown option': [{ delay: 5 }, /no option "delay"/],
  'a misspelt option': [{ prioritty: 5 }, /did you mean priority\?/],
  'null for options': [null, /must be an object of options; got null/],
  'a number for options': [5, /must be an object of options/],
  'priority 40000': [{ priority: 40_000 }, /priority must be a whole number from -32768 to 32767; got 40000/],
  'priority 1.5': [{ priority: 1.5 }, /priority/],
  "priority '3'": [{ priority: '3' }, /priority/],
  'priority null': [{ priority: null }, /priority/],
  "kind ''": [{ kind: '' }, /kind must be a string of 1 to 128 characters/],
  'kind with NUL': [{ kind: 'a\0' }, /kind/],
  'a key of 256 characters': [{ key: 'k'.repeat(256) }, /key must be a string of 1 to 255 characters/],
  'keyMode without a key': [{ keyMode: 'keep' }, /give the key/],
  "keyMode 'drop'": [{ key: 'a', keyMode: 'drop' }, /keyMode must be "keep", "replace" or "reject"/],
  'key and unique': [{ key: 'a', unique: { key: 'a' } }, /key or unique, not both/],
  'unique a text': [{ unique: 'a' }, /unique must be an object of options/],
  'unique without a key': [{ unique: { while: 'running' } }, /unique.key must be a string/],
  'unique with a misspelt option': [{ unique: { key: 'a', form: 5 } }, /did you mean forMs/],
  'unique while failed': [{ unique: { key: 'a', while: 'failed' } }, /unique.while must be "waiting" or "running"/],
  'unique for -1 ms': [{ unique: { key: 'a', forMs: -1 } }, /unique.forMs must be milliseconds from 0 up/],
  'runAt a text': [{ runAt: '2030-01-01' }, /runAt must be a valid Date/],
  'runAt an invalid Date': [{ runAt: new Date(Number.NaN) }, /runAt must be a valid Date/],
  'runAt in the year 9999': [{ runAt: new Date('9999-01-01') }, /at most a hundred years ahead/],
  'delayMs -1': [{ delayMs: -1 }, /delayMs must be milliseconds from 0 up; got -1/],
  'delayMs Infinity': [{ delayMs: Number.POSITIVE_INFINITY }, /delayMs/],
  'both runAt and delayMs': [{ runAt: new Date(), delayMs: 1 }, /not both/],
  'flags a text': [{ flags: 'gpu' }, /flags must be an array/],
  'a flag that is empty': [{ flags: ['gpu', ''] }, /flags\[1\] must be/],
  'maxAttempts 0': [{ maxAttempts: 0 }, /maxAttempts must be a whole number from 1/],
  'tx null': [{ tx: null }, /tx must be .* got null/],
  'tx a number': [{ tx: 5 }, /tx must be .* got number/],
  'tx an object that has no query': [{ tx: {} }, /tx must be/],
}

for (const [what, [given, message]] of Object.entries(badPutOptions)) {
  test(`input: put with ${what} is INVALID_OPTION, and nothing is written`, async ({ db }) => {
    const bugle = db.bugle()
    const options = given as PutOptions
    const refused = { code: 'INVALID_OPTION', message: expect.stringMatching(message) }
    expect(await refusal(() => bugle.put('emails', 1, options))).toMatchObject(refused)
    expect(await refusal(() => bugle.putMany('emails', [1, 2], options))).toMatchObject(refused)
    expect(
      await refusal(() => bugle.putMany('emails', [1, 2], (_, index) => (index === 1 ? options : undefined))),
    ).toMatchObject({ code: 'INVALID_OPTION' })
    await expectNothing(db)
  })
}

test('input: a pool for tx is INVALID_OPTION, as the job would commit by itself', async ({ db }) => {
  const bugle = db.bugle()
  const pool = new pg.Pool({ connectionString: db.connectionString })
  for (const tx of [pool, db.sql] as unknown[]) {
    const options = { tx } as PutOptions
    const refused = { code: 'INVALID_OPTION', message: expect.stringMatching(/pool|instance/) }
    expect(await refusal(() => bugle.put('emails', 1, options))).toMatchObject(refused)
    expect(await refusal(() => bugle.putMany('emails', [1, 2], options))).toMatchObject(refused)
  }
  await pool.end()
  await expectNothing(db)
})

test('input: tx that differs within one putMany is INVALID_OPTION, and nothing is written', async ({ db }) => {
  const bugle = db.bugle()
  await db.sql.begin(async (tx) => {
    for (const given of [0, 1]) {
      const refused = await refusal(() =>
        bugle.putMany('emails', [0, 1, 2], (payload) => (payload === given ? { tx } : undefined)),
      )
      expect(refused).toMatchObject({ code: 'INVALID_OPTION', message: expect.stringMatching(/tx must be the same/) })
    }
  })
  await expectNothing(db)
})

test('input: a tx that answers with something else is INVALID_OPTION', async ({ db }) => {
  const bugle = db.bugle()
  for (const answer of [undefined, null, 5, {}, { rows: 1 }]) {
    const tx = (() => Promise.resolve(answer)) as never
    expect(await refusal(() => bugle.put('emails', 1, { tx }))).toMatchObject({ code: 'INVALID_OPTION' })
  }
  await expectNothing(db)
})

test('input: putMany takes options as a function of payload and index', async ({ db }) => {
  const bugle = db.bugle()
  const asked: unknown[] = []
  await bugle.putMany('emails', ['a', 'b', 'c'], (payload, index) => {
    asked.push([payload, index])
    return index === 1 ? undefined : { priority: index - 1 }
  })
  expect(asked).toEqual([
    ['a', 0],
    ['b', 1],
    ['c', 2],
  ])
  const rows = await db.sql.unsafe(`select payload, priority from ${db.s}.job order by id`)
  expect(rows).toEqual([
    { payload: 'a', priority: -1 },
    { payload: 'b', priority: 0 },
    { payload: 'c', priority: 1 },
  ])
  const failure = new Error('mine')
  await expect(
    bugle.putMany('emails', ['d'], () => {
      throw failure
    }),
  ).rejects.toBe(failure)
  expect(await db.jobs()).toHaveLength(3)
})

test('input: putMany of nothing answers with nothing; of no array it is INVALID_PAYLOAD', async ({ db }) => {
  const bugle = db.bugle()
  expect(await bugle.putMany('emails', [])).toEqual([])
  for (const payloads of [undefined, null, 'ab', new Set([1]), { length: 1 }]) {
    expect(await refusal(() => bugle.putMany('emails', payloads as never))).toMatchObject({ code: 'INVALID_PAYLOAD' })
  }
  await expectNothing(db)
})

const badConsumeOptions: Record<string, [options: unknown, message: RegExp]> = {
  'an unknown option': [{ parallel: 5 }, /no option "parallel"/],
  'a misspelt option': [{ concurency: 5 }, /did you mean concurrency\?/],
  'concurrency 0': [{ concurrency: 0 }, /concurrency must be a whole number from 1 to 1000; got 0/],
  'concurrency 1.5': [{ concurrency: 1.5 }, /concurrency/],
  "concurrency '3'": [{ concurrency: '3' }, /concurrency.*got "3"/],
  'concurrency Infinity': [{ concurrency: Number.POSITIVE_INFINITY }, /concurrency/],
  "outcome 'maybe'": [{ outcome: 'maybe' }, /outcome must be "implicit" or "explicit"; got "maybe"/],
  'a retry strategy that is none': [{ retryStrategy: 'fast' }, /retryStrategy/],
  'an onFailed that is none': [{ onFailed: 'page me' }, /onFailed must be a function; got "page me"/],
  "unknownKinds 'drop'": [{ unknownKinds: 'drop' }, /unknownKinds must be "leave" or "fail"/],
  'flags that are no array': [{ withoutFlags: 'gpu' }, /withoutFlags must be an array/],
  'a flag that is no text': [{ withoutFlags: [5] }, /withoutFlags\[0\] must be a string/],
  "keep 'none'": [{ keep: 'none' }, /keep must be "failed" or "all"/],
  'middleware that is no array': [{ middleware: () => {} }, /middleware must be an array/],
  'a middleware that is no function': [{ middleware: [5] }, /middleware\[0\] must be a function; got 5/],
  'a signal that is none': [{ signal: new AbortController() }, /signal must be an AbortSignal/],
  'null for options': [null, /must be an object of options; got null/],
}

test('input: bad consume options are INVALID_OPTION, and nothing is started', async ({ db }) => {
  const bugle = db.bugle()
  for (const [what, [options, message]] of Object.entries(badConsumeOptions)) {
    const refused = await refusal(() => bugle.consume('emails', () => {}, options as never))
    expect(refused.code, what).toBe('INVALID_OPTION')
    expect(refused.message, what).toMatch(message)
  }
  for (const handler of [undefined, null, 'handler', {}, { kind: 5 }, { '': () => {} }, [() => {}]]) {
    expect(await refusal(() => bugle.consume('emails', handler as never))).toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringMatching(/^(handler|kind) .*must (be|have) a/),
    })
  }
  await expectNothing(db)
  // None of them stands in the way of a good one.
  await bugle.consume('emails', () => {})
})

const badBugleOptions: Record<string, [options: unknown, message: RegExp]> = {
  'an unknown option': [{ poolsize: 5, connectionString: 'postgres://localhost/x' }, /did you mean poolSize\?/],
  'no connection string': [{ connectionString: 'not a url' }, /connectionString/],
  'a connection string of another database': [{ connectionString: 'mysql://localhost/x' }, /connectionString/],
  'a connection string that is no string': [
    { connectionString: new URL('postgres://localhost/x') },
    /connectionString/,
  ],
  'a bad listenConnectionString': [{ listenConnectionString: 'mysql://localhost/x' }, /listenConnectionString/],
  'both connection and connectionString': [
    { connectionString: 'postgres://localhost/x', connection: { host: 'localhost' } },
    /connection/,
  ],
  'an unknown field of connection': [{ connection: { hostname: 'x' } }, /did you mean host\?/],
  'sweepMs -1': [{ sweepMs: -1 }, /sweepMs must be milliseconds from 0 up; got -1/],
  'sweepMs Infinity': [{ sweepMs: Number.POSITIVE_INFINITY }, /sweepMs/],
  'sweepMs longer than a timer': [{ sweepMs: 2 ** 31 }, /sweepMs must be at most 2147483647/],
  'poolSize 0': [{ poolSize: 0 }, /poolSize/],
  "prepare 'no'": [{ prepare: 'no' }, /prepare must be true or false; got "no"/],
  'listen null': [{ listen: null }, /listen/],
  'maxPayloadBytes 0': [{ maxPayloadBytes: 0 }, /maxPayloadBytes/],
  'an empty schema': [{ schema: '' }, /schema/],
  'a schema of 64 bytes': [{ schema: 's'.repeat(64) }, /schema must be a string of 1 to 63 bytes/],
  'a schema of PostgreSQL’s own': [{ schema: 'pg_bugle' }, /pg_/],
  'a schema with NUL': [{ schema: 'a\0' }, /schema/],
  'a name with a line end': [{ name: 'a\nb' }, /name/],
  'null for options': [null, /must be an object of options; got null/],
  'a string for options': ['postgres://user:secret@localhost/x', /must be an object of options; got string/],
}

test('input: bad options of createBugle are INVALID_OPTION at once', async ({ db }) => {
  for (const [what, [options, message]] of Object.entries(badBugleOptions)) {
    const refused = await refusal(() => createBugle(options as BugleOptions))
    expect(refused.code, what).toBe('INVALID_OPTION')
    expect(refused.message, what).toMatch(message)
    expect(refused.message, what).not.toContain('secret')
  }
  await expectNothing(db)
})

test('input: maxPayloadBytes bounds the JSON in UTF-8', async ({ db }) => {
  const bugle = db.bugle({ maxPayloadBytes: 10 })
  expect(await refusal(() => bugle.put('emails', '123456789'))).toMatchObject({ code: 'PAYLOAD_TOO_LARGE' })
  expect(await refusal(() => bugle.put('emails', '€€€'))).toMatchObject({ code: 'PAYLOAD_TOO_LARGE' })
  await expectNothing(db)
  await bugle.putMany('emails', ['12345678', '€€', [1, 2, 3, 4]])
  expect(await db.jobs()).toHaveLength(3)
})

test('input: a closed instance is CLOSED for everything, and nothing is written', async ({ db }) => {
  const used = db.bugle()
  await used.put('emails', 1)
  await db.sql.unsafe(`delete from ${db.s}.job`)
  for (const bugle of [used, db.bugle()]) {
    const closing = bugle.close()
    // At once, not only when it has ended.
    for (const _ of ['closing', 'closed']) {
      for (const act of [
        () => bugle.put('emails', 1),
        () => bugle.putMany('emails', [1]),
        () => bugle.consume('emails', () => {}),
        () => bugle.migrate(),
        () => bugle.job('1'),
        () => bugle.jobs(),
        () => bugle.requeue('1'),
        () => bugle.cancel('1'),
        () => bugle.collect({ failedOlderThanMs: 1 }),
      ]) {
        expect(await refusal(act)).toMatchObject({ code: 'CLOSED' })
      }
      await closing
    }
    await bugle.close()
  }
  await expectNothing(db)
  expect(await db.backends('')).toEqual([])
})

test('input: a second consumer of a queue in one instance is ALREADY_CONSUMING, and the first goes on', async ({
  db,
}) => {
  const bugle = db.bugle()
  const starting = bugle.consume('emails', () => {})
  const second = { code: 'ALREADY_CONSUMING', message: expect.stringMatching(/"emails"/) }
  expect(await refusal(() => bugle.consume('emails', () => {}))).toMatchObject(second)
  const consumer = await starting
  expect(await refusal(() => bugle.consume('emails', () => {}))).toMatchObject(second)
  await bugle.put('emails', 1)
  await consumer.idle()
  expect(await db.jobs()).toEqual([])
  // Another instance may, and this one too when the first has stopped.
  const other = await db.bugle().consume('emails', () => {})
  await other.stop()
  await consumer.stop()
  const next = await bugle.consume('emails', () => {})
  expect(next.isRunning).toBe(true)
})
