import { expect } from 'vitest'
import { loadStatements } from '../../../src/database/statements.js'
import { reject, release, retry } from '../../../src/index.js'
import { attacks, expectRefusals, rows } from '../../support/attacks.js'
import { signal } from '../../support/database.js'
import { test } from '../../support/roles.js'

test('K grants: a consumer does all that an instance does', async ({ db, roles }) => {
  const rescueAfterMs = 300
  const bugle = roles.bugle('consumer', { rescueAfterMs })
  const rescued = signal<unknown>()
  bugle.on('worker:rescued', (event) => rescued.resolve(event))
  // A running job whose worker has no row: a process that died leaves such jobs behind.
  await db.sql.unsafe(
    `insert into ${roles.s}.job (queue, payload, state, worker_id, claimed_at)
     values ('q', '"orphan"', 'running', 7, now())`,
  )
  const seen: unknown[] = []
  const stuck = signal()
  const consumer = await bugle.consume(
    'q',
    async ({ payload, attempt }, context) => {
      seen.push(payload)
      if (payload === 'retried' && attempt === 1) return retry({ delayMs: 0 })
      if (payload === 'released' && seen.filter((one) => one === 'released').length === 1)
        return release({ delayMs: 0 })
      if (payload === 'fails') return reject('it does')
      if (payload === 'cancelled') {
        stuck.resolve()
        await new Promise((resolve) => context.signal.addEventListener('abort', resolve))
      }
      return 'done'
    },
    { keep: 'all' },
  )
  expect(await rescued.promise).toMatchObject({ deadWorkerId: '7', jobs: 1 })
  await bugle.putMany('q', ['retried', 'released', 'fails'])
  await bugle.put('q', 'keyed', { key: 'k' })
  const cancelled = await bugle.put('q', 'cancelled')
  await stuck.promise
  expect(await bugle.cancel(cancelled)).toBe('requested')
  await consumer.idle()
  expect([...new Set(seen)].sort()).toEqual(['cancelled', 'fails', 'keyed', 'orphan', 'released', 'retried'])

  expect(await bugle.pause('q')).toBe(true)
  expect(await bugle.resume('q')).toBe(true)
  expect(await bugle.stats('q')).toMatchObject({
    queues: [{ queue: 'q', failed: { count: 1 }, workers: 1, here: { failed: 1 } }],
    workers: [{ id: bugle.workerId, state: 'live' }],
  })
  expect(await bugle.health()).toMatchObject({ isHealthy: true, problems: [], isPresent: true })
  expect((await bugle.jobs({ state: 'failed' })).jobs).toMatchObject([{ payload: 'fails' }])
  const archive = (await bugle.jobs({ state: 'archived' })).jobs
  expect(archive.map(({ payload }) => payload).sort()).toEqual(['cancelled', 'keyed', 'orphan', 'released', 'retried'])
  await consumer.stop()
  expect(await bugle.job(archive[0]?.id ?? '')).toMatchObject({ state: 'archived', result: 'done' })
  expect(await bugle.requeue({ state: 'failed' })).toBe(1)
  expect(await bugle.requeue(archive[0]?.id ?? '')).toBe(1)
  const later = await bugle.put('q', 'later', { delayMs: 60_000 })
  expect(await bugle.cancel(later)).toBe('cancelled')
  expect(await bugle.collect({ failedOlderThanMs: 0, archivedOlderThanMs: 0 })).toMatchObject({
    failed: 1,
    archived: 4,
  })
  expect((await rows(db, roles)).map(({ state }) => state)).toEqual(['ready', 'ready'])
})

test('K grants: a consumer ends the sessions of a hung worker of its own role, and of no other', async ({ roles }) => {
  const statements = loadStatements(roles.schema)
  const hung = roles.connect('consumer')
  const stranger = roles.connect('producer')
  const consumer = roles.connect('consumer')
  await hung.unsafe(statements.presence_take, ['42'])
  expect(await consumer.unsafe(statements.presence_terminate, ['42'])).toMatchObject([{ terminated: true }])
  await stranger.unsafe(statements.presence_take, ['43'])
  await expect(consumer.unsafe(statements.presence_terminate, ['43'])).rejects.toThrow(
    /permission denied|must be a member/,
  )
})

test('K grants: a consumer that ends the sessions of a hung worker does not end its own', async ({ roles }) => {
  const statements = loadStatements(roles.schema)
  const consumer = roles.connect('consumer')
  // A lock is named by 32 bits of its worker's id: these two have the same name.
  const [id, hung] = ['43', `${2 ** 32 + (43 ^ 1)}`]
  await consumer.unsafe(statements.presence_take, [id])
  expect(await consumer.unsafe(statements.presence_holders, [`{${hung}}`])).toMatchObject([{ id: hung }])
  expect(await consumer.unsafe(statements.presence_terminate, [hung])).toEqual([])
  expect(await consumer.unsafe('select 1 as one')).toEqual([{ one: 1 }])
})

test('K grants: a consumer owns nothing: it neither migrates nor changes what is there', async ({ db, roles }) => {
  await roles.bugle('producer').put('q', 1)
  const sql = roles.connect('consumer')
  const texts = Object.entries({
    truncate: `truncate {s}.job`,
    'turn a trigger off': attacks['turn a trigger off'],
    'add a trigger': attacks['add a trigger'],
    'drop a table': attacks['drop a table'],
    'create a function': attacks['create a function'],
    'own a function': attacks['own a function'],
    'set the sequence': attacks['set the sequence'],
    'remember a migration': attacks['remember a migration'],
    'forget a migration': attacks['forget a migration'],
    'turn triggers off': attacks['turn triggers off'],
    'forget a queue': `delete from {s}.queue`,
  })
  const calls = texts.map(([what, text]) => [what, () => sql.unsafe(text.replaceAll('{s}', () => roles.s)).execute()])
  await expectRefusals(roles, Object.fromEntries(calls))
  await db.sql.unsafe(`delete from ${roles.s}.migration where number = (select max(number) from ${roles.s}.migration)`)
  await expectRefusals(roles, { migrate: () => roles.bugle('consumer').migrate() })
})
