import { expect } from 'vitest'
import { jsonLines, runCli } from '../support/cli.js'
import { test } from '../support/database.js'

/** The last moment that a Date can be. */
const last = new Date(8_640_000_000_000_000)

test('a job may be due as late as a Date can be, and is shown even if it is due later', async ({ db }) => {
  const bugle = db.bugle()
  const [{ id } = { id: '' }] = await db.sql.unsafe<{ id: string }[]>(
    `insert into ${db.s}.job (queue, run_at) values ('q', '275760-09-13 00:00:00+00') returning id`,
  )
  expect(await bugle.job(id)).toMatchObject({ state: 'scheduled', runAt: last })
  for (const column of ['run_at', 'created_at']) {
    for (const moment of ['275760-09-13 00:00:00.001+00', '290000-01-01', 'infinity', '-infinity']) {
      await db.sql.unsafe(`insert into ${db.s}.job (queue, ${column}) values ('q', '${moment}')`)
    }
  }
  await db.sql.unsafe(`insert into ${db.s}.job (queue, created_at, run_at) values ('q', '4000-01-01', '4000-01-01')`)

  const shown = await runCli(db, ['show', id])
  expect(shown).toMatchObject({ code: 0, stderr: '', stdout: expect.stringContaining('+275760-09-13T00:00:00.000Z') })
  expect(await runCli(db, ['jobs'])).toMatchObject({ code: 0, stderr: '' })
})

test('show tells of times that somebody has written and no Date can be', async ({ db }) => {
  const id = await db.bugle().put('q', 1)
  await db.sql.unsafe(
    `update ${db.s}.job set claimed_at = '290000-01-01', finished_at = '290000-01-01', state = 'failed'`,
  )
  const { code, stdout, stderr } = await runCli(db, ['show', id])
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  expect(stdout).toMatch(/^claimed +after the year 275760$/m)
  const json = await runCli(db, ['show', id, '--json'])
  expect(jsonLines(json.stdout)).toMatchObject([{ id, claimedAt: null, finishedAt: null }])
})
