import { loadStatements } from '../../src/database/statements.js'
import type { Consumer } from '../../src/index.js'
import type { TestDatabase } from './database.js'
import { until } from './until.js'

/**
 * Waits until so many sessions hold the queue's sleep lock shared: from then on every insert into it notifies.
 * One look at pg_locks after the other; a test's own time-out ends it.
 */
export async function untilAsleep(db: TestDatabase, queue: string, sessions = 1): Promise<void> {
  await until(async () => (await countAsleep(db, queue)) >= sessions)
}

/**
 * Waits until all consumers of a queue sleep and will not look again by themselves: from now on only a notification
 * tells them of a job. Each holds the lock, and has made a claim after all transactions that ran when it was taken.
 */
export async function untilSoundAsleep(db: TestDatabase, ...consumers: Consumer[]): Promise<void> {
  for (const { queue } of consumers) await untilAsleep(db, queue, consumers.length)
  for (const consumer of consumers) await consumer.idle()
  const { next } = await transactions(db)
  await until(async () => (await transactions(db)).oldest >= next)
  for (const consumer of consumers) await consumer.idle()
}

/** The oldest transaction that runs, and the next one that will. */
async function transactions(db: TestDatabase): Promise<{ oldest: bigint; next: bigint }> {
  const [row] = await db.sql<{ oldest: string; next: string }[]>`
    select xmin as oldest, xmin + age(xmin::text::xid) as next
    from (select pg_snapshot_xmin(pg_current_snapshot())::text::bigint as xmin) as snapshot`
  return { oldest: BigInt(row?.oldest ?? 0), next: BigInt(row?.next ?? 0) }
}

/** Waits until no session holds the queue's sleep lock: from then on its writers are silent. */
export async function untilAwake(db: TestDatabase, queue: string): Promise<void> {
  await until(async () => (await countAsleep(db, queue)) === 0)
}

/** The pids of the backends that hold the queue's sleep lock, K, in whatever mode. */
export async function holdersOfK(db: TestDatabase, queue: string): Promise<number[]> {
  const { asleep_holders } = loadStatements(db.schema)
  return (await db.sql.unsafe<{ pid: number }[]>(asleep_holders, [queue])).map(({ pid }) => pid)
}

async function countAsleep(db: TestDatabase, queue: string): Promise<number> {
  const { asleep_holders } = loadStatements(db.schema)
  const holders = await db.sql.unsafe<{ mode: string }[]>(asleep_holders, [queue])
  return holders.filter(({ mode }) => mode === 'ShareLock').length
}

/** Listens as consumers do. The function that it returns resolves with every queue notified of since, in order. */
export async function watchNotifications(db: TestDatabase): Promise<() => Promise<string[]>> {
  const [row] = await db.sql.unsafe<{ channel: string }[]>(loadStatements(db.schema).channel)
  const channel = row?.channel ?? ''
  const notified: string[] = []
  let tell = (): void => {}
  const mark = 'a mark of the test'
  await db.connect().listen(channel, (queue) => {
    if (queue === mark) tell()
    else notified.push(queue)
  })
  return async () => {
    // Notifications arrive in the order of the commits: with the mark, those before it have come.
    const marked = new Promise<void>((resolve) => {
      tell = resolve
    })
    await db.sql`select pg_notify(${channel}, ${mark})`
    await marked
    return notified
  }
}

/**
 * So many sessions say that they doze on the queue, as consumers of a fleet do.
 *
 * @returns ends them; resolves once the server has seen it
 */
export async function dozers(db: TestDatabase, queue: string, count: number): Promise<() => Promise<void>> {
  const { doze } = loadStatements(db.schema)
  const others = async (): Promise<number> =>
    (await db.sql.unsafe<{ others: number }[]>(doze, [queue, 'false']))[0]?.others ?? 0
  const before = await others()
  const sessions = Array.from({ length: count }, () => db.connect())
  await Promise.all(sessions.map((session) => session.unsafe(doze, [queue, 'true'])))
  return async () => {
    const dozing = await others()
    await Promise.all(sessions.map((session) => session.end({ timeout: 1 })))
    await until(async () => (await others()) <= Math.max(before, dozing - count))
  }
}
