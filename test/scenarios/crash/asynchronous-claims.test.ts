import type postgres from 'postgres'
import { expect, onTestFinished } from 'vitest'
import { lowestId } from '../../../src/consume/statements.js'
import { loadStatements } from '../../../src/database/statements.js'
import type { Bugle } from '../../../src/index.js'
import { type TestDatabase, test } from '../../support/database.js'
import { trustingModule } from '../../support/trusting.js'
import { until } from '../../support/until.js'

const claims = {
  claim: [],
  claim_kinds: ['{a}'],
  claim_some: [null, 'false', '{}'],
  claim_listed: ['{1,2}'],
} as const

test('a claim commits asynchronously where it is told to, and nothing after it does', async ({ db }) => {
  const session = db.connect()
  const statements = loadStatements(db.schema)
  await session.unsafe(statements.worker_insert, ['7', 'w', 'h', 1, '0', 5_000, 300_000])
  const commits = async () => (await session`select current_setting('synchronous_commit') as commits`)[0]?.commits
  for (const [name, more] of Object.entries(claims)) {
    for (const jobs of [0, 1, 2]) {
      for (const may of ['true', 'false']) {
        await db.sql.unsafe(`delete from ${db.s}.job`)
        await db.sql.unsafe(`
          insert into ${db.s}.job (id, queue, kind, payload) overriding system value
          select n, 'emails', 'a', '1' from generate_series(1, ${jobs}) as n`)
        const text = statements[name as keyof typeof claims]
        const values = ['emails', 2, '7', null, null, null, lowestId, 'true', may, ...more]
        const which = `${name} of ${jobs} jobs, ${may}`
        await session`begin`
        const rows = await session.unsafe(text, values)
        expect(await commits(), which).toBe(may === 'true' ? 'off' : 'on')
        await session`rollback`
        // The last row is about the queue, and has no column beside its signs.
        expect(rows.length, which).toBe(jobs + 1)
        const { signs, ...rest } = rows.at(-1) as postgres.Row
        expect(signs, which).toBeTruthy()
        expect(new Set(Object.values(rest)), which).toEqual(new Set([null]))

        await session.unsafe(text, values)
        expect(await commits(), which).toBe('on')
        const running = await db.sql.unsafe(`select from ${db.s}.job where state = 'running'`)
        expect(running.length, which).toBe(jobs)
      }
    }
  }
})

/** A consumer that trusts its server, and how the last claim of a job has committed. */
async function watchedConsumer(db: TestDatabase) {
  // When these triggers run, the statement is at its end.
  await db.sql.unsafe(`
    create table ${db.s}.claimed (id bigint, commits text);
    create function ${db.s}.write_claimed() returns trigger language plpgsql as $$
    begin
      insert into ${db.s}.claimed values (new.id, current_setting('synchronous_commit'));
      return null;
    end $$;
    create trigger write_claimed after update of state on ${db.s}.job
    for each row when (new.state = 'running') execute function ${db.s}.write_claimed()`)
  const { connectionString, schema } = db
  const name = `trusting ${schema}`
  const { createBugle } = await trustingModule()
  const bugle = createBugle({ connectionString, schema, name, sweepMs: 0, logger: false }) as unknown as Bugle
  onTestFinished(() => bugle.close({ graceMs: 0 }))
  const ran: string[] = []
  const consumer = await bugle.consume('emails', ({ id }) => void ran.push(id), { concurrency: 1, prefetch: 0 })
  const commits = async (id: string | undefined) =>
    (await db.sql.unsafe(`select commits from ${db.s}.claimed where id = ${id}`))[0]?.commits
  return {
    name,
    bugle,
    consumer,
    ran,
    commits,
    async commitsOfNext() {
      const id = await bugle.put('emails', null)
      await consumer.idle()
      return commits(id)
    },
  }
}

test('claims commit asynchronously, but for those that carry acks, and those of suspects', async ({ db }) => {
  const { bugle, consumer, ran, commits, commitsOfNext } = await watchedConsumer(db)
  // The second is claimed with the ack of the first.
  const ids = await bugle.putMany('emails', [1, 2])
  await consumer.idle()
  expect(ran).toEqual(ids)
  expect(await commits(ids[0])).toBe('off')
  expect(await commits(ids[1])).toBe('on')
  const [suspect] = await db.sql.unsafe<{ id: string }[]>(`
    insert into ${db.s}.job (queue, payload, crashes, attempt) values ('emails', '1', 1, 1) returning id::text`)
  await until(() => ran.length === 3)
  expect(await commits(suspect?.id)).toBe('on')
  // Its ack would travel with the next claim.
  await consumer.idle()
  expect(await commitsOfNext()).toBe('off')
})

test('after the loss of its control session a consumer claims durably', async ({ db }) => {
  const { name, commitsOfNext } = await watchedConsumer(db)
  expect(await commitsOfNext()).toBe('off')
  const present = async () => {
    const rows = await db.sql<{ pid: number }[]>`
      select pid from pg_stat_activity
      where application_name = ${`${name} control`}
        and exists (select from pg_locks where pg_locks.pid = pg_stat_activity.pid and locktype = 'advisory')`
    return rows[0]?.pid
  }
  const former = await present()
  await db.kill([former ?? 0])
  await until(async () => ![undefined, former].includes(await present()))
  expect(await commitsOfNext()).toBe('on')
})

test('after the loss of a statement a consumer claims durably', async ({ db }) => {
  const { name, bugle, commitsOfNext } = await watchedConsumer(db)
  expect(await commitsOfNext()).toBe('off')
  const locker = db.connect()
  await locker.unsafe(`begin; lock table ${db.s}.job in share row exclusive mode`).simple()
  const refused = expect(bugle.put('others', 1)).rejects.toMatchObject({ code: 'RESULT_UNKNOWN' })
  await until(async () => {
    const killed = await db.sql`
      select pg_terminate_backend(pid) from pg_stat_activity
      where application_name = ${name} and wait_event = 'relation'`
    return killed.length > 0
  })
  await refused
  await locker`rollback`
  expect(await commitsOfNext()).toBe('on')
})
