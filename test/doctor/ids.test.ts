import { expect } from 'vitest'
import { test } from '../support/clinic.js'

test('ids: the sequence is behind a job, or behind the archive, and the remedy mends it', async ({ clinic }) => {
  const { bugle, s, sql } = clinic
  expect(await clinic.findings('ids')).toMatchObject([{ status: 'ok', details: { lastId: '0', largest: '0' } }])
  const [id = ''] = (await bugle.putMany('emails', [1, 2, 3])).slice(-1)
  expect(await clinic.findings('ids')).toMatchObject([{ status: 'ok', details: { lastId: id, largest: id } }])

  // As rows are copied without the sequence.
  const restart = () => sql.unsafe(`alter table ${s}.job alter column id restart with 1`)
  await restart()
  const [waiting] = await clinic.findings('ids')
  expect(waiting).toMatchObject({ status: 'trouble', details: { lastId: '0', largest: id } })
  await sql.unsafe(waiting?.remedy ?? '')
  expect(await clinic.findings('ids')).toMatchObject([{ status: 'ok', details: { lastId: id } }])
  expect(BigInt(await bugle.put('emails', 4))).toBe(BigInt(id) + 1n)

  await bugle.drain('emails', () => {}, { keep: 'all' })
  await restart()
  const { code, stdout } = await clinic.doctor()
  expect(code).toBe(1)
  const [archived] = await clinic.findings('ids')
  expect(stdout).toContain(archived?.remedy)
  await sql.unsafe(archived?.remedy ?? '')

  // A record that has its id from nobody's sequence is none to come after.
  await sql.unsafe(`update ${s}.archive set id = 4611686018427387904 + id where id = ${id}`)
  expect(await clinic.findings('ids')).toMatchObject([{ status: 'ok' }])
  expect(BigInt(await bugle.put('emails', 5))).toBe(BigInt(id) + 2n)
})
