import { AsyncResource } from 'node:async_hooks'
import { hostname } from 'node:os'
import type { Bugle } from '../../src/bugle.js'
import { type DecisionParts, decide, endingOf } from '../../src/consume/run/decision.js'
import type { Settled } from '../../src/consume/settle/ending.js'
import { createSettler, type Settler } from '../../src/consume/settle/settler.js'
import { type Choice, type ClaimRequest, claimJobs, promoteJobs, writeOutcomes } from '../../src/consume/statements.js'
import { createBugle } from '../../src/create-bugle.js'
import { createDatabase } from '../../src/database/database.js'
import { loadStatements } from '../../src/database/statements.js'
import { resolveBugleOptions } from '../../src/options.js'
import { ack, failure, type Outcome, partial, reject, release, retry } from '../../src/outcome.js'
import { createPayloads } from '../../src/payloads.js'
import { version } from '../../src/version.js'
import type { TestDatabase } from './database.js'
import { byId, type Row, type Snapshot } from './model.js'
import type { Claimer, OutcomePlan } from './model-commands.js'
import { type ClaimedWithAcks, mostRuns, type Run } from './model-work.js'
import { untoldOutage, untoldPrimary } from './untold.js'

/** The library and its tables. Every statement is production's, sent by the function that sends it there. */
export interface System {
  readonly bugle: Pick<Bugle, 'put' | 'putMany' | 'requeue' | 'cancel' | 'collect'>
  readonly workerIds: Readonly<Record<Claimer, string>>
  claim(workerId: string, choice: Choice & { limit: number }, request: ClaimRequest): Promise<ClaimedWithAcks>
  promote(queue: string, limit: number): Promise<{ promoted: number; dueInMs: number | null }>
  /** All at once, as handlers that end in the same turn of the event loop. */
  settle(workerId: string, runs: readonly Run[]): Promise<Settled[]>
  /** Everything moves into the past. */
  pass(hours: number): Promise<void>
  /** @param now - what the model's clock shows, in whole hours */
  look(now: number): Promise<Snapshot>
  /** Empty the tables. */
  clear(): Promise<void>
  end(): Promise<void>
}

export const hourMs = 3_600_000

/** DELETE is faster for so few rows, but later scans walk over dead rows: so TRUNCATE comes after so many runs. */
const runsToTruncate = 200

export async function createSystem(db: TestDatabase): Promise<System> {
  const { connectionString, schema, s } = db
  const bugle = createBugle({ connectionString, schema, sweepMs: 0, poolSize: 2, logger: false })
  const options = resolveBugleOptions({ connectionString, schema, poolSize: 2 }, {})
  const database = createDatabase({
    ...options,
    statements: loadStatements(schema),
    outage: untoldOutage(),
    primary: untoldPrimary(),
  })
  await database.ready()
  const workerIds = { first: '7001', second: '7002', nobody: '7003' }
  for (const id of [workerIds.first, workerIds.second]) {
    await database.query('worker_insert', [id, 'model', hostname(), process.pid, version, 60_000, 300_000])
  }

  const scope = new AsyncResource('ModelRun')
  const payloads = createPayloads(options)
  const decisionParts: DecisionParts = {
    retryStrategy: ({ attempt }) => ({ maxAttempts: mostRuns, delaysMs: attempt * hourMs }),
    keep: 'failed',
    encode: (what, value) => payloads.encode(value, what),
    onBrokenStrategy: (error) => {
      throw error
    },
  }
  const writeErrors: unknown[] = []
  const settlers = new Map<string, Settler>()

  function settlerOf(workerId: string): Settler {
    const settler =
      settlers.get(workerId) ??
      createSettler({
        write: async (batch) => {
          try {
            return await writeOutcomes(database.query, batch)
          } catch (error) {
            // It would be sent again until it succeeds; but nobody else is there whose doings could pass.
            writeErrors.push(error)
            return []
          }
        },
        writeNone: async () => {},
        isHeld: () => false,
        onError: (error) => writeErrors.push(error),
        onRefused: (_, error) => writeErrors.push(error),
        random: Math.random,
      })
    settlers.set(workerId, settler)
    return settler
  }

  async function settle(workerId: string, { claim, outcome, value }: Run): Promise<Settled> {
    const { job, lease } = claim
    const keep = outcome.is === 'archive' ? 'all' : 'failed'
    const decision = await decide({ ...decisionParts, keep }, job, toOutcome(outcome, value), { reason: null, scope })
    const ending = endingOf(decision, job.attempt)
    const { id, attempt } = job
    return settlerOf(workerId).settle({ id, lease, workerId, attempt, ending, ackedInTransaction: false })
  }

  let clears = 0
  return {
    bugle,
    workerIds,
    claim: (workerId, choice, request) => claimJobs(database, choice, choice.limit, workerId, request),
    promote: (queue, limit) => promoteJobs(database, queue, limit),
    async settle(workerId, runs) {
      const settled = await Promise.all(runs.map((run) => settle(workerId, run)))
      if (writeErrors.length > 0) throw writeErrors.splice(0)[0]
      return settled
    },
    async pass(hours) {
      await db.sql.unsafe(passTime(s), [hours], { prepare: true })
    },
    async look(now) {
      const rows = await db.sql.unsafe<(Row & { runAtMicros: number; finishedAtMicros: number })[]>(
        snapshot(s),
        [now],
        { prepare: true },
      )
      return {
        rows: rows.map(({ runAtMicros: _, finishedAtMicros: __, ...row }) => row).sort(byId),
        times: new Map(rows.map((row) => [row.id, row])),
      }
    },
    async clear() {
      clears += 1
      if (clears % runsToTruncate === 0) await db.sql.unsafe(`truncate ${s}.job, ${s}.archive`)
      else await db.sql.unsafe(`with gone as (delete from ${s}.job) delete from ${s}.archive`, [], { prepare: true })
    },
    async end() {
      await Promise.all([bugle.close(), database.end()])
    },
  }
}

function toOutcome(plan: OutcomePlan, value: number): Outcome {
  switch (plan.is) {
    case 'ack':
    case 'archive':
      return ack(value)
    case 'reject':
      return reject('no')
    case 'error':
      return failure(new Error('broken'))
    case 'retry':
      return retry(plan.inHours === undefined ? { reason: 'busy' } : { reason: 'busy', delayMs: plan.inHours * hourMs })
    case 'release':
      return release({ delayMs: plan.inHours * hourMs })
    case 'partial':
      return partial(value, { delayMs: plan.inHours * hourMs })
  }
}

function passTime(s: string): string {
  const earlier = (table: string, columns: readonly string[]): string =>
    `update ${s}.${table} set ${columns.map((column) => `${column} = ${column} - $1::int * interval '1 h'`)}`
  const columns = ['run_at', 'created_at', 'claimed_at', 'finished_at']
  return `with archived as (${earlier('archive', columns)}) ${earlier('job', columns)}`
}

/** The columns in the order of Row's fields. */
function snapshot(s: string): string {
  const hour = (column: string): string =>
    `$1::int + round(extract(epoch from ${column} - clock_timestamp()) / 3600)::int`
  const common = `
    priority, attempt, max_attempts as "maxAttempts", lease::text as lease, worker_id::text as "workerId", key,
    array_to_string(flags, ',') as flag, progress`
  const times = `
    ${hour('created_at')} as "createdAt", ${hour('run_at')} as "runAt",
    case when state not in ('ready', 'scheduled') then ${hour('claimed_at')} end as "claimedAt",
    ${hour('finished_at')} as "finishedAt",
    (extract(epoch from run_at) * 1000000)::float8 as "runAtMicros",
    (extract(epoch from finished_at) * 1000000)::float8 as "finishedAtMicros"`
  return `
    select
      id::text as id, queue, state, kind, payload, ${common}, null::jsonb as result,
      cancel_requested_at is not null as "isCancelRequested",
      case when last_error is not null then concat_ws(
        ' ', last_error ->> 'failedBy', last_error ->> 'attempt', last_error ->> 'message',
        last_error #>> '{cause,failedBy}'
      ) end as error,
      ${times}
    from ${s}.job
    union all
    select id::text, queue, state, kind, payload, ${common}, result, false, null, ${times}
    from (select *, 'archived' as state from ${s}.archive) as archive`
}
