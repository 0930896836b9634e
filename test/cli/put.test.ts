import { describe, expect } from 'vitest'
import { jsonLines, runCli, startCli } from '../support/cli.js'
import { test } from '../support/database.js'
import { gate } from '../support/held-rows.js'
import { until } from '../support/until.js'

const lines = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, index) => `{"n":${from + index}}\n`).join('')

describe('bugle put', () => {
  test('puts a job, and prints its id', async ({ db }) => {
    const put = await runCli(db, ['put', 'a queue', '{"to":"a@example.org"}'])
    const [job] = await db.jobs()
    expect(put).toEqual({ code: 0, stdout: `${job?.id}\n`, stderr: '' })
    expect(job).toMatchObject({ queue: 'a queue', payload: { to: 'a@example.org' }, state: 'ready' })
    const nothing = await runCli(db, ['put', 'q', '--json'])
    expect(jsonLines(nothing.stdout)).toEqual([{ queue: 'q', id: expect.stringMatching(/^\d+$/) }])
    expect((await db.jobs())[1]).toMatchObject({ payload: null })
  })

  test('takes every option', async ({ db }) => {
    const some = ['--kind', 'k', '--priority', '-5', '--key', 'x', '--key-mode', 'keep', '--flag', 'a', '--flag', 'b']
    const more = ['--max-attempts', '3', '--timeout', '90s', '--delay', '1h']
    const first = await runCli(db, ['put', 'q', '1', ...some, ...more])
    const again = await runCli(db, ['put', 'q', '2', ...some, ...more])
    expect(again.stdout).toBe(first.stdout)
    expect(await db.bugle().job(first.stdout.trim())).toMatchObject({
      ...{ kind: 'k', priority: -5, key: 'x', flags: ['a', 'b'], maxAttempts: 3, timeoutMs: 90_000 },
      ...{ state: 'scheduled', payload: 1 },
    })
    const { stdout } = await runCli(db, ['put', 'q', '--run-at', '2040-01-31T12:00:00Z'])
    expect((await db.bugle().job(stdout.trim()))?.runAt.toISOString()).toBe('2040-01-31T12:00:00.000Z')
  })

  test('what the database refuses is told in one line, in which nothing foreign can act, and without a stack', async ({
    db,
  }) => {
    await db.sql.unsafe(`
      create function ${db.s}.refuse() returns trigger language plpgsql as $$
        begin raise exception E'not\\x1b[2J\\n today\\u2028'; end $$;
      create trigger refuse before insert on ${db.s}.job for each row execute function ${db.s}.refuse();`)
    expect(await runCli(db, ['put', 'q', '1'])).toEqual({
      code: 1,
      stdout: '',
      stderr: 'bugle: not\\x1b[2J today\\u{2028}\n',
    })
  })

  test('a key that is taken is trouble', async ({ db }) => {
    await db.bugle().put('q', 1, { key: 'x' })
    const { code, stderr } = await runCli(db, ['put', 'q', '1', '--key', 'x', '--key-mode', 'reject', '--json'])
    expect(code).toBe(1)
    expect(jsonLines(stderr)).toMatchObject([{ error: { code: 'KEY_TAKEN' } }])
  })
})

describe('bugle put QUEUE -', () => {
  test('puts a job for each line that is not empty', async ({ db }) => {
    // U+2028 ends no line; a last line needs no end.
    const input = `${lines(1, 2_500)}\n  \r\n"a\u2028b"\r\n"last"`
    const put = await runCli(db, ['put', 'q', '-', '--kind', 'k'], { input })
    expect(put).toMatchObject({ code: 0, stdout: '2502\n' })
    const jobs = await db.jobs()
    expect(jobs.map(({ payload }) => payload).slice(-3)).toEqual([{ n: 2_500 }, 'a\u2028b', 'last'])
    expect(jobs).toHaveLength(2_502)
    const none = await runCli(db, ['put', 'q', '-', '--json', '--from-line', '3'], { input: '1\n' })
    expect(jsonLines(none.stdout)).toEqual([{ queue: 'q', put: 0, lastLine: 2, isComplete: true }])
  })

  test('a line that is not JSON ends it; all before are put, and the rest by --from-line', async ({ db }) => {
    const good = lines(1, 1_200)
    const broken = await runCli(db, ['put', 'q', '-'], { input: `${good}{oops\n${lines(1_202, 1_300)}` })
    expect(broken).toMatchObject({ code: 1, stdout: '1200\n' })
    expect(broken.stderr).toMatch(
      /bugle: line 1,201 is not JSON \(.*\); lines up to 1,200 were put and none after; go on with --from-line 1201\n$/,
    )
    expect(await db.jobs()).toHaveLength(1_200)
    const rest = await runCli(db, ['put', 'q', '-', '--from-line', '1201', '--json'], { input: lines(1, 1_300) })
    expect(jsonLines(rest.stdout)).toEqual([{ queue: 'q', put: 100, lastLine: 1_300, isComplete: true }])
    expect((await db.jobs()).map(({ payload }) => payload)).toEqual(
      Array.from({ length: 1_300 }, (_, index) => ({ n: index + 1 })),
    )
  })

  test('a refused payload is named by its line, and its batch is not put; a batch of long payloads is small', async ({
    db,
  }) => {
    const input = `${lines(1, 500)}${`"${'x'.repeat(1_000_000)}"\n`.repeat(4)}\n1\n"\\u0000"\n`
    const { code, stdout, stderr } = await runCli(db, ['put', 'q', '-', '--json'], { input })
    expect(code).toBe(1)
    expect(jsonLines(stdout)).toEqual([{ queue: 'q', put: 504, lastLine: 504, isComplete: false }])
    expect(jsonLines(stderr)).toMatchObject([{ error: { message: expect.stringMatching(/^line 507: the payload/) } }])
    expect(await db.jobs()).toHaveLength(504)
  })

  test('a line that is not UTF-8 is refused', async ({ db }) => {
    const input = Buffer.concat([Buffer.from('1\n"'), Buffer.from([0xff]), Buffer.from('"\n')])
    expect(await runCli(db, ['put', 'q', '-'], { input })).toMatchObject({
      code: 1,
      stdout: '1\n',
      stderr: expect.stringContaining('line 2 is not UTF-8; lines up to 1 were put'),
    })
  })

  test('Ctrl-C ends it after the batch in flight, though more lines are there', async ({ db }) => {
    const held = await gate(db, 'insert', 'new.payload = \'{"n":1500}\'')
    const put = startCli(db, ['put', 'q', '-'])
    put.child.stdin?.on('error', () => {}).write(lines(1, 10_000))
    await held.isWaitedFor()
    put.child.kill('SIGINT')
    await put.printed(/stopping after the batch in flight/)
    await held.open()
    expect(await put.ended).toMatchObject({
      code: 130,
      stdout: '2000\n',
      stderr: expect.stringMatching(
        /lines up to 2,000 were put and none after; go on with --from-line 2001\n.*SIGINT/s,
      ),
    })
    expect(await db.jobs()).toHaveLength(2_000)
  })

  test('Ctrl-C ends it while it waits for lines; what was read of a batch is not put', async ({ db }) => {
    const put = startCli(db, ['put', 'q', '-', '--json'])
    put.child.stdin?.on('error', () => {}).write(`${lines(1, 1_001)}1002`)
    await until(async () => (await db.jobs()).length > 0)
    put.child.kill('SIGTERM')
    const { code, stdout, stderr } = await put.ended
    expect(code).toBe(143)
    expect(jsonLines(stdout)).toEqual([{ queue: 'q', put: 1_000, lastLine: 1_000, isComplete: false }])
    expect(jsonLines(stderr)).toEqual([{ error: { code: 'FAILED', message: 'interrupted by SIGTERM' } }])
    expect(await db.jobs()).toHaveLength(1_000)
  })

  test('where the connection is lost in a batch, it is not known whether its lines were put', async ({ db }) => {
    const held = await gate(db, 'insert', 'new.payload = \'{"n":1500}\'')
    const put = startCli(db, ['put', 'q', '-', '--json'])
    put.child.stdin?.on('error', () => {}).write(lines(1, 2_500))
    await held.isWaitedFor()
    await db.sql`
      select pg_terminate_backend(pid) from pg_locks
      where locktype = 'advisory' and not granted and pid in (
        select pid from pg_stat_activity where application_name like 'bugle command%')`
    const { code, stdout, stderr } = await put.ended
    expect(code).toBe(1)
    expect(jsonLines(stdout)).toEqual([{ queue: 'q', put: 1_000, lastLine: 1_000, isComplete: false }])
    expect(jsonLines(stderr)).toEqual([
      {
        error: {
          code: 'RESULT_UNKNOWN',
          message: expect.stringMatching(
            new RegExp(
              '^of lines 1001 to 2000 it is not known whether they were put: .*; lines up to 1,000 were put; ' +
                'go on with --from-line 1001$',
            ),
          ),
        },
      },
    ])
  })

  test('reads no faster than it puts', async ({ db }) => {
    const held = await gate(db, 'insert', 'new.payload = \'{"n":1}\'')
    const put = startCli(db, ['put', 'q', '-'])
    const input = put.child.stdin
    input?.on('error', () => {})
    input?.write(lines(1, 1_000))
    await held.isWaitedFor()
    const megabyte = `"${'x'.repeat(1_000_000)}"\n`
    for (let sent = 0; sent < 50; sent += 1) input?.write(megabyte)
    // Time enough to read them all.
    for (let trips = 0; trips < 300; trips += 1) await db.sql`select 1`
    // The pipe and a stream's buffer hold a megabyte at most; what is beyond waits here.
    expect(input?.writableLength).toBeGreaterThan(40_000_000)
    put.child.kill('SIGKILL')
    await held.open()
  })
})
