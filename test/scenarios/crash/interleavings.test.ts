import { connect, createServer, type Socket } from 'node:net'
import { expect, onTestFinished } from 'vitest'
import { z } from 'zod'
import { loadStatements } from '../../../src/database/statements.js'
import { signal, type TestDatabase } from '../../support/database.js'
import { test } from '../../support/gates.js'
import { startProxy } from '../../support/proxy.js'
import { archivedRows, fullRows } from '../../support/rows.js'
import { untilAwake, untilSoundAsleep } from '../../support/sleepers.js'
import {
  aborted,
  fence,
  holdClaims,
  isPending,
  timed,
  untilSeenAgain,
  untilState,
  withoutHeartbeat,
  workerRows,
} from '../../support/stopping.js'
import { until } from '../../support/until.js'

/** Each puts two things into the one order that could go wrong: what comes second has begun before the first is over. */

const byForce = { graceMs: 0, abortMs: 0 } as const
/** A first stop would take as long as its statements wait for answers: seconds. */
const byForceMs = 3_000

test('interleaving: a claim that is answered after its worker was given up is given back, and its job runs under the new id only', async ({
  db,
}) => {
  const bugle = db.bugle(withoutHeartbeat)
  const lost = db.collect(bugle, 'worker:lost')
  const started = db.collect(bugle, 'job:started')
  const ran = signal()
  const consumer = await bugle.consume('q', () => ran.resolve(), { keep: 'all' })
  const former = bugle.workerId
  const claims = await holdClaims(db)
  const id = await bugle.put('q', null)
  await claims.untilHeld()
  await giveUp(db, former)
  const { newWorkerId } = await lost.next()
  await claims.open()
  await ran.promise
  expect(await consumer.stop()).toMatchObject({ completed: 1, released: 1, abandoned: [] })
  expect(started.all).toMatchObject([{ id, attempt: 1, workerId: newWorkerId }])
  expect(await archivedRows(db)).toMatchObject([{ id, attempt: 1, crashes: 0, worker_id: newWorkerId }])
})

test('interleaving: a handler that throws because its worker was given up is interrupted, and its last attempt is given back', async ({
  db,
}) => {
  const bugle = db.bugle(withoutHeartbeat)
  const interrupted = db.collect(bugle, 'job:interrupted')
  const failed = db.collect(bugle, 'job:failed')
  const begun = signal()
  const ranAgain = signal()
  const consumer = await bugle.consume('q', async (_job, ctx) => {
    if (ctx.workerId !== former) return ranAgain.resolve()
    begun.resolve()
    throw await aborted(ctx)
  })
  const former = bugle.workerId
  const id = await bugle.put('q', null, { maxAttempts: 1 })
  await begun.promise
  await giveUp(db, former)
  const told = await Promise.race([interrupted.next(), failed.next()])
  expect(told).toMatchObject({ id, attempt: 1, workerId: former, reason: 'LEASE_LOST' })
  await ranAgain.promise
  expect(await consumer.stop()).toMatchObject({ completed: 1, failed: 0, interrupted: 1 })
  expect(failed.all).toEqual([])
  expect(await db.jobs()).toEqual([])
})

test('interleaving: a stopped consumer whose claim is answered late does not take K from its successor in the same process', async ({
  db,
}) => {
  const proxy = await heldProxy(db)
  const { connectionString } = proxy
  const bugle = db.bugle({ connectionString, listenConnectionString: db.connectionString, ...withoutHeartbeat })
  await bugle.consume('stays', () => {})
  const former = await bugle.consume('hangs', () => {})
  await untilSoundAsleep(db, former)
  const hangs = proxy.holdAnswersTo('hangs')
  await notify(db, 'hangs')
  await hangs
  await former.stop(byForce)

  const ran = signal<string>()
  // Its second claim follows when it has taken K.
  const holdsK = proxy.untilSent('hangs', 2)
  const successor = await bugle.consume('hangs', (job) => ran.resolve(job.id))
  await holdsK
  await untilSoundAsleep(db, successor)
  proxy.release()
  // The control session takes this K after it has given up the former's.
  await untilSoundAsleep(db, await bugle.consume('later', () => {}))
  expect(await holdersOfK(db, 'hangs')).toEqual(await db.backends('control'))
  const [row] = await db.sql.unsafe<{ id: string }[]>(`insert into ${db.s}.job (queue) values ('hangs') returning id`)
  expect(await ran.promise).toBe(row?.id)
})

for (const how of ['stop', 'close'] as const) {
  test(`interleaving: a second ${how} by force shortens the first, which is already leaving a silent database`, async ({
    db,
  }) => {
    const proxy = await heldProxy(db)
    const bugle = db.bugle({ connectionString: proxy.connectionString, ...withoutHeartbeat })
    const consumer = await bugle.consume('q', () => {})
    // Without K nothing is sent before the leave's own first statement, a heartbeat.
    await consumer.pause()
    await untilAwake(db, 'q')
    await fence(db)
    const end: (times?: typeof byForce) => Promise<unknown> = how === 'stop' ? consumer.stop : bugle.close
    proxy.silence()
    const leaves = proxy.untilSent(bugle.workerId)
    const first = end()
    await leaves
    expect(await isPending(first)).toBe(true)
    const { tookMs } = await timed(() => end(byForce))
    await first
    expect(tookMs).toBeLessThan(byForceMs)
    proxy.release()
  })
}

test('interleaving: a second close by force shortens the first, which already waits for a put that a silent database does not answer', async ({
  db,
}) => {
  const proxy = await heldProxy(db)
  const bugle = db.bugle({ connectionString: proxy.connectionString })
  await bugle.put('q', null)
  proxy.silence()
  const sent = proxy.untilSent('unanswered')
  const put = bugle.put('q', 'unanswered').catch((error) => error.code)
  await sent
  const first = bugle.close()
  expect(await isPending(first)).toBe(true)
  const { tookMs } = await timed(() => bugle.close(byForce))
  await first
  expect(tookMs).toBeLessThan(byForceMs)
  expect(await put).toEqual(expect.any(String))
  proxy.release()
})

test('interleaving: a run that a stop aborts while its payload is prepared does not begin, and its job goes back untouched', async ({
  db,
  gate,
}) => {
  const slow = slowSchema(gate())
  const bugle = db.bugle({ schemas: { q: { slow: slow.schema } } })
  const begun: (string | null)[] = []
  const running = signal()
  const told = signal()
  const consumer = await bugle.consume('q', async ({ kind }, ctx) => {
    begun.push(kind)
    if (kind === 'slow') return
    running.resolve()
    const reason = await aborted(ctx)
    told.resolve()
    throw reason
  })
  await insertKinds(db, ['slow', 'plain'])
  await Promise.all([slow.reached, running.promise])
  const stopped = consumer.stop({ graceMs: 0, abortMs: Number.POSITIVE_INFINITY })
  // All runs are aborted together.
  await told.promise
  slow.goOn()
  expect(await stopped).toEqual({ completed: 0, failed: 0, interrupted: 2, released: 0, abandoned: [] })
  expect(begun).toEqual(['plain'])
  const untouched = { state: 'ready', attempt: 0, worker_id: null, last_error: null }
  expect(await db.jobs()).toMatchObject([untouched, untouched])
})

test('interleaving: a job that is cancelled while its payload is prepared does not begin, and is failed as cancelled', async ({
  db,
  gate,
}) => {
  const slow = slowSchema(gate())
  const bugle = db.bugle({ schemas: { q: { slow: slow.schema } }, ...withoutHeartbeat })
  const failed = db.collect(bugle, 'job:failed')
  const begun: (string | null)[] = []
  const running = signal()
  const told = signal()
  await bugle.consume('q', async ({ kind }, ctx) => {
    begun.push(kind)
    if (kind === 'slow') return
    running.resolve()
    await aborted(ctx)
    told.resolve()
  })
  const [id = '', other = ''] = await insertKinds(db, ['slow', 'plain'])
  await Promise.all([slow.reached, running.promise])
  await bugle.cancel(id)
  await bugle.cancel(other)
  // Notifications arrive in the order of their commits.
  await told.promise
  slow.goOn()
  expect(await failed.next()).toMatchObject({ id, attempt: 1, cause: 'cancelled' })
  expect(begun).toEqual(['plain'])
  expect(await fullRows(db)).toMatchObject([{ id, state: 'failed', last_error: { failedBy: 'cancelled' } }])
})

test('interleaving: the outcome of a handler that ends after the close, while the control session is away, is written when it is back', {
  timeout: 20_000,
}, async ({ db, gate }) => {
  const { hostname, port } = new URL(db.connectionString)
  const proxy = await startProxy({ host: hostname, port: Number(port) })
  onTestFinished(() => proxy.close())
  const bugle = db.bugle({ connectionString: at(db, proxy.port) })
  const acked = db.collect(bugle, 'job:acked')
  const begun = signal()
  const end = gate()
  await bugle.consume('q', () => {
    begun.resolve()
    return end.promise
  })
  const id = await bugle.put('q', null)
  await begun.promise
  await bugle.close(byForce)
  proxy.drop()
  await reconnects(proxy, 1)
  end.resolve()
  // Its outcome has been tried for in vain by then.
  await reconnects(proxy, 2)
  expect(await db.jobs()).toMatchObject([{ id, state: 'running' }])
  await proxy.heal()
  expect(await acked.next()).toMatchObject({ id, attempt: 1 })
  expect(await db.jobs()).toEqual([])
})

test('interleaving: a stop that ends with a claim in flight leaves the worker present until that claim has given its jobs back', async ({
  db,
}) => {
  const bugle = db.bugle(withoutHeartbeat)
  const started = db.collect(bugle, 'job:started')
  const consumer = await bugle.consume('q', () => {})
  const claims = await holdClaims(db)
  const id = await bugle.put('q', null)
  await claims.untilHeld()
  expect(await consumer.stop(byForce)).toMatchObject({ completed: 0, abandoned: [] })
  expect(await workerRows(db)).toMatchObject([{ id: bugle.workerId }])
  await claims.open()
  await until(async () => (await workerRows(db)).length === 0)
  expect(await fullRows(db)).toMatchObject([{ id, state: 'ready', attempt: 0, crashes: 0, worker_id: null }])
  expect(started.all).toEqual([])
})

test('interleaving: a job that is cancelled while it waits for the gate does not begin, and is told as failed, cancelled', async ({
  db,
}) => {
  const bugle = db.bugle({ rescueAfterMs: 1_000 })
  const failed = db.collect(bugle, 'job:failed')
  const begun: string[] = []
  const ranLater = signal()
  const consumer = await bugle.consume('q', ({ id, kind }) => {
    begun.push(id)
    if (kind === 'later') ranLater.resolve()
  })
  const claims = await holdClaims(db)
  const id = await bugle.put('q', null)
  await claims.untilHeld()
  const letGo = await lockWorkerRow(db, bugle.workerId)
  await untilUnconfirmed(db, bugle.workerId, 1_000)
  await claims.open()
  await untilState(db, id, 'running')
  expect(await bugle.cancel(id)).toBe('requested')
  await fence(db)
  expect([begun, failed.all]).toEqual([[], []])
  await letGo()
  const later = await bugle.put('q', null, { kind: 'later' })
  await ranLater.promise
  expect(await consumer.stop()).toMatchObject({ completed: 1, failed: 1, released: 0 })
  expect(begun).toEqual([later])
  expect(failed.all).toMatchObject([{ id, attempt: 1, cause: 'cancelled' }])
  expect(await db.jobs()).toMatchObject([{ id, state: 'failed', last_error: { failedBy: 'cancelled' } }])
})

test('interleaving: a worker asks for the word of one without the lock only after seconds of answers without it', async ({
  db,
}) => {
  const { hostname, port } = new URL(db.connectionString)
  const proxy = await startProxy({ host: hostname, port: Number(port) })
  onTestFinished(() => proxy.close())
  const rescueAfterMs = 1_000
  const bugle = db.bugle({ listenConnectionString: at(db, proxy.port), rescueAfterMs })
  const consumer = await bugle.consume('q', () => {})
  await untilSoundAsleep(db, consumer)
  const word = async (): Promise<number> =>
    (await db.sql.unsafe<{ rescue_after_ms: number }[]>(`select rescue_after_ms from ${db.s}.worker`))[0]
      ?.rescue_after_ms ?? 0
  await until(async () => (await word()) === rescueAfterMs)
  proxy.drop()
  await until(async () => (await db.backends('control')).length === 0)
  const goneAt = performance.now()
  for (let beats = 0; beats < 3; beats += 1) await untilSeenAgain(db, bugle.workerId)
  expect(await word()).toBe(rescueAfterMs)
  await until(async () => (await word()) !== rescueAfterMs)
  expect(await word()).toBe(60_000)
  // Three seconds of answers; the first may have been a moment before the backend was seen to be gone.
  expect(performance.now() - goneAt).toBeGreaterThan(2_500)
})

test('interleaving: a worker that cannot confirm its presence begins nothing, until it can', async ({ db }) => {
  const bugle = db.bugle({ rescueAfterMs: 1_000 })
  const started = db.collect(bugle, 'job:started')
  const consumer = await bugle.consume('q', () => {})
  await untilSoundAsleep(db, consumer)
  const letGo = await lockWorkerRow(db, bugle.workerId)
  await untilUnconfirmed(db, bugle.workerId, 1_000)
  const id = await bugle.put('q', null)
  // It could: the way to the database is open, and the queue's notification has come.
  await fence(db)
  expect(started.all).toEqual([])
  expect(await db.jobs()).toMatchObject([{ id, state: 'ready', attempt: 0 }])
  await letGo()
  expect(await started.next()).toMatchObject({ id, attempt: 1, workerId: bugle.workerId })
  expect(await consumer.stop()).toMatchObject({ completed: 1, released: 0 })
})

test('interleaving: a job that is ready while a handler blocks the event loop begins only after a tick on time', async ({
  db,
}) => {
  const bugle = db.bugle(withoutHeartbeat)
  const lag = db.collect(bugle, 'worker:lag')
  let laggedAt = 0
  let begunAt = 0
  bugle.on('worker:lag', () => {
    laggedAt = performance.now()
  })
  const begun = signal()
  const consumer = await bugle.consume('q', async ({ kind }) => {
    if (kind === 'ready meanwhile') {
      begunAt = performance.now()
      return begun.resolve()
    }
    // Another session's doing: it comes in the middle of the block.
    const insert = db.sql.unsafe(`insert into ${db.s}.job (queue, kind) select 'q', 'ready meanwhile' from pg_sleep(1)`)
    void insert.execute() // lazy otherwise
    const sleeping = () =>
      db.sql`select from pg_stat_activity where wait_event = 'PgSleep' and query like ${`%${db.s}%`}`
    await until(async () => (await sleeping()).length > 0)
    const blockedUntil = performance.now() + 1_700
    while (performance.now() < blockedUntil);
  })
  await untilSoundAsleep(db, consumer)
  await bugle.put('q', null)
  await begun.promise
  expect(lag.all).toHaveLength(1)
  expect(lag.all[0]?.ms).toBeGreaterThan(1_000)
  // A tick.
  expect(begunAt - laggedAt).toBeGreaterThan(490)
})

/** The worker's row is removed, as by a burial, and it looks at once: its control session comes back. */
async function giveUp(db: TestDatabase, workerId: string): Promise<void> {
  await db.sql.unsafe(`delete from ${db.s}.worker where id = $1`, [workerId])
  await db.kill(await db.backends('control'))
}

/** Its heartbeats fail from now on, and nothing else does. @returns lets go of it */
async function lockWorkerRow(db: TestDatabase, workerId: string): Promise<() => Promise<void>> {
  const session = db.connect()
  await session`begin`
  await session.unsafe(`select from ${db.s}.worker where id = $1 for update`, [workerId])
  return async () => void (await session`rollback`)
}

/** Waits until a worker's last heartbeat is so old. */
async function untilUnconfirmed(db: TestDatabase, workerId: string, ms: number): Promise<void> {
  const isOld = () =>
    db.sql.unsafe(
      `select from ${db.s}.worker where id = $1 and clock_timestamp() - seen_at > $2::int * interval '1 ms'`,
      [workerId, ms],
    )
  await until(async () => (await isOld()).length > 0)
}

async function holdersOfK(db: TestDatabase, queue: string): Promise<number[]> {
  const { asleep_others } = loadStatements(db.schema)
  return (await db.sql.unsafe<{ pid: number }[]>(asleep_others, [queue])).map(({ pid }) => pid)
}

/** A wake-up for nothing. */
async function notify(db: TestDatabase, queue: string): Promise<void> {
  const [row] = await db.sql.unsafe<{ channel: string }[]>(loadStatements(db.schema).channel)
  await db.sql.notify(row?.channel ?? '', queue)
}

/** Past the schema, which would have the put wait for it as well. */
async function insertKinds(db: TestDatabase, kinds: readonly string[]): Promise<string[]> {
  const rows = await db.sql.unsafe<{ id: string }[]>(
    `insert into ${db.s}.job (queue, kind) select 'q', kind from unnest($1::text[]) as kind returning id`,
    [[...kinds]],
  )
  return rows.map(({ id }) => id)
}

function slowSchema({ promise, resolve }: ReturnType<typeof signal<void>>) {
  const { promise: reached, resolve: reach } = signal()
  const schema = z.unknown().refine(async () => {
    reach()
    await promise
    return true
  })
  return { schema, reached, goOn: () => resolve() }
}

function at(db: TestDatabase, port: number): string {
  const url = new URL(db.connectionString)
  url.hostname = '127.0.0.1'
  url.port = String(port)
  return url.href
}

/** Waits for so many further connections, each of which is made after the one before has failed. */
async function reconnects(proxy: { readonly connections: number }, times: number): Promise<void> {
  const enough = proxy.connections + times
  await until(() => proxy.connections >= enough)
}

/** A TCP proxy that tells what was sent, and holds answers back. */
interface HeldProxy {
  readonly connectionString: string
  /** Resolves when clients have sent something with that text so many times, from now on. */
  untilSent(text: string, times?: number): Promise<void>
  /** The next connection that sends that text gets no answers any more; resolves when it has sent it. */
  holdAnswersTo(text: string): Promise<void>
  /** No connection gets an answer any more. */
  silence(): void
  /** All that was held is delivered, and nothing held any more. */
  release(): void
}

async function heldProxy(db: TestDatabase): Promise<HeldProxy> {
  const target = new URL(db.connectionString)
  const sockets = new Set<Socket>()
  const watches = new Set<(chunk: Buffer, hold: () => void) => void>()
  const holds = new Set<() => void>()
  let isSilent = false

  function keep(socket: Socket): void {
    sockets.add(socket)
    socket.on('error', () => socket.destroy())
    socket.on('close', () => sockets.delete(socket))
  }

  const server = createServer((client) => {
    const upstream = connect({ host: target.hostname, port: Number(target.port) })
    keep(client)
    keep(upstream)
    let isHeld = false
    const answers: Buffer[] = []
    function hold(): void {
      isHeld = true
    }
    holds.add(() => {
      isHeld = false
      for (const answer of answers.splice(0)) client.write(answer)
    })
    client.on('data', (chunk) => {
      for (const watch of watches) watch(chunk, hold)
      upstream.write(chunk)
    })
    upstream.on('data', (chunk) => {
      if (isHeld || isSilent) answers.push(chunk)
      else client.write(chunk)
    })
    client.on('close', () => upstream.destroy())
    upstream.on('close', () => client.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the proxy has no port')

  function watchFor(text: string, times: number, onSent: (hold: () => void) => void): Promise<void> {
    let left = times
    return new Promise((resolve) => {
      function watch(chunk: Buffer, hold: () => void): void {
        if (!chunk.includes(text)) return
        onSent(hold)
        left -= 1
        if (left > 0) return
        watches.delete(watch)
        resolve()
      }
      watches.add(watch)
    })
  }

  return {
    connectionString: at(db, address.port),
    untilSent: (text, times = 1) => watchFor(text, times, () => {}),
    holdAnswersTo: (text) => watchFor(text, 1, (hold) => hold()),
    silence() {
      isSilent = true
    },
    release() {
      isSilent = false
      for (const release of holds) release()
    },
  }
}
