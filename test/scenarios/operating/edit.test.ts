import { expect } from 'vitest'
import * as z from 'zod'
import { signal } from '../../support/database.js'
import { test } from '../../support/gates.js'
import { refusal } from '../../support/refusal.js'
import { fullRows } from '../../support/rows.js'

test('edit: a scheduled job that is to run now does, by the notification alone', async ({ db }) => {
  const bugle = db.bugle()
  const ran = signal<unknown>()
  const id = await bugle.put('q', 'later', { delayMs: 3_600_000 })
  const consumer = await bugle.consume('q', (job) => ran.resolve([job.id, job.payload, job.attempt]))
  await consumer.idle()
  expect(await bugle.edit(id, { delayMs: 0 })).toBe(true)
  expect(await ran.promise).toEqual([id, 'later', 1])
})

test('edit: time, priority and payload of a job that waits, and nothing else of it', async ({ db }) => {
  const bugle = db.bugle()
  const id = await bugle.put('q', 'first', { key: 'k', flags: ['eu'], priority: 1 })
  const [before] = await fullRows(db)
  expect(await bugle.edit(id, { priority: -4 })).toBe(true)
  expect(await fullRows(db)).toEqual([{ ...before, priority: -4 }])
  const runAt = new Date(Date.now() + 3_600_000)
  expect(await bugle.edit(id, { runAt, payload: null })).toBe(true)
  expect(await fullRows(db)).toEqual([{ ...before, priority: -4, payload: null, run_at: runAt, state: 'scheduled' }])
  expect(await bugle.edit(id, { runAt: new Date(0), payload: { a: 1 } })).toBe(true)
  expect(await fullRows(db)).toMatchObject([{ payload: { a: 1 }, state: 'ready', key: 'k' }])
})

test('edit: a job that runs, is over or never was stays as it is', async ({ db, gate }) => {
  const bugle = db.bugle()
  const begun = signal()
  const blocked = gate()
  const id = await bugle.put('q', 'first')
  const failed = await bugle.put('other', 'failed')
  expect(await bugle.cancel(failed)).toBe('cancelled')
  const consumer = await bugle.consume('q', async () => {
    begun.resolve()
    await blocked.promise
  })
  await begun.promise
  const before = await fullRows(db)
  for (const one of [id, failed, '999']) {
    expect(await bugle.edit(one, { delayMs: 0 })).toBe(false)
    expect(await bugle.edit(one, { payload: 2 })).toBe(false)
    expect(await bugle.edit(one, { priority: 2 })).toBe(false)
  }
  expect(await fullRows(db)).toEqual(before)
  blocked.resolve()
  await consumer.stop()
})

test('edit: a payload is checked and encoded as by put', async ({ db }) => {
  const schemas = { letters: { letter: z.object({ at: z.date() }), bill: z.number() } }
  const codec = {
    encode: (value: unknown) => ({
      it: value instanceof Object ? String((value as { at: Date }).at.getTime()) : value,
    }),
    decode: (stored: unknown) => ({ at: new Date(Number((stored as { it: string }).it)) }),
  }
  const bugle = db.bugle({ schemas, codec })
  const id = await bugle.put('letters', { at: new Date(5) }, { kind: 'letter', delayMs: 3_600_000 })
  expect(await bugle.edit(id, { payload: { at: new Date(7) } })).toBe(true)
  expect(await fullRows(db)).toMatchObject([{ payload: { it: '7' } }])
  expect(await bugle.job(id)).toMatchObject({ payload: { at: new Date(7) } })
  for (const payload of [{ at: 5 }, 3, undefined]) {
    expect(await refusal(() => bugle.edit(id, { payload }))).toMatchObject({ code: 'VALIDATION_FAILED' })
  }
  expect(await fullRows(db)).toMatchObject([{ payload: { it: '7' } }])
})

test('edit: bad input is refused before anything is sent', async ({ db }) => {
  const bugle = db.bugle({ connectionString: 'postgres://postgres@127.0.0.1:1/postgres' })
  const bad: [unknown, RegExp][] = [
    [{}, /payload, priority, runAt or delayMs/],
    [undefined, /must be an object/],
    [{ prio: 1 }, /did you mean priority/],
    [{ priority: 1.5 }, /priority must be/],
    [{ runAt: new Date(Number.NaN) }, /runAt must be/],
    [{ delayMs: -1 }, /delayMs must be/],
    [{ delayMs: 1, runAt: new Date() }, /not both/],
  ]
  for (const [changes, message] of bad) {
    expect(await refusal(() => bugle.edit('1', changes as never)), String(message)).toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringMatching(message),
    })
  }
  expect(await refusal(() => bugle.edit('x', { priority: 1 }))).toMatchObject({ code: 'INVALID_OPTION' })
})

test('edit from SQL takes one time, as put does', async ({ db }) => {
  const id = await db.bugle().put('q', 1)
  const both = () => db.sql.unsafe(`select ${db.s}.edit(${id}, run_at => now(), delay_ms => 5)`)
  await expect(both()).rejects.toMatchObject({ code: '22023', message: 'edit takes run_at or delay_ms, not both' })
})
