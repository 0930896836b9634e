import { expect } from 'vitest'
import { collectBatch } from '../../../src/admin/collect.js'
import { test } from '../../support/database.js'
import { operator } from '../../support/operator.js'
import { refusal } from '../../support/refusal.js'
import { fullRows } from '../../support/rows.js'

const unique = { key: 'ada', forMs: 3_600_000 } as const

test('H5 for a time: a key stays taken when its job is over, and is free after its time', async ({ db }) => {
  const bugle = db.bugle()
  const id = await bugle.put('q', 'first', { unique })
  await bugle.drain('q', () => {})
  expect(await fullRows(db)).toEqual([])
  expect(await bugle.put('q', 'second', { unique })).toBe(id)
  for (const keyMode of ['reject', 'replace'] as const) {
    const refused = { code: 'KEY_TAKEN', message: expect.stringContaining('nothing was written') }
    expect(await refusal(() => bugle.put('q', 'third', { unique, keyMode }))).toMatchObject(refused)
    expect(await refusal(() => bugle.putMany('q', ['third'], { unique, keyMode }))).toMatchObject(refused)
  }
  expect(await fullRows(db)).toEqual([])
  // Another queue, another key, and who does not ask for a time.
  const others = [
    await bugle.put('Q', 'other', { unique }),
    await bugle.put('q', 'other', { unique: { ...unique, key: 'bob' } }),
    await bugle.put('q', 'other', { key: 'ada' }),
  ]
  expect(new Set([id, ...others]).size).toBe(4)

  await db.sql.unsafe(`delete from ${db.s}.job; update ${db.s}.taken_key set until = now() - interval '1 ms'`)
  const next = await bugle.put('q', 'fourth', { unique })
  expect(next).not.toBe(id)
  expect(await bugle.put('q', 'fifth', { unique })).toBe(next)
  expect(await fullRows(db)).toMatchObject([{ id: next, payload: 'fourth' }])
})

test('H5 for a time: a job that waits is replaced, and keeps the key beyond its time', async ({ db }) => {
  const bugle = db.bugle()
  const id = await bugle.put('q', 'first', { unique, delayMs: 7_200_000 })
  expect(await bugle.put('q', 'second', { unique, keyMode: 'replace', delayMs: 7_200_000 })).toBe(id)
  await db.sql.unsafe(`update ${db.s}.taken_key set until = now() - interval '1 ms'`)
  expect(await bugle.put('q', 'third', { unique })).toBe(id)
  expect(await fullRows(db)).toMatchObject([{ id, payload: 'second', state: 'scheduled' }])
  // It was no put of a job, and took no time.
  expect(await db.sql.unsafe(`select from ${db.s}.taken_key where until > now()`)).toEqual([])
})

test('H5 for a time: the time counts from the put that replaced the job last', async ({ db }) => {
  const bugle = db.bugle()
  const id = await bugle.put('q', 'first', { unique, delayMs: 7_200_000 })
  await db.sql.unsafe(`update ${db.s}.taken_key set until = now() + interval '1 s'`)
  const left = () =>
    db.sql.unsafe(`
    select key, job_id::text as id, until > now() + interval '1 min' as "isLong" from ${db.s}.taken_key`)
  // What says less than the row does not take its time away.
  expect(await bugle.put('q', 'second', { unique: { key: 'ada', forMs: 1 }, keyMode: 'replace' })).toBe(id)
  expect(await left()).toEqual([{ key: 'ada', id, isLong: false }])
  expect(await bugle.putMany('q', ['third'], { unique, keyMode: 'replace' })).toEqual([id])
  expect(await left()).toEqual([{ key: 'ada', id, isLong: true }])
  // Of a former job whose time is over.
  await db.sql.unsafe(`update ${db.s}.taken_key set until = now() - interval '1 ms', job_id = 0`)
  expect(await bugle.put('q', 'fourth', { unique, keyMode: 'replace' })).toBe(id)
  expect(await left()).toEqual([{ key: 'ada', id, isLong: true }])
  await db.sql.unsafe(`update ${db.s}.job set state = 'ready', run_at = now()`)
  await bugle.drain('q', () => {})
  expect(await bugle.put('q', 'fifth', { unique })).toBe(id)
  expect(await fullRows(db)).toEqual([])
})

test('H5 for a time: a put that is rolled back takes no key', async ({ db }) => {
  const bugle = db.bugle()
  const no = new Error('no')
  const failed = db.sql.begin(async (tx) => {
    await bugle.put('q', 'first', { unique, tx })
    throw no
  })
  await expect(failed).rejects.toBe(no)
  const ids = await bugle.putMany('q', ['a', 'b', 'c'], (payload) => (payload === 'b' ? {} : { unique }))
  expect(ids[0]).toBe(ids[2])
  expect((await fullRows(db)).map(({ payload, key }) => [payload, key])).toEqual([
    ['a', 'ada'],
    ['b', null],
  ])
})

test('H5 for a time: keys whose time is over are collected', async ({ db }) => {
  const bugle = db.bugle()
  await bugle.putMany('q', ['over', 'taken'], (key) => ({ unique: { key: key as string, forMs: 3_600_000 } }))
  await db.sql.unsafe(`update ${db.s}.taken_key set until = now() - interval '1 ms' where key = 'over'`)
  expect(await collectBatch(operator(db).database, 'keys', 0)).toEqual({ locked: true, deleted: 1 })
  expect(await db.sql.unsafe(`select key from ${db.s}.taken_key`)).toEqual([{ key: 'taken' }])
})

test('H5 from SQL put takes every option by name, and keys as put() does', async ({ db }) => {
  const sql = db.connect()
  const put = async (rest: string): Promise<string> => {
    const [row] = await sql.unsafe<{ id: string }[]>(`select ${db.s}.put('q', ${rest}) as id`)
    return row?.id ?? ''
  }
  const id = await put(
    `'1', priority => 5, kind => 'k', delay_ms => 3600000, key => 'a', key_while => 'running', key_for_ms => 60000,
     flags => '{eu,us}', max_attempts => 3, timeout_ms => 9000`,
  )
  expect(await fullRows(db)).toMatchObject([
    {
      ...{ id, payload: 1, priority: 5, kind: 'k', state: 'scheduled', key: 'a', key_while: 'running' },
      ...{ flags: ['eu', 'us'], max_attempts: 3, timeout_ms: 9_000 },
    },
  ])
  expect(await put(`'2', key => 'a'`)).toBe(id)
  expect(await put(`'3', key => 'a', key_mode => 'replace', run_at => now()`)).toBe(id)
  expect(await fullRows(db)).toMatchObject([{ payload: 3, priority: 0, state: 'ready', flags: null }])
  await expect(put(`'4', key => 'a', key_mode => 'reject'`)).rejects.toMatchObject({ code: '23505' })
  await expect(put(`'4', key => 'b', key_mode => 'drop'`)).rejects.toMatchObject({ code: '22023' })
  await expect(put(`'4', key => 'b', key_while => 'done'`)).rejects.toMatchObject({ code: '22023' })
  for (const only of [`key_mode => 'replace'`, `key_while => 'running'`, 'key_for_ms => 1', 'key_mode => null']) {
    await expect(put(`'4', ${only}`), only).rejects.toMatchObject({ code: '22023' })
  }
  await expect(put(`'4', run_at => now(), delay_ms => 1`)).rejects.toMatchObject({ code: '22023' })
  await put(`'5', flags => '{x}', timeout_ms => 7, max_attempts => 2, run_at => now() + interval '1 hour'`)
  expect((await fullRows(db))[1]).toMatchObject({
    payload: 5,
    state: 'scheduled',
    flags: ['x'],
    timeout_ms: 7,
    key: null,
  })
})
