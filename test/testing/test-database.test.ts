import postgres from 'postgres'
import { describe, expect, inject, onTestFinished, test, vi } from 'vitest'
import { ack, reject } from '../../src/index.js'
import { runOne, startTestDatabase } from '../../src/testing/index.js'
import { signal } from '../support/signal.js'
import { db, open, refused, withDatabase } from '../support/testing-database.js'

withDatabase()

async function schemas(connectionString: string): Promise<string[]> {
  const sql = postgres(connectionString, { max: 1 })
  const rows = await sql<{ nspname: string }[]>`select nspname from pg_namespace where nspname like 'bugle%'`
  await sql.end()
  return rows.map((row) => row.nspname)
}

describe('startTestDatabase', () => {
  test('each call has a migrated schema of its own, which its stop drops', async () => {
    const connectionString = inject('connectionString')
    const one = await startTestDatabase({ connectionString })
    const other = await startTestDatabase({ connectionString })
    expect(one.schema).not.toBe(other.schema)
    await one.bugle().put('emails', {})
    expect((await other.bugle().jobs()).jobs).toEqual([])
    expect(await schemas(connectionString)).toEqual(expect.arrayContaining([one.schema, other.schema]))
    await Promise.all([one.stop(), one.stop(), other[Symbol.asyncDispose]()])
    const left = await schemas(connectionString)
    expect(left).not.toContain(one.schema)
    expect(left).not.toContain(other.schema)
    expect(await refused(one.reset())).toMatchObject({ code: 'CLOSED' })
  })

  test('its stop closes the instances and aborts what runs', async () => {
    const own = await startTestDatabase({ connectionString: inject('connectionString') })
    const bugle = own.bugle()
    const began = signal()
    const aborted = signal<unknown>()
    await bugle.consume('emails', async (_job, ctx) => {
      began.resolve()
      await new Promise((resolve) => ctx.signal.addEventListener('abort', resolve))
      aborted.resolve(ctx.signal.reason.code)
      ctx.signal.throwIfAborted()
    })
    await bugle.put('emails', {})
    await began.promise
    await own.stop()
    expect(await aborted.promise).toBe('SHUTDOWN')
    expect(await refused(bugle.put('emails', {}))).toMatchObject({ code: 'CLOSED' })
  })

  test('without a connection string all calls share one embedded server', async () => {
    expect(process.env.BUGLE_TEST_DATABASE_URL).toBeUndefined()
    const [one, other] = await Promise.all([startTestDatabase(), startTestDatabase()])
    expect(one.connectionString).toBe(other.connectionString)
    expect(one.connectionString).not.toContain(new URL(inject('connectionString')).host)
    await Promise.all([one.stop(), other.stop()])
    const later = await startTestDatabase()
    expect(later.connectionString).toBe(one.connectionString)
    await later.stop()
  })

  test('BUGLE_TEST_DATABASE_URL names the server, DATABASE_URL does not', async () => {
    vi.stubEnv('BUGLE_TEST_DATABASE_URL', inject('connectionString'))
    vi.stubEnv('DATABASE_URL', 'postgres://nobody@127.0.0.1:1/nothing')
    onTestFinished(() => void vi.unstubAllEnvs())
    const own = await startTestDatabase()
    expect(own.connectionString).toBe(inject('connectionString'))
    await own.stop()
  })

  test('an option of an instance that is undefined leads to no other database', async () => {
    vi.stubEnv('DATABASE_URL', 'postgres://nobody@127.0.0.1:1/nothing')
    onTestFinished(() => void vi.unstubAllEnvs())
    const bugle = db.bugle({ connectionString: undefined, schema: undefined })
    const id = await bugle.put('emails', {})
    expect((await open().jobs()).jobs.map((job) => job.id)).toEqual([id])
  })

  test('wrong options are refused, and a server that is not there is told', async () => {
    expect(await refused(startTestDatabase({ schema: 'bugle' } as object))).toMatchObject({ code: 'INVALID_OPTION' })
    expect(await refused(startTestDatabase({ connectionString: '' }))).toMatchObject({ code: 'INVALID_OPTION' })
    expect(
      await refused(startTestDatabase({ connectionString: inject('connectionString'), embedded: {} })),
    ).toMatchObject({ code: 'INVALID_OPTION' })
    const nowhere = 'postgres://nobody@127.0.0.1:1/nothing'
    expect(await refused(startTestDatabase({ connectionString: nowhere }))).toMatchObject({ code: 'DATABASE_DOWN' })
  })

  test('reset deletes jobs of every state, and resumes queues', async () => {
    const bugle = open()
    await bugle.pause('others')
    await bugle.put('others', { n: 1 })
    await bugle.put('others', { n: 1 }, { delayMs: 60_000 })
    await bugle.putMany('emails', [{ to: 'a' }, { to: 'b' }])
    await runOne(bugle, 'emails', () => reject('no'))
    await runOne(bugle, 'emails', () => ack(), { keep: 'all' })
    expect((await bugle.jobs()).jobs.map(({ state }) => state).sort()).toEqual([
      'archived',
      'failed',
      'ready',
      'scheduled',
    ])
    await db.reset()
    expect((await bugle.jobs()).jobs).toEqual([])
    expect(await bugle.resume('others')).toBe(false)
  })
})
