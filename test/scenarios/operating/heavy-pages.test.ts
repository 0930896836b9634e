import { expect } from 'vitest'
import type { Bugle, JobRecord, JobsFilter } from '../../../src/index.js'
import { jsonLines, runCli } from '../../support/cli.js'
import { type TestDatabase, test } from '../../support/database.js'
import { insert, inserters } from '../../support/ended-jobs.js'

/** Five MB of JSON, that compress to next to nothing: what is stored of it tells nothing. */
async function putHeavy(db: TestDatabase, count: number): Promise<void> {
  await db.sql.unsafe(`
    insert into ${db.s}.job (queue, payload)
    select 'q', to_jsonb(repeat('x', 5000000)) from generate_series(1, ${count})`)
}

async function pages(bugle: Bugle, filter: JobsFilter = {}): Promise<string[][]> {
  const all: string[][] = []
  let cursor: string | null = null
  do {
    const page: { jobs: readonly JobRecord[]; cursor: string | null } = await bugle.jobs({ ...filter, cursor })
    all.push(page.jobs.map(({ id }) => id))
    cursor = page.cursor
  } while (cursor !== null)
  return all
}

test('jobs: a page ends with the job by which its payloads come to 16 MB; the cursor leads on', async ({ db }) => {
  await putHeavy(db, 6)
  await db.sql.unsafe(`insert into ${db.s}.job (queue, payload) select 'q', '1' from generate_series(1, 3)`)
  const bugle = db.bugle()
  expect(await pages(bugle, { limit: 1_000 })).toEqual([
    ['9', '8', '7', '6', '5', '4', '3'],
    ['2', '1'],
  ])
  // A page that is full and ends by its weight in the same moment, and one that is the last.
  expect(await pages(bugle, { limit: 4 })).toEqual([['9', '8', '7', '6'], ['5', '4', '3', '2'], ['1']])
})

test('jobs: progress, results and errors weigh as well', async ({ db }) => {
  const heavy = JSON.stringify('x'.repeat(9_000_000))
  const rows = [
    await insert(db, 'job', { queue: 'q', progress: heavy }),
    await inserters.failed(db, { last_error: heavy }),
    await inserters.archived(db, { id: 10, result: heavy }),
  ]
  expect(rows).toEqual(['1', '2', '10'])
  expect(await pages(db.bugle())).toEqual([['10', '2'], ['1']])
})

test('without contents jobs are read whatever they weigh, and payload, progress and result are null', async ({
  db,
}) => {
  await putHeavy(db, 5)
  const bugle = db.bugle({ codec: { encode: (value) => value, decode: (stored) => ({ stored }) } })
  const id = await inserters.archived(db, { id: 10, payload: '1', progress: '2', result: '3' })
  const { jobs, cursor } = await bugle.jobs({ contents: false })
  expect(cursor).toBeNull()
  expect(jobs.map((job) => job.id)).toEqual(['10', '5', '4', '3', '2', '1'])
  for (const job of jobs) expect(job).toMatchObject({ payload: null, progress: null, result: null })
  expect(await bugle.job(id, { contents: false })).toMatchObject({ id, payload: null, progress: null, result: null })
  expect(await bugle.job(id)).toMatchObject({ payload: { stored: 1 }, progress: { stored: 2 }, result: { stored: 3 } })
  for (const contents of [0, 'no', null]) {
    await expect(bugle.jobs({ contents: contents as never })).rejects.toMatchObject({ code: 'INVALID_OPTION' })
    await expect(bugle.job(id, { contents: contents as never })).rejects.toMatchObject({ code: 'INVALID_OPTION' })
  }
})

test('bugle jobs reads no payloads that it does not show', async ({ db }) => {
  await putHeavy(db, 6)
  const listed = jsonLines((await runCli(db, ['jobs', '--json'])).stdout)
  expect(listed).toHaveLength(7)
  expect(listed.at(-1)).toEqual({ cursor: null })
  const shown = jsonLines((await runCli(db, ['jobs', '--json', '--payload'])).stdout) as { id?: string }[]
  expect(shown.map(({ id }) => id)).toEqual(['6', '5', '4', '3', undefined])
  expect(shown.at(-1)).toEqual({ cursor: expect.any(String) })
})
