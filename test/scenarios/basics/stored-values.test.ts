import { expect } from 'vitest'
import { test } from '../../support/database.js'

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
