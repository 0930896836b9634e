import type { JobContext, StopReport } from '../../src/index.js'
import { signal, type TestDatabase } from './database.js'
import { until } from './until.js'

/** No heartbeat within a test's time: what happens all the same, a notification has done. */
export const withoutHeartbeat = { rescueAfterMs: 3_600_000, hungAfterMs: 3_600_000 } as const

/** What a stop reports when its consumer has done nothing and leaves nothing behind. */
export const nothing: StopReport = { completed: 0, failed: 0, interrupted: 0, released: 0, abandoned: [] }

/**
 * How much longer than graceMs + abortMs a stop may take. With BUGLE_TEST_STOPS=50, on a machine that does nothing
 * else, the bound is a second. Beside other tests on two cores the bound proves only that a stop does not wait for what
 * never comes.
 */
export const marginMs = process.env.BUGLE_TEST_STOPS ? 1_000 : 5_000

/** Resolves with the reason when the handler's signal is aborted. */
export function aborted({ signal }: Pick<JobContext, 'signal'>): Promise<unknown> {
  if (signal.aborted) return Promise.resolve(signal.reason)
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(signal.reason), { once: true }))
}

let markers = 0

/** A job of another queue goes the whole way, in an instance of its own: what could have happened before it has. */
export async function fence(db: TestDatabase): Promise<void> {
  const bugle = db.bugle()
  const ran = signal()
  markers += 1
  await bugle.consume(`marker ${markers}`, () => ran.resolve())
  await bugle.put(`marker ${markers}`, null)
  await ran.promise
  await bugle.close()
}

/** Whether it is still open after all that could have ended it. */
export async function isPending(promise: Promise<unknown>): Promise<boolean> {
  const turn = new Promise((resolve) => setImmediate(resolve, 'pending'))
  return (await Promise.race([promise.then(() => 'done'), turn])) === 'pending'
}

export interface WorkerRow {
  readonly id: string
  /** To the microsecond: for comparing only. */
  readonly seen_at: string
}

export async function workerRows(db: TestDatabase): Promise<WorkerRow[]> {
  return [...(await db.sql.unsafe<WorkerRow[]>(`select id, seen_at::text from ${db.s}.worker order by id`))]
}

/**
 * Waits for the heartbeat that says, after a consumer's start or pause, what is consumed. Every later heartbeat comes
 * at its regular time.
 *
 * @param how - what it says of a consumer
 */
export async function untilShown(db: TestDatabase, how: { readonly isPaused?: boolean } = {}): Promise<void> {
  const shown = () =>
    db.sql.unsafe(`select from ${db.s}.worker where consumers @> $1::text::jsonb`, [JSON.stringify([how])])
  await until(async () => (await shown()).length > 0)
}

/** Waits for a heartbeat of that worker. */
export async function untilSeenAgain(db: TestDatabase, workerId: string): Promise<void> {
  const seenAt = async (): Promise<string> => {
    const row = (await workerRows(db)).find(({ id }) => id === workerId)
    if (row === undefined) throw new Error(`there is no row of the worker ${workerId}`)
    return row.seen_at
  }
  const before = await seenAt()
  await until(async () => (await seenAt()) !== before)
}

/** Waits until a job has the state, or is gone (null). */
export async function untilState(db: TestDatabase, id: string, state: string | null): Promise<void> {
  await until(async () => {
    const rows = await db.sql.unsafe<{ state: string }[]>(`select state from ${db.s}.job where id = $1`, [id])
    return (rows[0]?.state ?? null) === state
  })
}

/** Waits until no session of the test's instances is left. */
export async function untilNoSession(db: TestDatabase): Promise<void> {
  for (const role of ['control', 'listener', ''] as const)
    await until(async () => (await db.backends(role)).length === 0)
}

/** A job goes to somebody else, as by a rescue and a further claim. */
export async function takeOver(db: TestDatabase, id: string): Promise<void> {
  await db.sql.unsafe(`update ${db.s}.job set worker_id = 5, lease = 123456789, attempt = attempt + 1 where id = $1`, [
    id,
  ])
}

/** While it is held, no claim is answered. */
export interface ClaimGate {
  /** Waits until a claim of this test stands before the gate. */
  untilHeld(): Promise<void>
  open(): Promise<void>
}

/** From now on claims wait before their first row, until the gate is opened. */
export async function holdClaims(db: TestDatabase): Promise<ClaimGate> {
  const key = Math.floor(Math.random() * 2 ** 31)
  const gate = db.connect()
  await gate`select pg_advisory_lock(${key})`
  // By tries, and not by waiting for the lock: our sessions have a lock_timeout.
  await db.sql.unsafe(`
    create function ${db.s}.wait() returns trigger language plpgsql as $$
    begin
      while not pg_try_advisory_xact_lock_shared(${key}) loop perform pg_sleep(0.01); end loop;
      return new;
    end $$;
    create trigger wait before update on ${db.s}.job for each row
      when (old.state <> 'running' and new.state = 'running') execute function ${db.s}.wait()`)
  return {
    async untilHeld() {
      const pids = await db.backends('')
      const held = () => db.sql`select from pg_stat_activity where pid = any (${pids}) and wait_event = 'PgSleep'`
      await until(async () => (await held()).length > 0)
    },
    open: async () => void (await gate`select pg_advisory_unlock(${key})`),
  }
}

/** How long it took, in milliseconds. */
export async function timed<T>(act: () => Promise<T>): Promise<{ readonly value: T; readonly tookMs: number }> {
  const startedAt = performance.now()
  const value = await act()
  return { value, tookMs: performance.now() - startedAt }
}
