import { randomUUID } from 'node:crypto'
import { describe, expect } from 'vitest'
import { jsonLines, runCli } from '../support/cli.js'
import { test as base } from '../support/database.js'
import { until } from '../support/until.js'

/** A schema that is not there yet. */
const test = base.extend<{ fresh: { connectionString: string; schema: string } }>({
  fresh: async ({ db }, use) => {
    // What a script has to quote.
    const schema = `fresh '"$1 ${randomUUID().slice(0, 8)}`
    await use({ connectionString: db.connectionString, schema })
    await db.sql`drop schema if exists ${db.sql(schema)} cascade`
  },
})

const steps = ['0001_jobs', '0002_functions']

describe('bugle migrate', () => {
  test('makes the tables, and says so; then there is nothing to do', async ({ fresh }) => {
    const made = await runCli(fresh, ['migrate', '--json'])
    expect(made).toMatchObject({ code: 0, stderr: '' })
    expect(jsonLines(made.stdout)).toEqual([{ schema: fresh.schema, from: 0, to: steps.length, applied: steps }])
    const again = await runCli(fresh, ['migrate'])
    expect(again).toMatchObject({ code: 0, stdout: expect.stringMatching(/nothing to do, it is at step \d+\n$/) })
  })

  test('--status tells what is due by exit code 1, and 0 where nothing is', async ({ db, fresh }) => {
    const due = await runCli(fresh, ['migrate', '--status', '--json'])
    expect(due.code).toBe(1)
    expect(jsonLines(due.stdout)).toEqual([{ schema: fresh.schema, version: 0, newest: steps.length, due: steps }])
    expect(await runCli(fresh, ['migrate', '--status'])).toMatchObject({
      code: 1,
      stdout: expect.stringMatching(
        /^schema .*\nstep here +none\nnewest known +\d+\ndue +0001_jobs, 0002_functions\n$/,
      ),
    })
    const done = await runCli(db, ['migrate', '--status', '--json'])
    expect(done.code).toBe(0)
    expect(jsonLines(done.stdout)).toEqual([
      { schema: db.schema, version: steps.length, newest: steps.length, due: [] },
    ])
  })

  test('a schema of a newer version is trouble', async ({ db }) => {
    await db.sql.unsafe(`insert into ${db.s}.migration (number, name) values (99, '0099_later')`)
    const status = await runCli(db, ['migrate', '--status'])
    expect(status).toMatchObject({ code: 1, stdout: expect.stringContaining('99 (of a newer version of Bugle)') })
    expect(await runCli(db, ['migrate', '--dry-run'])).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringMatching(/^bugle: .*\n$/),
    })
  })

  test('--dry-run changes nothing, and prints a script that does it all', async ({ db, fresh }) => {
    const script = await runCli(fresh, ['migrate', '--dry-run'])
    expect(script).toMatchObject({ code: 0, stderr: '' })
    expect(await runCli(fresh, ['migrate', '--status'])).toMatchObject({ code: 1 })
    await db.connect().unsafe(script.stdout).simple()
    const after = await runCli(fresh, ['migrate', '--json'])
    expect(jsonLines(after.stdout)).toMatchObject([{ from: steps.length, applied: [] }])
    const nothing = await runCli(fresh, ['migrate', '--dry-run', '--json'])
    expect(jsonLines(nothing.stdout)).toMatchObject([{ due: [], script: '' }])
  })

  test('a step of the script fails once the schema is no longer as it was', async ({ db }) => {
    await db.sql.unsafe(`delete from ${db.s}.migration where number = 2`)
    const { stdout } = await runCli(db, ['migrate', '--dry-run'])
    await db.sql.unsafe(`update ${db.s}.migration set number = 7`)
    await expect(db.connect().unsafe(stdout).simple()).rejects.toThrow('the last step of this schema is 7')
    expect(await db.sql.unsafe(`select number from ${db.s}.migration`)).toEqual([{ number: 7 }])
  })

  test('the script waits for a migration that is under way', async ({ db, fresh }) => {
    const { stdout } = await runCli(fresh, ['migrate', '--dry-run'])
    const holder = db.connect()
    await holder`select pg_advisory_lock(hashtext('bugle.migrate'), hashtext(${fresh.schema}))`
    const runner = db.connect()
    const [{ pid } = { pid: 0 }] = await runner<{ pid: number }[]>`select pg_backend_pid() as pid`
    const run = runner.unsafe(stdout).simple().execute()
    const isWaiting = async () =>
      (await db.sql`select from pg_locks where pid = ${pid} and locktype = 'advisory' and not granted`).length > 0
    await until(isWaiting)
    await holder`select pg_advisory_unlock_all()`
    await run
    expect(await runCli(fresh, ['migrate', '--status'])).toMatchObject({ code: 0 })
  })
})
