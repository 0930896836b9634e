import { describe, expect } from 'vitest'
import { reject } from '../../src/index.js'
import { jsonLines, runCli, startCli } from '../support/cli.js'
import { type TestDatabase, test } from '../support/database.js'
import { gate } from '../support/held-rows.js'

const hostile = 'bad\u001b[2J\u202e\u0007name'

/** Whether a terminal would be told more than text and line ends. */
function unsafe(text: string): boolean {
  return /[\p{Cc}\p{Cf}]/u.test(text.replaceAll('\n', ''))
}

/** Jobs that have failed, for `requeue` and `collect`. */
async function failedJobs(db: TestDatabase, count: number, queue = 'q'): Promise<string[]> {
  const ids = await db.bugle().putMany(
    queue,
    Array.from({ length: count }, (_, index) => ({ n: index + 1 })),
  )
  await db.sql.unsafe(
    `update ${db.s}.job set state = 'failed', finished_at = now() - interval '2 days',
       last_error = jsonb_build_object('message', 'boom', 'failedBy', 'rejected', 'at', 0)
     where queue = $1`,
    [queue],
  )
  return ids
}

describe('bugle jobs and show', () => {
  test('jobs lists by state, queue, kind and age; as JSON without payloads, page by page', async ({ db }) => {
    const bugle = db.bugle()
    const ids = await bugle.putMany('emails', [1, 2, 3], { kind: 'k' })
    await bugle.put('others', 'secret')
    const filter = ['--queue', 'emails', '--state', 'ready', '--kind', 'k', '--since', '1h', '--limit', '2']
    const first = await runCli(db, ['jobs', '--json', ...filter])
    expect(first).toMatchObject({ code: 0, stderr: '' })
    const [one, two, last, ...further] = jsonLines(first.stdout) as Record<string, unknown>[]
    expect(further).toEqual([])
    expect(one).toMatchObject({ id: ids[2], queue: 'emails', kind: 'k', state: 'ready', attempt: 0, error: null })
    expect(one?.createdAt).toMatch(/^\d{4}-.*Z$/)
    for (const name of ['payload', 'progress', 'result']) expect(one).not.toHaveProperty(name)
    expect(two).toMatchObject({ id: ids[1] })
    expect(Object.keys(last ?? {})).toEqual(['cursor'])
    const next = await runCli(db, ['jobs', '--json', '--payload', ...filter, '--cursor', String(last?.cursor)])
    expect(jsonLines(next.stdout)).toMatchObject([
      { id: ids[0], payload: 1, progress: null, result: null },
      { cursor: null },
    ])
    const none = await runCli(db, ['jobs', '--state', 'archived'])
    expect(none).toEqual({ code: 0, stdout: '', stderr: 'no such jobs\n' })
  })

  test('jobs is a table for people, in which nothing foreign can act', async ({ db }) => {
    const bugle = db.bugle()
    const id = await bugle.put(hostile, 'secret\u202e\u009b2J', { kind: hostile })
    await bugle.drain(hostile, () => reject(`first ${hostile} ${'and so on '.repeat(5)}\nsecond line`))
    await bugle.put('q', 1)
    const { stdout, stderr } = await runCli(db, ['jobs', '--limit', '1'])
    expect(stdout).toMatch(/^ *id +queue +kind +state +attempt +age +error\n *\d+ +q +ready +0 +\d+m?s\n$/)
    const [, cursor = ''] = /--cursor (\S+)/.exec(stderr) ?? []
    const failed = await runCli(db, ['jobs', '--cursor', cursor])
    const shown = 'bad\\x1b[2J\\u{202e}\\x07name'
    expect(failed.stdout.split(/ {2,}/).map((cell) => cell.trim())).toEqual(
      expect.arrayContaining([id, shown, shown, 'failed', '1', `first ${shown} and so on and so on and so…`]),
    )
    expect(failed.stdout).not.toMatch(/second line|secret/)
    expect(unsafe(failed.stdout)).toBe(false)
    const wide = await runCli(db, ['jobs', '--payload', '--state', 'failed'])
    expect(wide.stdout).toContain('"secret\\u{202e}\\x9b2J"')
    expect(unsafe(wide.stdout)).toBe(false)
  })

  test('show tells all of a job, its contents only with --payload', async ({ db }) => {
    const bugle = db.bugle()
    const queue = `q${hostile}`
    const options = { kind: hostile, key: `k1${hostile}`, flags: ['a', hostile], priority: 3 }
    const id = await bugle.put(queue, { pass: `word ${hostile}` }, options)
    await bugle.drain(
      queue,
      () => {
        throw Object.assign(new Error(`boom ${hostile}`), { code: `E_BOOM${hostile}` })
      },
      { retryStrategy: false },
    )
    const told = await runCli(db, ['show', id])
    expect(told).toMatchObject({ code: 0, stderr: '' })
    expect(told.stdout).toMatch(/^id +\d+\nqueue +qbad\\x1b.*\nkind +bad.*\nstate +failed\n/)
    expect(told.stdout).toMatch(/flags +a, bad\\x1b/)
    expect(told.stdout).toMatch(/error +exhausted, E_BOOMbad.*, attempt 1\n {2}Error: boom bad\\x1b\[2J.*\n {6}at /)
    expect(told.stdout).not.toContain('word')
    expect(unsafe(told.stdout)).toBe(false)
    expect((await runCli(db, ['show', id, '--payload'])).stdout).toContain('payload           {"pass":"word bad')
    const [json] = jsonLines((await runCli(db, ['show', id, '--json'])).stdout) as Record<string, unknown>[]
    expect(json).toMatchObject({ id, key: `k1${hostile}`, error: { failedBy: 'exhausted', attempt: 1 } })
    expect(json).not.toHaveProperty('payload')
    const [whole] = jsonLines((await runCli(db, ['show', id, '--json', '--payload'])).stdout)
    expect(whole).toMatchObject({ payload: { pass: `word ${hostile}` } })
  })

  test('show of no job is trouble, told in a line', async ({ db }) => {
    expect(await runCli(db, ['show', '12345'])).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringMatching(/^bugle: there is no job 12345.*\n$/),
    })
  })
})

describe('bugle cancel', () => {
  test('answers for each, and finds trouble where one is not there', async ({ db }) => {
    const bugle = db.bugle()
    const id = await bugle.put('q', 1)
    const { code, stdout } = await runCli(db, ['cancel', id, '999', '--json'])
    expect(code).toBe(1)
    expect(jsonLines(stdout)).toEqual([
      { id, answer: 'cancelled' },
      { id: '999', answer: 'not-found' },
    ])
    const second = await bugle.put('q', 1)
    expect(await runCli(db, ['cancel', second])).toEqual({ code: 0, stdout: `${second}: cancelled\n`, stderr: '' })
    const third = await bugle.put('q', 1)
    expect(await runCli(db, ['cancel', third, 'x'])).toMatchObject({ code: 2, stdout: '' })
    expect(await bugle.job(third)).toMatchObject({ state: 'ready' })
  })
})

describe('bugle edit', () => {
  test('changes a job that waits; one that does not is trouble', async ({ db }) => {
    const bugle = db.bugle()
    const id = await bugle.put('q', 1, { delayMs: 3_600_000 })
    expect(await runCli(db, ['edit', id, '--delay', '0', '--priority', '-3'])).toEqual({
      code: 0,
      stdout: `${id}: changed\n`,
      stderr: '',
    })
    const { stdout } = await runCli(db, ['edit', id, '--payload', '{"a":1}', '--run-at', '2040-01-31', '--json'])
    expect(jsonLines(stdout)).toEqual([{ id, edited: true }])
    expect(await bugle.job(id)).toMatchObject({ payload: { a: 1 }, priority: -3, state: 'scheduled' })
    expect(await runCli(db, ['edit', '999', '--delay', '0'])).toMatchObject({
      code: 1,
      stdout: '999: runs, is over, or never was\n',
    })
    expect(await runCli(db, ['edit', id])).toMatchObject({ code: 2 })
    expect(await runCli(db, ['edit', id, '--payload', '{'])).toMatchObject({ code: 2 })
  })
})

describe('bugle discard', () => {
  test('by ids, and by a filter with --state', async ({ db }) => {
    const [first = '', second = ''] = await failedJobs(db, 3)
    const bugle = db.bugle()
    const waiting = await bugle.put('q', { n: 1 })
    expect(await runCli(db, ['discard', first, first])).toEqual({ code: 0, stdout: '1 job discarded\n', stderr: '' })
    const again = await runCli(db, ['discard', first, second, '--json'])
    expect(again.code).toBe(1)
    expect(jsonLines(again.stdout)).toEqual([{ discarded: 1, isComplete: false }])
    for (const args of [['--queue', 'q'], ['--limit', '1'], [], [second, '--state', 'failed']]) {
      expect(await runCli(db, ['discard', ...args]), args.join(' ')).toMatchObject({ code: 2, stdout: '' })
    }
    const none = await runCli(db, ['discard', '--state', 'failed', '--containing', '{"n":4}', '--json'])
    expect(jsonLines(none.stdout)).toEqual([{ discarded: 0, isComplete: true }])
    const filtered = await runCli(db, ['discard', '--state', 'failed', '--containing', '{"n":3}'])
    expect(filtered.stdout).toBe('1 job discarded\n')
    expect((await db.jobs()).map(({ id }) => id)).toEqual([waiting])
  })
})

describe('by payload', () => {
  test('jobs, cancel and requeue take --containing', async ({ db }) => {
    const [id = '', other = ''] = await db.bugle().putMany('q', [{ to: 'ada', n: 1 }, { to: 'bob' }])
    const which = ['--containing', '{"to":"ada"}']
    const { stdout } = await runCli(db, ['jobs', ...which, '--json'])
    expect(jsonLines(stdout)).toMatchObject([{ id }, { cursor: null, isCut: false }])
    const cancelled = await runCli(db, ['cancel', ...which, '--json'])
    expect(jsonLines(cancelled.stdout)).toEqual([{ cancelled: 1, isComplete: true }])
    expect((await runCli(db, ['cancel', '--all'])).stdout).toBe('1 job cancelled, or to end\n')
    expect(await runCli(db, ['cancel'])).toMatchObject({ code: 2 })
    expect((await runCli(db, ['requeue', ...which])).stdout).toBe('1 job requeued\n')
    expect((await db.jobs()).map((job) => [job.id, job.state])).toEqual([
      [id, 'ready'],
      [other, 'failed'],
    ])
  })
})

describe('bugle requeue', () => {
  test('by ids: those that were not failed are trouble', async ({ db }) => {
    const [first = '', second = ''] = await failedJobs(db, 2)
    expect(await runCli(db, ['requeue', first, first])).toEqual({ code: 0, stdout: '1 job requeued\n', stderr: '' })
    const { code, stdout } = await runCli(db, ['requeue', first, second, '--json'])
    expect(code).toBe(1)
    expect(jsonLines(stdout)).toEqual([{ requeued: 1, isComplete: false }])
  })

  test('by a filter, and all', async ({ db }) => {
    await failedJobs(db, 3, 'a')
    await failedJobs(db, 2, 'b')
    const limited = await runCli(db, ['requeue', '--queue', 'a', '--limit', '2', '--json'])
    expect(jsonLines(limited.stdout)).toEqual([{ requeued: 2, isComplete: true }])
    expect((await runCli(db, ['requeue', '--all', '--limit', '2'])).stdout).toBe('2 jobs requeued\n')
    expect((await db.jobs()).map(({ queue, state }) => `${queue} ${state}`)).toEqual([
      ...['a ready', 'a ready', 'a ready', 'b ready', 'b failed'],
    ])
  })

  test('Ctrl-C ends it after the batch in flight', async ({ db }) => {
    await failedJobs(db, 3_500)
    const held = await gate(db, 'update', 'new.payload = \'{"n":1500}\'')
    const requeue = startCli(db, ['requeue', '--queue', 'q'])
    await held.isWaitedFor()
    requeue.child.kill('SIGINT')
    await requeue.printed(/stopping after the batch in flight/)
    // A second one changes nothing.
    requeue.child.kill('SIGINT')
    await held.open()
    expect(await requeue.ended).toMatchObject({ code: 130, stdout: '2,000 jobs requeued; then it was stopped\n' })
    expect((await db.jobs()).filter(({ state }) => state === 'ready')).toHaveLength(2_000)
  })
})

describe('bugle pause and resume', () => {
  test('for all processes; what was so already is told', async ({ db }) => {
    const paused = async () => (await db.bugle().stats()).queues.map(({ queue, isPaused }) => [queue, isPaused])
    expect(await runCli(db, ['pause', hostile, 'q', 'q'])).toEqual({
      code: 0,
      stdout: 'bad\\x1b[2J\\u{202e}\\x07name: paused\nq: paused\nq: already paused\n',
      stderr: '',
    })
    expect(await paused()).toEqual([
      [hostile, true],
      ['q', true],
    ])
    const { stdout } = await runCli(db, ['resume', 'q', 'q', '--json'])
    expect(jsonLines(stdout)).toEqual([
      { queue: 'q', changed: true },
      { queue: 'q', changed: false },
    ])
    expect(await paused()).toEqual([
      [hostile, true],
      ['q', false],
    ])
  })
})

describe('bugle collect', () => {
  test('deletes what is old enough', async ({ db }) => {
    await failedJobs(db, 3)
    const young = await runCli(db, ['collect', '--failed-older-than', '7d', '--archived-older-than', '7d', '--json'])
    expect(jsonLines(young.stdout)).toEqual([{ failed: 0, archived: 0, isComplete: true }])
    const limited = await runCli(db, ['collect', '--failed-older-than', '0', '--limit', '2'])
    expect(limited).toMatchObject({ code: 0, stdout: 'deleted: 2 failed jobs, 0 archived jobs\n' })
    expect(await db.jobs()).toHaveLength(1)
  })

  test('Ctrl-C ends it after the batch in flight', async ({ db }) => {
    // Nothing says with --json that the signal was heard: it has eight batches to come in.
    await failedJobs(db, 9_500)
    const held = await gate(db, 'delete', 'old.payload = \'{"n":1500}\'')
    const collect = startCli(db, ['collect', '--failed-older-than', '0', '--json'])
    await held.isWaitedFor()
    // The end of a terminal, as Ctrl-C.
    collect.child.kill('SIGHUP')
    await held.open()
    const { code, stdout } = await collect.ended
    expect(code).toBe(129)
    const [report] = jsonLines(stdout) as { failed: number }[]
    expect(report).toEqual({ failed: expect.any(Number), archived: 0, isComplete: false })
    const left = (await db.jobs()).length
    expect(left + (report?.failed ?? 0)).toBe(9_500)
    expect(left).toBeGreaterThan(0)
  })
})
