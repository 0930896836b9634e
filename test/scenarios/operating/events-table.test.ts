import { expect } from 'vitest'
import {
  type Bugle,
  type BugleEventName,
  type BugleEvents,
  type JobContext,
  partial,
  reject,
  release,
  retry,
} from '../../../src/index.js'
import { signal, type TestDatabase } from '../../support/database.js'
import { startDisguise } from '../../support/disguise.js'
import { tableAfter } from '../../support/documents.js'
import { test } from '../../support/gates.js'
import { transaction } from '../../support/open-transaction.js'
import { startProxy } from '../../support/proxy.js'
import { aborted, takeOver } from '../../support/stopping.js'
import { until } from '../../support/until.js'

const hour = 3_600_000

interface Documented {
  readonly name: BugleEventName
  readonly keys: readonly string[]
  /** Of those keys whose values stand in brackets behind them. */
  readonly values: ReadonlyMap<string, readonly string[]>
}

/** A row such as `id`, `reason` (`blocked`, `limit`), `pid`: it waits. */
function documented([name = '', cell = '']: readonly string[]): Documented {
  const [list = ''] = cell.replaceAll(/\([^)]*\)/g, '').split(/[:;]/)
  const inBrackets = [...cell.matchAll(/(\w+) \(([a-zA-Z-]+(?:, [a-zA-Z-]+)+)\)/g)]
  return {
    name: name as BugleEventName,
    keys: ['queue', ...list.split(',').map((key) => key.trim())],
    values: new Map(inBrackets.map(([, key = '', values = '']) => [key, values.split(', ')])),
  }
}

const isNumber = (value: unknown): boolean => typeof value === 'number' && value >= 0
const isDecimal = (value: unknown): boolean => typeof value === 'string' && /^\d+$/.test(value)
const isText = (value: unknown): boolean => typeof value === 'string' && value !== ''
const isDate = (value: unknown): boolean => value instanceof Date && !Number.isNaN(value.getTime())
const orNull =
  (is: (value: unknown) => boolean) =>
  (value: unknown): boolean =>
    value === null || is(value)

/** What stands under a key, in whatever event. */
const isRight: Readonly<Record<string, (value: unknown) => boolean>> = {
  queue: orNull(isText),
  id: isDecimal,
  kind: orNull(isText),
  attempt: isNumber,
  workerId: isDecimal,
  waitMs: isNumber,
  // null of a job whose process died under it.
  runMs: orNull(isNumber),
  error: (value) => value instanceof Error,
  retryAt: isDate,
  retriesLeft: isNumber,
  cause: isText,
  runAt: isDate,
  reason: isText,
  timeoutMs: isNumber,
  ageMs: isNumber,
  lease: isDecimal,
  concurrency: isNumber,
  graceMs: isNumber,
  forced: (value) => typeof value === 'boolean',
  report: (value) => typeof value === 'object' && value !== null && 'abandoned' in value,
  from: isText,
  to: isText,
  downMs: isNumber,
  pid: orNull(isNumber),
  deadWorkerId: isDecimal,
  jobs: isNumber,
  newWorkerId: isDecimal,
  ms: isNumber,
  where: isText,
}

type Told = Readonly<Record<string, unknown>>

/** Everything that instances tell, by name. */
function createRecord(names: readonly BugleEventName[]) {
  const told = new Map<BugleEventName, Told[]>(names.map((name) => [name, []]))
  let waiting: (() => void)[] = []
  return {
    told: (name: BugleEventName): readonly Told[] => told.get(name) ?? [],
    listenTo(bugle: Bugle): void {
      for (const name of names) {
        bugle.on(name, (data) => {
          told.get(name)?.push({ ...data })
          const look = waiting
          waiting = []
          for (const resolve of look) resolve()
        })
      }
    },
    /** Waits until an event of that name has such data. */
    async until<Name extends BugleEventName>(name: Name, data: Partial<BugleEvents[Name]> = {}): Promise<void> {
      const isMeant = (one: Told): boolean => Object.entries(data).every(([key, value]) => one[key] === value)
      while (!told.get(name)?.some(isMeant)) await new Promise<void>((resolve) => waiting.push(resolve))
    },
  }
}

type Recorded = ReturnType<typeof createRecord>

/** What a run is made to end with by its job's payload. */
const atOnce: Readonly<Record<string, () => unknown>> = {
  ack: () => {},
  reject: () => reject('no'),
  'a result that JSON cannot hold': () => 1n,
  'throw, and the strategy throws': () => {
    throw new Error('thrown')
  },
  retry: () => retry(),
  release: () => release({ delayMs: hour }),
  partial: () => partial('half', { delayMs: hour }),
  'a likeness of an outcome': () => ({ type: 'reject', reason: 'no' }),
}

const atLength: Readonly<Record<string, (ctx: JobContext) => unknown>> = {
  'until aborted': async (ctx) => {
    throw await aborted(ctx)
  },
  // A tick of half a second, and one more that it must be late by.
  'block the event loop': () => {
    for (const until = performance.now() + 1_700; performance.now() < until; );
  },
}

test('every event of the guide’s table is emitted, with the data that it names', async ({ db, gate }) => {
  const rows = tableAfter('src/guides/events.md', '# Events').map(documented)
  const record = createRecord(rows.map(({ name }) => name))
  const bugle = db.bugle({ rescueAfterMs: 300 })
  record.listenTo(bugle)
  bugle.on('job:acked', () => {
    throw new Error('a listener')
  })
  const held = gate()
  const lost = gate()
  const consumer = await bugle.consume(
    'q',
    {
      known: (job, ctx) => {
        if (job.payload === 'held') return held.promise
        if (job.payload === 'lost') return lost.promise
        return { ...atOnce, ...atLength }[job.payload as string]?.(ctx)
      },
    },
    {
      concurrency: 20,
      unknownKinds: 'fail',
      keep: 'all',
      retryStrategy: ({ payload }) => {
        if (payload === 'throw, and the strategy throws') throw new Error('a strategy')
        return payload === 'retry' && { delayMs: hour }
      },
      onFailed: () => {
        throw new Error('a hook')
      },
    },
  )
  const put = (payload: string, options: object = {}) => bugle.put('q', payload, { kind: 'known', ...options })

  // Told as stuck in five seconds: all else goes on meanwhile.
  const stuck = await put('held', { timeoutMs: 20 })
  for (const payload of Object.keys(atOnce)) await put(payload)
  await bugle.put('q', 'ack', { kind: 'unknown' })
  const cancelled = await put('until aborted')
  await record.until('job:started', { id: cancelled })
  await bugle.cancel(cancelled)
  const stale = await put('lost')
  await record.until('job:started', { id: stale })
  await takeOver(db, stale)
  lost.resolve()
  await record.until('job:stale', { id: stale })

  await crash(db, record)
  await failAClaim(db, bugle, record)
  await holdALock(db, bugle, record)
  await holdTheRow(db, record)
  await outage(db, record)
  await changePrimary(db, record)
  await record.until('job:stuck', { id: stuck })
  held.resolve()
  await db.sql.unsafe(`delete from ${db.s}.worker where id = $1`, [bugle.workerId])
  await record.until('worker:lost')
  await put('block the event loop')
  await record.until('worker:lag')
  const interrupted = await put('until aborted')
  await record.until('job:started', { id: interrupted })
  await consumer.stop({ graceMs: 0 })
  await record.until('job:interrupted', { id: interrupted })
  await bugle.close()

  expect(rows.filter(({ name }) => record.told(name).length === 0).map(({ name }) => name)).toEqual([])
  for (const { name, keys, values } of rows) {
    for (const data of record.told(name)) {
      expect(Object.keys(data).sort(), name).toEqual([...keys].sort())
      for (const [key, value] of Object.entries(data)) {
        expect(isRight[key]?.(value), `${name}: ${key} is ${value}`).toBe(true)
        if (values.has(key)) expect(values.get(key), name).toContain(value)
      }
      if (/^(job|consumer|claim):/.test(name)) expect(data.queue, name).not.toBeNull()
    }
  }
  for (const [name, key] of [
    ['job:failed', 'cause'],
    ['callback:error', 'where'],
  ] as const) {
    const seen = new Set(record.told(name).map((data) => data[key]))
    expect([...seen].sort(), `${name}: ${key}`).toEqual(
      rows
        .find((row) => row.name === name)
        ?.values.get(key)
        ?.toSorted(),
    )
  }
})

/** A job whose process died for the third time, and whose worker has no row any more. */
async function crash(db: TestDatabase, record: Recorded): Promise<void> {
  await db.sql.unsafe(
    `insert into ${db.s}.job (queue, state, worker_id, attempt, crashes) values ('elsewhere', 'running', 4711, 3, 2)`,
  )
  await record.until('worker:rescued', { deadWorkerId: '4711', jobs: 1 })
  await record.until('job:failed', { workerId: '4711', cause: 'crashed' })
}

/** A claim that the database refuses, until it no longer does. */
async function failAClaim(db: TestDatabase, bugle: Bugle, record: Recorded): Promise<void> {
  await db.sql.unsafe(`
    create function ${db.s}.refuse() returns trigger language plpgsql as $$ begin raise exception 'refused'; end $$;
    create trigger refuse before update on ${db.s}.job for each row when (new.queue = 'refused')
      execute function ${db.s}.refuse()`)
  const ran = signal()
  const consumer = await bugle.consume('refused', () => ran.resolve())
  await bugle.put('refused', null)
  await record.until('claim:error', { queue: 'refused' })
  await db.sql.unsafe(`drop function ${db.s}.refuse cascade`)
  await ran.promise
  await consumer.stop()
}

/** Somebody holds the lock under which a consumer would sleep. */
async function holdALock(db: TestDatabase, bugle: Bugle, record: Recorded): Promise<void> {
  const stranger = db.connect()
  await stranger.unsafe(`select pg_advisory_lock('${db.s}.job'::regclass::oid::int, hashtext('locked'))`)
  const consumer = await bugle.consume('locked', () => {})
  await record.until('consumer:unprotected', { queue: 'locked', reason: 'blocked' })
  await consumer.stop()
}

/** Somebody holds a lock on the rows of workers. */
async function holdTheRow(db: TestDatabase, record: Recorded): Promise<void> {
  const end = await transaction(db, `select from ${db.s}.worker for update`)
  await record.until('worker:blocked')
  await end('rollback')
}

/** A database that is down when a consumer wants to begin, and comes. */
async function outage(db: TestDatabase, record: Recorded): Promise<void> {
  const { hostname, port } = new URL(db.connectionString)
  const proxy = await startProxy({ host: hostname, port: Number(port) })
  const through = new URL(db.connectionString)
  through.port = String(proxy.port)
  await proxy.refuse()
  const bugle = db.bugle({ connectionString: through.href })
  record.listenTo(bugle)
  const consuming = bugle.consume('late', () => {})
  await record.until('database:down')
  await proxy.heal()
  await consuming
  await record.until('database:up')
  await bugle.close()
  await proxy.close()
}

/** A standby is promoted, the former primary is reached again, and then another system beside it. */
async function changePrimary(db: TestDatabase, record: Recorded): Promise<void> {
  const url = new URL(db.connectionString)
  const address = await startDisguise(db.sql, new URL(db.connectionString), { timeline: 1 })
  url.port = String(address.port)
  // TLS would hide what is exchanged.
  url.searchParams.set('sslmode', 'disable')
  const bugle = db.bugle({ connectionString: url.href })
  record.listenTo(bugle)
  await bugle.stats()
  for (const [event, ...seeming] of [
    ['database:moved', { timeline: 2 }],
    ['database:outdated', { timeline: 1 }],
    ['database:split', { timeline: 2 }, { timeline: 2, system: '9' }],
  ] as const) {
    address.seem(...seeming)
    address.cut()
    // The first may still go to a connection that was cut.
    await until(async () => {
      // Of two systems one connection finds one.
      if (seeming.length > 1) address.cut()
      await Promise.allSettled([bugle.stats()])
      return record.told(event).length > 0
    })
  }
  await bugle.close()
  await address.close()
}
