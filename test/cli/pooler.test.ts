import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'vitest'
import { jsonLines, runCli, spawnCli } from '../support/cli.js'
import { test as base } from '../support/database.js'
import { findPgbouncer, startPgbouncer } from '../support/pgbouncer.js'

/** A module of one queue, `emails`. */
const test = base.extend<{ modulePath: string }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads the fixtures that it needs from this pattern
  modulePath: async ({}, use) => {
    const directory = mkdtempSync(join(tmpdir(), 'bugle-pooler-'))
    const path = join(directory, 'handlers.mjs')
    writeFileSync(path, 'export const queues = { emails: (job) => console.error("ran", job.payload) }')
    await use(path)
    rmSync(directory, { recursive: true })
  },
})

const program = await findPgbouncer()

for (const mode of ['transaction', 'session']) {
  test.skipIf(program === null)(
    `every command works through pgbouncer in ${mode} mode with its default settings`,
    async ({ db, modulePath }) => {
      const pooler = await startPgbouncer(program ?? '', db.connectionString, { pool_mode: mode })
      try {
        const target = { connectionString: pooler.connectionString, schema: db.schema }
        const answer = async (...args: string[]) => {
          const { code, stdout, stderr } = await runCli(target, [...args, '--json'])
          expect({ code, stderr }, args.join(' ')).toEqual({ code: 0, stderr: '' })
          return jsonLines(stdout)
        }
        expect(await answer('migrate')).toMatchObject([{ applied: [] }])
        expect(await answer('migrate', '--status')).toMatchObject([{ due: [] }])
        const [put] = (await answer('put', 'emails', '"first"')) as { id: string }[]
        const id = put?.id ?? ''
        expect(await answer('stats', 'emails')).toMatchObject([{ queues: [{ queue: 'emails', ready: { count: 1 } }] }])
        expect(await answer('workers')).toEqual([])
        expect(await answer('jobs')).toMatchObject([{ id }, { cursor: null }])
        expect(await answer('show', id)).toMatchObject([{ id, state: 'ready' }])
        expect(await answer('cancel', id)).toEqual([{ id, answer: 'cancelled' }])
        expect(await answer('requeue', id)).toMatchObject([{ requeued: 1 }])
        expect(await answer('pause', 'emails')).toEqual([{ queue: 'emails', changed: true }])
        expect(await answer('resume', 'emails')).toEqual([{ queue: 'emails', changed: true }])
        expect(await answer('collect', '--failed-older-than', '1d')).toMatchObject([{ isComplete: true }])
        const { stdout } = await runCli(target, ['doctor', '--json'])
        expect(jsonLines(stdout)).toContainEqual(expect.objectContaining({ check: 'schema', status: 'ok' }))
        expect(jsonLines(stdout)).toContainEqual(expect.objectContaining({ check: 'pooler', connection: mode }))
        const worked = await spawnCli(target, ['work', modulePath, '--drain', '--json'])
        expect(worked).toMatchObject({ code: 0, stderr: expect.stringContaining('ran first\n') })
        expect(jsonLines(worked.stdout)).toMatchObject([{ queue: 'emails', completed: 1 }])
        expect(await db.jobs()).toEqual([])
        expect(await db.sql.unsafe(`select from ${db.s}.worker`)).toEqual([])
      } finally {
        await pooler.stop()
      }
    },
  )
}

test.skipIf(program === null)('--no-prepare prepares nothing and sets nothing', async ({ db }) => {
  const spied = async (...args: string[]) => {
    const { code, stderr } = await runCli(db, ['put', 'q', '1', ...args])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  }
  // What a session has set is seen by the trigger of a row that it inserts.
  await db.sql.unsafe(`
    create table ${db.s}.seen (plans text);
    create function ${db.s}.see() returns trigger language plpgsql as $$
    begin
      insert into ${db.s}.seen values (current_setting('plan_cache_mode'));
      return null;
    end $$;
    create trigger see after insert on ${db.s}.job for each row execute function ${db.s}.see()`)
  await spied()
  await spied('--no-prepare')
  expect(await db.sql.unsafe(`select plans from ${db.s}.seen`)).toEqual([
    { plans: 'force_generic_plan' },
    { plans: 'auto' },
  ])
})

test.skipIf(program === null)('BUGLE_LISTEN_URL is the direct way of work', async ({ db, modulePath }) => {
  const pooler = await startPgbouncer(program ?? '', db.connectionString)
  try {
    const env = { BUGLE_LISTEN_URL: db.connectionString, DEBUG: 'bugle:listener' }
    const target = { connectionString: pooler.connectionString, schema: db.schema }
    await db.bugle().put('emails', 'pushed')
    const worked = await spawnCli(target, ['work', modulePath, '--drain'], { env })
    expect(worked).toMatchObject({ code: 0, stderr: expect.stringContaining('ran pushed') })
    expect(worked.stderr).toContain('connecting -> live')
  } finally {
    await pooler.stop()
  }
})
