import { expect, onTestFinished } from 'vitest'
import type { BugleOptions } from '../../../src/index.js'
import { signal, type TestDatabase, test } from '../../support/database.js'
import { type Disguise, startDisguise } from '../../support/disguise.js'
import { startProxy } from '../../support/proxy.js'
import { refusal } from '../../support/refusal.js'
import { until } from '../../support/until.js'

// Every way leads to the same server and the same tables; who it says it is depends on the way.

/** A way by which the test's server seems to be on that timeline. */
async function disguised(db: TestDatabase, timeline: number): Promise<Disguise> {
  const way = await startDisguise(db.sql, new URL(db.connectionString), { timeline })
  onTestFinished(() => way.close())
  return way
}

/** One address, which leads to one way after the other. */
async function movingAddress(first: { port: number }) {
  const address = await startProxy({ host: '127.0.0.1', port: first.port })
  onTestFinished(() => address.close())
  return address
}

/** By that port, or by the ports of several hosts. TLS would hide from the disguise what it exchanges. */
function through(db: TestDatabase, ...ways: readonly { port: number }[]): BugleOptions {
  const { username, pathname } = new URL(db.connectionString)
  const hosts = ways.map(({ port }) => `127.0.0.1:${port}`).join(',')
  return { connectionString: `postgres://${username}@${hosts}${pathname}?sslmode=disable` }
}

/** A consumer whose jobs can be waited for. With sweeps off, only what is notified on its own server can run. */
async function consumerOf(db: TestDatabase, options: BugleOptions) {
  const bugle = db.bugle(options)
  const runs: unknown[] = []
  await bugle.consume('q', (job) => void runs.push(job.payload))
  return {
    bugle,
    moved: db.collect(bugle, 'database:moved'),
    outdated: db.collect(bugle, 'database:outdated'),
    down: db.collect(bugle, 'database:down'),
    /** Put by the same instance; once the listener is live a notification alone must bring it. */
    async runsOne(payload: string) {
      await until(async () => (await bugle.health()).listener === 'live')
      await bugle.put('q', payload)
      await until(() => runs.includes(payload))
    },
  }
}

test('a session that finds the server promoted takes all others of its instance along, at once', async ({ db }) => {
  const [former, promoted] = [await disguised(db, 1), await disguised(db, 2)]
  const address = await movingAddress(former)
  const { bugle, moved, outdated, runsOne } = await consumerOf(db, through(db, address))
  await runsOne('before')
  await bugle.stats()
  address.moveTo({ host: '127.0.0.1', port: promoted.port })
  // Only this session is lost; the others would go on where they are.
  await db.kill(await db.backends('control'))
  expect(await moved.next()).toEqual({
    queue: null,
    from: expect.stringMatching(/^127\.0\.0\.1:\d+ \(timeline 1 of system \d+\)$/),
    to: expect.stringMatching(/ \(timeline 2 of system \d+\)$/),
  })
  await until(() => former.open === 0)
  await runsOne('after')
  expect((await bugle.health()).database.server).toMatchObject({ port: address.port, timeline: 2 })
  // Back to the former primary, which takes writes: nobody goes there.
  address.moveTo({ host: '127.0.0.1', port: former.port })
  await db.kill(await db.backends('control'))
  expect((await outdated.next()).error.message).toMatch(/\(timeline 1 of .*\) is a former primary: timeline 2 .* seen/)
  await until(() => former.open === 0)
  address.moveTo({ host: '127.0.0.1', port: promoted.port })
  await runsOne('again')
  expect([former.open, moved.all.length, outdated.all.length]).toEqual([0, 1, 1])
})

test('of several hosts the former primary is passed over by every session after a blip', async ({ db }) => {
  const [former, promoted] = [await disguised(db, 1), await disguised(db, 2)]
  const first = await movingAddress(former)
  const second = await movingAddress(promoted)
  const { bugle, moved, outdated, runsOne } = await consumerOf(db, through(db, first, second))
  await runsOne('before')
  await first.refuse()
  await moved.next()
  await runsOne('on the second')
  await first.heal()
  for (let blip = 1; blip <= 3; blip += 1) {
    await second.refuse()
    // Nobody has anywhere to go: the former primary is looked at, and refused.
    await until(() => outdated.all.length > 0)
    await until(async () => (await bugle.health()).listener !== 'live')
    await second.heal()
    await runsOne(`after blip ${blip}`)
    await until(() => former.open === 0)
  }
  expect([moved.all.length, outdated.all.length]).toEqual([1, 1])
})

test('an address whose server has become a standby: puts are refused, and all go on when it has moved', async ({
  db,
}) => {
  const former = await disguised(db, 1)
  const address = await movingAddress(former)
  const { bugle, moved, down, runsOne } = await consumerOf(db, through(db, address))
  await runsOne('before')
  former.seem({ standby: true })
  former.cut()
  await down.next()
  const isStandby = ({ message }: Error): boolean => message.includes('is a standby')
  const refused = await until(async () => [await refusal(() => bugle.put('q', 'refused'))].find(isStandby))
  expect(refused.code).toBe('DATABASE_DOWN')
  const why = /is a standby, and cannot be written to/
  // It may have no answer within its two seconds, between two tries.
  await until(async () => (await bugle.health()).problems.some((problem) => why.test(problem)))
  const promoted = await disguised(db, 2)
  address.moveTo({ host: '127.0.0.1', port: promoted.port })
  await moved.next()
  await runsOne('after')
  await until(() => former.open === 0)
  await until(async () => (await db.jobs()).length === 0)
})

test('a name that leads to two systems in turns is told, and everything is on one of them for a while', async ({
  db,
}) => {
  const both = await disguised(db, 1)
  both.seem({ system: '8' }, { system: '9' })
  const bugle = db.bugle(through(db, both))
  const split = db.collect(bugle, 'database:split')
  const movedAt: number[] = []
  bugle.on('database:moved', () => movedAt.push(performance.now()))
  const runs: unknown[] = []
  await bugle.consume('q', (job) => void runs.push(job.payload))
  for (let blip = 1; blip <= 3; blip += 1) {
    both.cut()
    await until(() => bugle.put('q', blip).catch(() => null))
    await until(() => runs.includes(blip))
  }
  expect((await split.next()).error.message).toMatch(/system [89]\d+\) takes writes, and so does another system/)
  const stays = movedAt.slice(1).map((at, index) => at - (movedAt[index] ?? 0))
  // A move is told after it was decided, later on a busy machine; one that nothing held back would follow at once.
  expect(stays.filter((ms, index) => ms < 500 * 2 ** index)).toEqual([])
  expect(movedAt.length).toBeGreaterThan(0)
})

test('a lone standby is DATABASE_DOWN for a new instance', async ({ db }) => {
  const standby = await startDisguise(db.sql, new URL(db.connectionString), { standby: true })
  onTestFinished(() => standby.close())
  const bugle = db.bugle(through(db, standby))
  const started = signal()
  bugle.on('database:down', () => started.resolve())
  expect(await refusal(() => bugle.put('q', null))).toMatchObject({
    code: 'DATABASE_DOWN',
    message: expect.stringMatching(/cannot reach .*: 127\.0\.0\.1:\d+ is a standby, and cannot be written to$/),
  })
  await started.promise
})

test('a listenConnectionString to another system is refused, and sweeps go on', async ({ db }) => {
  const own = await disguised(db, 1)
  const other = await startDisguise(db.sql, new URL(db.connectionString), { timeline: 1, system: '9' })
  onTestFinished(() => other.close())
  const bugle = db.bugle({
    ...through(db, own),
    listenConnectionString: through(db, other).connectionString ?? '',
  })
  const ran = signal()
  await bugle.consume('q', () => ran.resolve())
  expect((await bugle.health()).listener).toBe('polling')
  await bugle.put('q', null)
  await ran.promise
  expect((await bugle.health()).database.server).toMatchObject({ port: own.port })
  await until(() => other.open === 0)
})

test('a server that does not tell who it is serves all the same', async ({ db }) => {
  const role = db.schema
  await db.sql.unsafe(`create role ${db.s} login`)
  await db.sql.unsafe(`grant all on schema ${db.s} to ${db.s}`)
  await db.sql.unsafe(`grant all on all tables in schema ${db.s} to ${db.s}`)
  const forEverybody = (how: string) => db.sql.unsafe(`${how} public`)
  await forEverybody('revoke execute on function pg_control_system() from')
  try {
    const url = new URL(db.connectionString)
    url.username = role
    const { bugle, moved, runsOne } = await consumerOf(db, { connectionString: url.href })
    await runsOne('one')
    const { hostname: host, port } = url
    expect((await bugle.health()).database.server).toEqual({ host, port: Number(port), system: null, timeline: null })
    expect(moved.all).toEqual([])
    await bugle.close()
  } finally {
    await forEverybody('grant execute on function pg_control_system() to')
    await db.sql.unsafe(`drop owned by ${db.s}; drop role ${db.s}`)
  }
})
