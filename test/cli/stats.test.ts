import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { expect, onTestFinished } from 'vitest'
import { countText } from '../../src/cli/commands/stats.js'
import { runCli } from '../support/cli.js'
import { type TestDatabase, test } from '../support/database.js'

/** The command while it goes on, as it is installed: needs a build. */
function start(db: TestDatabase, args: readonly string[]) {
  const child = spawn(process.execPath, ['dist/cli/index.js', '--schema', db.schema, ...args], {
    env: { ...process.env, DATABASE_URL: db.connectionString, NO_COLOR: '1' },
  })
  onTestFinished(() => {
    child.kill('SIGKILL')
  })
  let stderr = ''
  child.stderr.on('data', (chunk) => {
    stderr += chunk
  })
  const ended = once(child, 'close').then(([code]) => ({ code: code as number, stderr }))
  return { child, lines: createInterface(child.stdout)[Symbol.asyncIterator](), ended }
}

/** Two queues, a pause, a failed job; a live worker and a dead one. */
async function fill(db: TestDatabase): Promise<void> {
  await db.sql.unsafe(`
    insert into ${db.s}.job (queue, state, run_at, finished_at)
    select 'emails', 'ready', now() - interval '2 m 3 s', null::timestamptz from generate_series(1, 1200)
    union all select 'emails', 'ready', now() + interval '1 h', null
    union all select E'me\\tdia', 'failed', now(), now()`)
  await db.bugle().pause('me\tdia')
  await db.sql.unsafe(`
    insert into ${db.s}.worker (id, name, host, pid, version, started_at, seen_at, consumers)
    values
      (1, E'mail\\x1ber', E'o\\x1bne', 11, E'0.1.0\\x1b', now() - interval '3 h', now() + interval '1 h',
        '[{"queue": "emails", "concurrency": 10, "kinds": ["letter", "bi\\u001bll"], "isPaused": false}]'),
      (2, 'gone', 'two', 12, '0.1.0', now() - interval '2 h', now() - interval '1 h',
        '[{"queue": "me\\tdia", "concurrency": 10, "kinds": null, "isPaused": true}]')`)
}

test('bugle stats --json: one line', async ({ db }) => {
  await fill(db)
  const { code, stdout, stderr } = await runCli(db, ['stats', '--json'])
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  expect(stdout.trimEnd().split('\n')).toHaveLength(1)
  const exactly = (count: number) => ({ count, isExact: true })
  const { at, ...stats } = JSON.parse(stdout)
  expect(at).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/)
  expect(stats).toEqual({
    queues: [
      {
        queue: 'emails',
        isPaused: false,
        ready: exactly(1_200),
        scheduled: exactly(1),
        running: exactly(0),
        failed: exactly(0),
        oldestReadyMs: expect.any(Number),
        workers: 1,
        slots: 10,
      },
      {
        queue: 'me\tdia',
        isPaused: true,
        ready: exactly(0),
        scheduled: exactly(0),
        running: exactly(0),
        failed: exactly(1),
        oldestReadyMs: null,
        workers: 0,
        slots: 0,
      },
    ],
    areAllQueues: true,
    workers: [
      { id: '1', ...anyWorker },
      { id: '2', ...anyWorker },
    ].map((worker) => expect.objectContaining(worker)),
  })
})

const anyWorker = { running: { count: 0, isExact: true }, consumers: expect.any(Array) }

test('bugle stats: a table for people', async ({ db }) => {
  expect((await runCli(db, ['stats'])).stdout).toBe('no queue has jobs, a consumer or a pause\n')
  await fill(db)
  const { code, stdout } = await runCli(db, ['stats'])
  expect(code).toBe(0)
  expect([countText({ count: 9_999, isExact: true }), countText({ count: 10_000, isExact: false })]).toEqual([
    ...['9,999', '10,000+'],
  ])
  expect(stdout.replaceAll(/ +/g, ' ').trimEnd().split('\n')).toEqual([
    ' queue ready oldest scheduled running failed workers slots',
    ' emails 1,200 2m 1 0 0 1 10',
    ' me\\x09dia paused 0 0 0 1 0 0',
    '',
    '2 workers: 1 live, 1 dead',
  ])
  const one = await runCli(db, ['stats', 'emails', '--json'])
  expect(JSON.parse(one.stdout).queues).toMatchObject([{ queue: 'emails' }])
})

test('bugle stats --watch: a line of JSON each time, until it is interrupted, which is its end', async ({ db }) => {
  const { child, lines, ended } = start(db, ['stats', '--watch', '1'])
  expect(JSON.parse((await lines.next()).value)).toMatchObject({ queues: [], workers: [] })
  await fill(db)
  // The look after next is certain to see it.
  await lines.next()
  expect(JSON.parse((await lines.next()).value)).toMatchObject({ queues: [{ queue: 'emails' }, {}] })
  child.kill('SIGINT')
  expect(await ended).toEqual({ code: 0, stderr: '' })
})

test('bugle stats --watch: a look that fails is told, and the next one made', async ({ db }) => {
  const { child, lines, ended } = start(db, ['stats', '--watch', '1', '--json'])
  expect(JSON.parse((await lines.next()).value)).toMatchObject({ queues: [] })
  await db.sql.unsafe(`alter table ${db.s}.job rename to away`)
  let failed: { at: string; error?: { code: string; message: string } }
  do failed = JSON.parse((await lines.next()).value)
  while (failed.error === undefined)
  expect(failed).toEqual({
    at: expect.any(String),
    error: { code: 'NOT_MIGRATED', message: expect.stringContaining('job') },
  })
  await db.sql.unsafe(`alter table ${db.s}.away rename to job`)
  do failed = JSON.parse((await lines.next()).value)
  while (failed.error !== undefined)
  // A reader that leaves is the end as well.
  child.stdout.destroy()
  expect(await ended).toEqual({ code: 0, stderr: '' })
})

test('bugle stats --watch: a database that is not there at its first look is told in one line', async ({ db }) => {
  const { code, stderr } = await runCli({ ...db, connectionString: 'postgres://localhost:1/x' }, ['stats', '--watch'])
  expect(code).toBe(1)
  expect(stderr).toMatch(/^bugle: cannot reach .*\n$/)
})

test('bugle workers: a line of JSON each, and a table for people', async ({ db }) => {
  expect((await runCli(db, ['workers'])).stdout).toBe('no workers\n')
  await fill(db)
  const { code, stdout } = await runCli(db, ['workers', '--json'])
  expect(code).toBe(0)
  const at = expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/)
  const rest = { version: '0.1.0', startedAt: at, seenMsAgo: expect.any(Number), running: { count: 0, isExact: true } }
  const emails = { queue: 'emails', concurrency: 10, kinds: null, isPaused: false }
  expect(
    stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line)),
  ).toEqual([
    {
      id: '1',
      name: 'mail\u001ber',
      host: 'o\u001bne',
      pid: 11,
      state: 'live',
      ...rest,
      version: '0.1.0\u001b',
      consumers: [{ ...emails, kinds: ['letter', 'bi\u001bll'] }],
    },
    {
      id: '2',
      name: 'gone',
      host: 'two',
      pid: 12,
      state: 'dead',
      ...rest,
      consumers: [{ ...emails, queue: 'me\tdia', isPaused: true }],
    },
  ])

  const people = await runCli(db, ['workers'])
  expect(people.stdout.replaceAll(/ +/g, ' ').trimEnd().split('\n')).toEqual([
    ' id name host pid version state seen up running consumes',
    ' 1 mail\\x1ber o\\x1bne 11 0.1.0\\x1b live 0s ago 3h 0 emails ×10 (letter, bi\\x1bll)',
    ' 2 gone two 12 0.1.0 dead 1h ago 2h 0 me\\x09dia ×10 paused',
  ])
})
