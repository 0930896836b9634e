import { expect } from 'vitest'
import { type Bugle, retry } from '../../../src/index.js'
import { broken } from '../../support/broken.js'
import { signal } from '../../support/database.js'
import { test } from '../../support/gates.js'
import { untilBlocked } from '../../support/lock-waits.js'
import { refusal } from '../../support/refusal.js'
import { archivedRows, fullRows, makeDue } from '../../support/rows.js'

const unique = { key: 'ada', while: 'running' } as const

test('H5 while running: a key is taken until its job is over, retries included', async ({ db, gate }) => {
  const bugle = db.bugle()
  const ends = [gate(), gate()]
  const begun = [signal(), signal()]
  const retrying = db.collect(bugle, 'job:retrying')
  const consumer = await bugle.consume('q', async ({ payload, attempt }) => {
    if (payload !== 'first') return
    begun[attempt - 1]?.resolve()
    await ends[attempt - 1]?.promise
    if (attempt === 1) return retry({ delayMs: 3_600_000 })
  })
  const id = await bugle.put('q', 'first', { unique, delayMs: 3_600_000 })
  const again = (): Promise<string> => bugle.put('q', 'again', { unique })
  expect(await again()).toBe(id)
  await makeDue(db, id)
  await begun[0]?.promise
  expect(await again()).toBe(id)
  expect(await refusal(() => bugle.put('q', 'again', { unique, keyMode: 'reject' }))).toMatchObject({
    code: 'KEY_TAKEN',
  })
  expect(await refusal(() => bugle.putMany('q', ['x', 'y'], batchOf))).toMatchObject({ code: 'KEY_TAKEN' })
  ends[0]?.resolve()
  await retrying.next()
  expect(await again()).toBe(id)
  await makeDue(db, id)
  await begun[1]?.promise
  expect(await again()).toBe(id)
  expect(await fullRows(db)).toMatchObject([{ id, key: 'ada', state: 'running', attempt: 2, payload: 'first' }])
  ends[1]?.resolve()
  await consumer.idle()
  expect(await again()).not.toBe(id)
  await consumer.idle()
  expect(await fullRows(db)).toEqual([])
})

/** The second has the key. */
const batchOf = (payload: unknown) =>
  payload === 'y' ? ({ unique, keyMode: 'reject' } as const) : ({ key: 'other', keyMode: 'reject' } as const)

test('H5 while running: replace becomes the job that waits, and cannot become the one that runs', async ({
  db,
  gate,
}) => {
  const bugle = db.bugle()
  const id = await bugle.put('q', 'first', { unique })
  const replace = { unique, keyMode: 'replace' } as const
  expect(await bugle.put('q', 'second', replace)).toBe(id)
  expect(await fullRows(db)).toMatchObject([{ id, payload: 'second', key_while: 'running' }])
  const { end } = await runOne(bugle, gate())
  const message = expect.stringMatching(/"ada".*does not wait, so it cannot be replaced; nothing was written/)
  expect(await refusal(() => bugle.put('q', 'third', replace))).toMatchObject({ code: 'KEY_TAKEN', message })
  // A batch is refused as a whole.
  const some = (payload: unknown) => (payload === 'third' ? replace : { key: 'other', keyMode: 'replace' as const })
  expect(await refusal(() => bugle.putMany('q', ['fine', 'third'], some))).toMatchObject({ code: 'KEY_TAKEN' })
  expect(await fullRows(db)).toMatchObject([{ id, payload: 'second', state: 'running' }])
  // One that says 'waiting' meets the same key.
  expect(await bugle.put('q', 'fourth', { key: 'ada' })).toBe(id)
  expect(await refusal(() => bugle.put('q', 'fourth', { key: 'ada', keyMode: 'replace' }))).toMatchObject({
    code: 'KEY_TAKEN',
  })
  await end()
})

test('H5 while running: a put in an open transaction holds up no outcome of the job that runs', async ({
  db,
  gate,
}) => {
  const bugle = db.bugle()
  const id = await bugle.put('q', 'first', { unique })
  const acked = db.collect(bugle, 'job:acked')
  const { end } = await runOne(bugle, gate())
  await db.sql.begin(async (tx) => {
    expect(await bugle.put('q', 'second', { unique, tx })).toBe(id)
    await end()
    expect(await acked.next()).toMatchObject({ id })
  })
  expect(await fullRows(db)).toEqual([])
})

test('H5 while running: a put that has seen the job wait, and waits for its claim, answers with its id', async ({
  db,
}) => {
  const bugle = db.bugle()
  const id = await bugle.put('q', 'first', { unique })
  const claim = db.connect()
  await claim.unsafe(`begin; update ${db.s}.job set state = 'running', worker_id = 7, run_at = run_at`)
  const putting = bugle.put('q', 'second', { unique })
  await untilBlocked(db, 1)
  await claim.unsafe('commit')
  expect(await putting).toBe(id)
  expect(await fullRows(db)).toMatchObject([{ id, state: 'running' }])
})

for (const state of ['failed', 'archived'] as const) {
  test(`H5 while running: a ${state} job whose key another has is not requeued; once that is over, it is`, async ({
    db,
    gate,
  }) => {
    const bugle = db.bugle()
    const old = await bugle.put('q', 'old', { unique })
    await bugle.drain('q', state === 'failed' ? broken : () => {}, { retryStrategy: false, keep: 'all' })
    const id = await bugle.put('q', 'new', { unique })
    expect(await bugle.requeue(old)).toBe(0)
    const { end } = await runOne(bugle, gate())
    expect(await bugle.requeue({ state })).toBe(0)
    expect((await bugle.jobs()).jobs.map((job) => [job.id, job.state, job.key])).toEqual([
      [id, 'running', 'ada'],
      [old, state, 'ada'],
    ])
    await end()
    expect(await bugle.requeue(old)).toBe(1)
    expect(await fullRows(db)).toMatchObject([{ id: old, state: 'ready', key: 'ada', key_while: 'running' }])
    // Now it has the key.
    expect(await bugle.put('q', 'newer', { unique })).toBe(old)
  })
}

test('H5 while running: a rescued job has its key all the time', async ({ db }) => {
  const bugle = db.bugle({ rescueAfterMs: 300 })
  const id = await bugle.put('q', 'first', { unique })
  await db.sql.unsafe(`update ${db.s}.job set state = 'running', worker_id = 7, lease = 5, run_at = run_at`)
  const rescued = db.collect(bugle, 'worker:rescued')
  await bugle.pause('q')
  await bugle.consume('q', () => {})
  await rescued.next()
  expect(await fullRows(db)).toMatchObject([{ id, state: 'ready', crashes: 1, key: 'ada' }])
  expect(await bugle.put('q', 'second', { unique })).toBe(id)
})

/** Consumes until a job runs. @returns what lets it end, and waits until it is over */
async function runOne(bugle: Bugle, gate: { promise: Promise<void>; resolve(): void }) {
  const begun = signal()
  const consumer = await bugle.consume('q', async () => {
    begun.resolve()
    await gate.promise
  })
  await begun.promise
  return {
    async end() {
      gate.resolve()
      await consumer.idle()
      await consumer.stop()
    },
  }
}

test('H5 while running: of archived jobs of one key the first is requeued, and the others stay archived', async ({
  db,
}) => {
  const bugle = db.bugle()
  const ids: string[] = []
  for (const payload of ['first', 'second', 'third']) {
    ids.push(await bugle.put('q', payload, { unique }))
    await bugle.drain('q', () => `did ${payload}`, { keep: 'all' })
  }
  expect(await bugle.requeue({ queue: 'q', state: 'archived' })).toBe(1)
  expect(await fullRows(db)).toMatchObject([{ id: ids[0], state: 'ready', key: 'ada', attempt: 0 }])
  expect((await archivedRows(db)).map(({ id, result }) => [id, result])).toEqual([
    [ids[1], 'did second'],
    [ids[2], 'did third'],
  ])
  // Against a put that commits while the requeue waits for it.
  await bugle.drain('q', () => {})
  const putting = db.connect()
  await putting.unsafe(`begin; select ${db.s}.put('q', '"new"', key => 'ada', key_while => 'running')`)
  const requeuing = bugle.requeue(ids[1] ?? '')
  await untilBlocked(db, 1)
  await putting.unsafe('commit')
  expect(await requeuing).toBe(0)
  expect(await fullRows(db)).toMatchObject([{ payload: 'new' }])
  expect(await archivedRows(db)).toHaveLength(2)
})
