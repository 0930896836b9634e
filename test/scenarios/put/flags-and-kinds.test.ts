import { expect } from 'vitest'
import type { Bugle, Job } from '../../../src/index.js'
import { signal, type TestDatabase, test } from '../../support/database.js'
import { refusal } from '../../support/refusal.js'
import { fullRows } from '../../support/rows.js'
import { untilAsleep, watchNotifications } from '../../support/sleepers.js'

test('flags: a consumer leaves jobs that have one of its withoutFlags to a consumer that takes them', async ({
  db,
}) => {
  const first = db.bugle()
  const second = db.bugle()
  const seen = { first: [] as unknown[], second: [] as unknown[] }
  const flags: Record<string, string[]> = {
    none: [],
    gpu: ['gpu'],
    'gpu and eu': ['eu', 'gpu'],
    eu: ['eu'],
    GPU: ['GPU'],
    big: ['big'],
    quoted: ['a "b", {c}\\'],
  }
  const names = Object.keys(flags)
  await first.putMany('q', names, (name) => ({ flags: flags[name as string] ?? [] }))
  const small = await first.consume('q', (job) => void seen.first.push([job.payload, job.flags]), {
    concurrency: 1,
    withoutFlags: ['gpu', 'big', 'a "b", {c}\\'],
  })
  await small.idle()
  expect(seen.first).toEqual(['none', 'eu', 'GPU'].map((name) => [name, flags[name]]))
  expect((await fullRows(db)).map(({ payload, state, attempt }) => [payload, state, attempt])).toEqual(
    ['gpu', 'gpu and eu', 'big', 'quoted'].map((name) => [name, 'ready', 0]),
  )
  const large = await second.consume('q', (job) => void seen.second.push(job.payload), {
    concurrency: 1,
    withoutFlags: ['big'],
  })
  await large.idle()
  expect(seen.second).toEqual(['gpu', 'gpu and eu', 'quoted'])
  // Both asleep: a flagged job wakes, and reaches the one that takes it.
  await untilAsleep(db, 'q', 2)
  const acked = db.collect(second, 'job:acked')
  await first.put('q', 'at last', { flags: ['gpu'] })
  await acked.next()
  expect(seen.second.at(-1)).toBe('at last')
  expect(seen.first).toHaveLength(3)
  expect(await fullRows(db)).toMatchObject([{ payload: 'big', state: 'ready' }])
})

/** Changes of a waiting job by which a consumer that sleeps may have it. */
const changes: Record<string, (db: TestDatabase, bugle: Bugle) => Promise<unknown>> = {
  'a replace that takes the flag away': (_, bugle) =>
    bugle.put('q', 'mine', { keyMode: 'replace', key: 'ada', kind: 'own' }),
  'a replace with another flag': (_, bugle) =>
    bugle.put('q', 'mine', { keyMode: 'replace', key: 'ada', kind: 'own', flags: ['eu'] }),
  'an UPDATE of its flags': (db) =>
    db.sql.unsafe(`update ${db.s}.job set flags = '{eu}', payload = '"mine"' where key = 'ada'`),
  'an UPDATE that leaves it without flags': (db) =>
    db.sql.unsafe(`update ${db.s}.job set flags = null, payload = '"mine"' where key = 'ada'`),
  'a replace with another kind': (_, bugle) => bugle.put('q', 'mine', { keyMode: 'replace', key: 'kind', kind: 'own' }),
  'an UPDATE of its kind': (db) =>
    db.sql.unsafe(`update ${db.s}.job set kind = 'own', payload = '"mine"' where key = 'kind'`),
  'an UPDATE of its queue': (db) =>
    db.sql.unsafe(`update ${db.s}.job set queue = 'q', payload = '"mine"' where key = 'queue'`),
  'a replace that makes it ready': (_, bugle) =>
    bugle.put('q', 'mine', { keyMode: 'replace', key: 'far', kind: 'own' }),
}

for (const [what, change] of Object.entries(changes)) {
  test(`flags: a consumer that sleeps is woken for a job that becomes its own by ${what}`, async ({ db }) => {
    const bugle = db.bugle()
    const ran = signal<unknown>()
    const consumer = await bugle.consume(
      'q',
      { own: (job: Job) => ran.resolve(job.payload) },
      { withoutFlags: ['gpu'] },
    )
    await bugle.put('q', 'flagged', { key: 'ada', kind: 'own', flags: ['gpu'] })
    await bugle.put('q', 'other', { key: 'kind', kind: 'other' })
    await bugle.put('other', 'other', { key: 'queue', kind: 'own' })
    await bugle.put('q', 'far', { key: 'far', kind: 'own', delayMs: 3_600_000 })
    await consumer.idle()
    await untilAsleep(db, 'q')
    const notified = await watchNotifications(db)
    await change(db, bugle)
    expect(await ran.promise).toBe('mine')
    expect(await notified()).toEqual(['q'])
    await consumer.idle()
    expect(await fullRows(db)).toHaveLength(3)
  })
}

test('flags: changes that make no waiting job anybody’s own notify nobody', async ({ db }) => {
  const bugle = db.bugle()
  const seen: unknown[] = []
  const consumer = await bugle.consume('q', (job) => void seen.push(job.payload), { withoutFlags: ['gpu'] })
  const id = await bugle.put('q', 'flagged', { key: 'ada', flags: ['gpu'] })
  await consumer.idle()
  await untilAsleep(db, 'q')
  const notified = await watchNotifications(db)
  await bugle.put('q', 'flagged again', { keyMode: 'replace', key: 'ada', flags: ['gpu'], priority: 5 })
  await bugle.put('q', 'kept', { key: 'ada', keyMode: 'keep' })
  await refusal(() => bugle.put('q', 'rejected', { key: 'ada', keyMode: 'reject' }))
  await db.sql.unsafe(`update ${db.s}.job set priority = 1, payload = '"by SQL"'`)
  expect(await notified()).toEqual([])
  await consumer.idle()
  expect(seen).toEqual([])
  expect(await fullRows(db)).toMatchObject([{ id, payload: 'by SQL', priority: 1, state: 'ready' }])
})

test('kinds: a map picks the handler by kind', async ({ db }) => {
  const bugle = db.bugle()
  const seen: unknown[] = []
  const handler = (name: string) => (job: Job) => void seen.push([name, job.kind, job.payload])
  const kinds = ['thumb', 'Thumb', 'with "quotes", {braces}\\', 'constructor', '🎺']
  const consumer = await bugle.consume('media', Object.fromEntries(kinds.map((kind) => [kind, handler(kind)])), {
    concurrency: 1,
  })
  await bugle.putMany('media', kinds, (kind) => ({ kind: kind as string }))
  await bugle.put('media', 'other', { kind: 'toString' })
  await consumer.idle()
  expect(seen).toEqual(kinds.map((kind) => [kind, kind, kind]))
  expect(await fullRows(db)).toMatchObject([{ kind: 'toString', state: 'ready', attempt: 0 }])
})
