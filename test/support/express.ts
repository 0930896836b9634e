import { onTestFinished } from 'vitest'
import type { ExpressJob } from '../../src/consume/express/batch.js'
import { createLane, type Lane, type LaneEnd, type LaneParts } from '../../src/consume/express/lane.js'
import { type LaneSession, openLaneSession } from '../../src/consume/express/lane-session.js'
import type { Settled } from '../../src/consume/settle/ending.js'
import { createPauses } from '../../src/consume/settle/pauses.js'
import { createSettler } from '../../src/consume/settle/settler.js'
import { writeNoOutcome, writeOutcomes } from '../../src/consume/statements.js'
import type { Database, Query } from '../../src/database/database.js'
import type { Statements } from '../../src/database/statements.js'
import type { TestDatabase } from './database.js'
import { operator } from './operator.js'
import { until } from './until.js'

/** A lane with hand-made slots: the test begins and ends its jobs. */
export interface LaneUnderTest {
  readonly lane: Lane
  readonly database: Database
  /** How it has ended. */
  readonly over: Promise<LaneEnd>
  /** The session; it is open once the first jobs are here. */
  session(): LaneSession
  /** The jobs of the next claim that found some, by now or later. */
  started(): Promise<readonly ExpressJob[]>
  /** What became of plain acks, in that order: id and how it is settled. */
  readonly acked: [id: string, is: Settled['is']][]
  /** Ids of kept jobs that were lost. */
  readonly lost: string[]
}

export interface LaneOptions extends Partial<Pick<LaneParts, 'choice' | 'times' | 'mostMs' | 'random'>> {
  readonly workerId?: string
  /** Claims, one after the other; default: 1. */
  readonly claims?: number
  readonly limit?: number
  /** A way to the database that several lanes share; default: one of its own. */
  readonly database?: Database
  /** In place of `started`. */
  readonly onStart?: (jobs: readonly ExpressJob[]) => void
  /** Of the lane's session; default: as of all else. */
  readonly connectionString?: string
  readonly hungAfterMs?: number
  /** Other statements for the lane's session. */
  readonly statements?: (statements: Statements) => Statements
  /** A session in its place, as that of a driver with a fault. */
  readonly disguise?: (session: LaneSession, database: Database) => LaneSession
  /** false: the lane does not hear that its session is lost. */
  readonly hearsLoss?: false
  /** Its process is dead by the end of the test: nobody closes the lane. */
  readonly dies?: true
  /** What goes by the pool in its place. */
  readonly query?: (query: Query) => Query
}

/** For a lane that is cut by the test only. */
const longMs = 60_000

/** Opens a lane on the queue 'q', as worker 7 by default, whose row is there from then on. */
export async function openLane(db: TestDatabase, options: LaneOptions = {}): Promise<LaneUnderTest> {
  const { workerId = '7', claims = 1, limit = 500, disguise = (session) => session, hungAfterMs = 300_000 } = options
  const database = options.database ?? operator(db).database
  await database.ready()
  const way =
    options.connectionString === undefined
      ? database
      : operator(db, { connectionString: options.connectionString }).database
  await way.ready()
  const ownWay = { ...way, link: way.link, statements: options.statements?.(way.statements) ?? way.statements }
  const query = options.query?.(database.query) ?? database.query
  await insertWorker(db, workerId)
  const pauses = createPauses(Math.random)
  const settler = createSettler({
    write: (batch) => writeOutcomes(query, batch),
    writeNone: (like) => writeNoOutcome(query, like),
    isHeld: () => false,
    onError: () => {},
    onRefused: () => {},
    random: Math.random,
  })
  const batches: (readonly ExpressJob[])[] = []
  const acked: [string, Settled['is']][] = []
  const lost: string[] = []
  let claimsLeft = claims
  let opened: LaneSession | undefined
  const lane = createLane({
    openSession: async (onLost) => {
      opened = disguise(
        await openLaneSession(ownWay, hungAfterMs, (options.hearsLoss ?? true) ? onLost : () => {}),
        ownWay,
      )
      return opened
    },
    query,
    settler,
    pauses,
    choice: { queue: 'q', kinds: null, withoutFlags: [] },
    workerId,
    next: () => {
      claimsLeft -= 1
      return claimsLeft < 0 ? null : { limit, from: null }
    },
    times: { claimed: () => true, written: () => true },
    mostOthers: 3,
    mostMs: longMs,
    random: Math.random,
    start: options.onStart ?? ((jobs) => void batches.push(jobs)),
    takeBack: () => {},
    acked: (job, { is }) => void acked.push([job.claimed.job.id, is]),
    leaseLost: (job) => void lost.push(job.claimed.job.id),
    lost: () => {},
    ...(options.choice && { choice: options.choice }),
    ...(options.times && { times: options.times }),
    ...(options.mostMs && { mostMs: options.mostMs }),
    ...(options.random && { random: options.random }),
  })
  const over = lane.run()
  if (!options.dies) onTestFinished(() => lane.close())
  let taken = 0
  return {
    lane,
    database,
    over,
    session() {
      if (opened === undefined) throw new Error('the lane is not open')
      return opened
    },
    async started() {
      taken += 1
      return until(() => batches[taken - 1])
    },
    acked,
    lost,
  }
}

export async function insertWorker(db: TestDatabase, id: string): Promise<void> {
  await db.sql.unsafe(`
    insert into ${db.s}.worker (id, name, host, pid, version) values (${id}, 'w', 'h', 1, '1') on conflict do nothing`)
}

/** Plain jobs of the queue 'q', as a put writes them. @returns their ids */
export async function putRows(db: TestDatabase, count: number, queue = 'q'): Promise<string[]> {
  const rows = await db.sql.unsafe<{ id: string }[]>(`
    insert into ${db.s}.job (queue, payload) select '${queue}', to_jsonb(n) from generate_series(1, ${count}) as n
    returning id`)
  return rows.map(({ id }) => id)
}

export function idsOf(jobs: readonly ExpressJob[]): string[] {
  return jobs.map(({ claimed }) => claimed.job.id)
}

/** Begins and acks each of them. */
export function ackAll(jobs: readonly ExpressJob[]): void {
  for (const job of jobs) {
    job.begin()
    job.ack()
  }
}
