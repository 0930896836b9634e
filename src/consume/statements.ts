import type { Database, Query } from '../database/database.js'
import { callError } from '../database/fault.js'
import { isRefusal, sendInParts } from '../database/halving.js'
import type { StatementName } from '../database/statements.js'
import { BugleError, jobRefused } from '../errors.js'
import { inTransaction } from '../transactions/transaction.js'
import type { ClaimOfDue } from './claim/due.js'
import type { ClaimAnswer } from './claim/loop-parts.js'
import type { ClaimedJob } from './claimed-job.js'
import { type Ending, givenBack, type RowAsClaimed, type Settlement } from './settle/ending.js'
import type { Answer, Answers } from './settle/pending.js'

interface ClaimRow {
  readonly id: string | null
  readonly kind: string | null
  /** JSON text, as progress is. null: of the row that holds the signs. */
  readonly payload: string | null
  readonly attempt: number
  readonly lease: string
  readonly crashes: number
  readonly priority: number
  readonly key: string | null
  readonly flags: (string | null)[] | null
  readonly maxAttempts: number | null
  readonly timeoutMs: number | null
  readonly progress: string | null
  /** Seconds since 1970. */
  readonly createdAt: number
  /** null: as createdAt. */
  readonly runAt: number | null
  readonly signs: Signs | null
}

/** As the statement builds them. */
interface Signs {
  readonly claimed_at: number
  readonly took_ms: number
  readonly acked: readonly string[] | null
  readonly suspects: readonly string[] | null
  readonly short: null | {
    readonly xmin: string
    readonly target: string
    readonly left_behind: boolean
    readonly due_in_ms: number | null
    readonly paused: boolean
  }
}

/** Which of a queue's jobs a consumer takes. */
export interface Choice {
  readonly queue: string
  /** null: any kind, and none. */
  readonly kinds: readonly string[] | null
  readonly withoutFlags: readonly string[]
}

/** What a claim is to do beside claiming. */
export interface ClaimRequest {
  /** Plain acks of the same worker id, to be settled with it. */
  readonly acks: readonly Pick<Settlement, 'id' | 'lease'>[]
  /** Look for ready jobs with a higher id only; null: for all. */
  readonly from: string | null
  /** Whether to look for jobs that were left behind. */
  readonly proves: boolean
  /** By default it looks at all of the consumer's. */
  readonly narrowed?: Narrowed
  /**
   * Whether a crash of the server may forget it, so that its answer need not wait for the disk: default: no. It is
   * durable all the same where it carries acks, or is narrowed: a suspect's crashes must be counted.
   */
  readonly mayBeForgotten?: boolean
}

/** Which jobs a claim looks at that takes care (claimer.ts). The others count neither as found nor as left behind. */
export type Narrowed =
  /** Those, suspects too; the limit is their number. */
  | { readonly ids: readonly string[] }
  | {
      /** It looks past suspects; otherwise it counts them, and takes the others. */
      readonly withoutSuspects: boolean
      readonly except: readonly string[]
    }

/** Below every id: a claim from here on looks at all jobs. */
export const lowestId = '-9223372036854775808'

/** What the database answers; the sender knows how long that took. */
export type Claimed = Omit<ClaimAnswer<ClaimedJob>, 'tripMs'> & ClaimOfDue

export interface ClaimResult {
  readonly claimed: Claimed
  /** The ids of the acks that matched; null: all of them. */
  readonly acked: readonly string[] | null
  /** How long the statement took on the server, in ms. */
  readonly tookMs: number
  /** Those of the first ready jobs, `limit` at most, that were not taken, since a process has died under them. */
  readonly suspects: readonly string[]
}

/**
 * Claim up to `limit` ready jobs of one queue; and settle acks in the same statement.
 *
 * Jobs that another session has locked are skipped, not waited for, so no two callers get the same job.
 * Order: highest priority first, then id.
 *
 * @returns 0 to `limit` jobs, `attempt` and lease already raised; and the signs that the sleep protocol reads
 * @see sql/statements/claim.sql
 * @see sql/statements/parts/claim.picked.claim_kinds.sql
 * @see sql/statements/parts/claim.asked.claim_some.sql
 * @see sql/statements/parts/claim.picked.claim_listed.sql
 */
export async function claimJobs(
  database: Database,
  choice: Choice,
  limit: number,
  workerId: string,
  { acks, from, proves, narrowed, mayBeForgotten = false }: ClaimRequest,
): Promise<ClaimResult> {
  const { queue } = choice
  const [statement, ...more] = narrowed === undefined ? ofChoice(choice) : ofNarrowed(choice, narrowed)
  const rows = await database.query<ClaimRow>(statement, [
    queue,
    limit,
    workerId,
    flagsOf(choice),
    ...(acks.length === 0 ? [null, null] : fencesOf(acks)),
    from ?? lowestId,
    String(proves),
    String(mayBeForgotten && acks.length === 0 && narrowed === undefined),
    ...more,
  ])
  const signs = rows.pop()?.signs
  if (signs == null) throw new Error('a claim ended without its signs')
  const { short } = signs
  const jobs = inClaimOrder(rows).map((row) => toClaimedJob(queue, row, workerId, signs.claimed_at))
  return {
    claimed: {
      asked: limit,
      found: jobs.length,
      jobs,
      leftBehind: short?.left_behind ?? false,
      xmin: BigInt(short?.xmin ?? 0),
      target: BigInt(short?.target ?? 0),
      dueInMs: short === null ? 'unknown' : short.due_in_ms,
      paused: short?.paused ?? false,
    },
    acked: signs.acked,
    tookMs: signs.took_ms,
    suspects: signs.suspects ?? none,
  }
}

const none: readonly string[] = []

type ClaimStatement = readonly [name: StatementName, ...more: (string | null)[]]

function ofChoice(choice: Choice): ClaimStatement {
  const kinds = kindsOf(choice)
  return kinds === null ? ['claim'] : ['claim_kinds', kinds]
}

function ofNarrowed(choice: Choice, narrowed: Narrowed): ClaimStatement {
  if ('ids' in narrowed) return ['claim_listed', numberArray(narrowed.ids)]
  return ['claim_some', kindsOf(choice), String(narrowed.withoutSuspects), numberArray(narrowed.except)]
}

/**
 * The jobs that a claim would take, in the order of claiming, locked or not.
 *
 * @see sql/statements/claimable.sql
 */
export async function claimableJobs(
  database: Database,
  choice: Choice,
  limit: number,
  except: readonly string[],
): Promise<string[]> {
  const given = [choice.queue, limit, flagsOf(choice), kindsOf(choice), numberArray(except)]
  return (await database.query<{ id: string }>('claimable', given)).map(({ id }) => id)
}

/** As the statements take them. */
export function flagsOf({ withoutFlags }: Choice): string | null {
  return withoutFlags.length === 0 ? null : textArray(withoutFlags)
}

function kindsOf({ kinds }: Choice): string | null {
  return kinds && textArray(kinds)
}

/**
 * When the next scheduled job is due that this consumer may take, but for those of `except`.
 *
 * @returns in so many ms; 0 or less: it is; null: there is none
 * @see sql/statements/scheduled.sql
 */
export async function nextScheduled(
  database: Database,
  choice: Choice,
  except: readonly string[],
): Promise<number | null> {
  const given = [choice.queue, kindsOf(choice), flagsOf(choice), numberArray(except)]
  const [row] = await database.query<{ dueInMs: number | null }>('scheduled', given)
  return row?.dueInMs ?? null
}

/** The rows come by id. */
function inClaimOrder(rows: ClaimRow[]): ClaimRow[] {
  const first = rows[0]?.priority
  return rows.every((row) => row.priority === first) ? rows : rows.sort((a, b) => b.priority - a.priority)
}

/** For jobs of several claims. */
export function byClaimOrder({ job: one }: ClaimedJob, { job: other }: ClaimedJob): number {
  return other.priority - one.priority || (isLess(one.id, other.id) ? -1 : 1)
}

const noFlags: readonly string[] = Object.freeze([])

function toClaimedJob(queue: string, row: ClaimRow, workerId: string, claimedAt: number): ClaimedJob {
  const { payload, progress } = row
  const createdAt = momentOf(row.createdAt)
  const runAt = row.runAt === null ? createdAt : momentOf(row.runAt)
  return {
    job: Object.freeze({
      id: row.id ?? '',
      queue,
      kind: row.kind,
      payload: fromJson(payload),
      attempt: row.attempt,
      maxAttempts: row.maxAttempts,
      crashes: row.crashes,
      priority: row.priority,
      key: row.key,
      flags: row.flags === null ? noFlags : Object.freeze(row.flags.filter((flag) => flag !== null)),
      progress: fromJson(progress),
      createdAt: toDate(createdAt),
      runAt: toDate(runAt),
    }),
    lease: row.lease,
    workerId,
    bytes: (payload?.length ?? 0) + (progress?.length ?? 0),
    timeoutMs: row.timeoutMs,
    waitMs: Math.max(0, claimedAt - Math.max(createdAt, runAt)) * 1e3,
  }
}

function fromJson(text: string | null): unknown {
  return text === null ? null : JSON.parse(text)
}

/** Seconds since 1970 from the first moment to the last that a Date can be: a row written by hand may hold infinity. */
function momentOf(seconds: number): number {
  return Math.min(Math.max(seconds, -8.64e12), 8.64e12)
}

/** To whole microseconds first, which is what was stored: a sum of binary fractions may lie just below. */
function toDate(seconds: number): Date {
  return new Date(Math.round(seconds * 1e6) / 1e3)
}

/**
 * Make up to `limit` due jobs of one queue ready; their trigger wakes consumers that sleep.
 *
 * @param narrowed - by default all of the queue's
 * @returns also until the nearest that is still scheduled is due: 0 or less: it is; null: there is none
 * @see sql/statements/promote.sql
 */
export async function promoteJobs(
  database: Database,
  queue: string,
  limit: number,
  { only, except }: { readonly only: readonly string[] | null; readonly except: readonly string[] } = everyDue,
): Promise<Promoted> {
  const given = [queue, limit, only && numberArray(only), numberArray(except)]
  const [row] = await database.query<Promoted>('promote', given)
  return row ?? { promoted: 0, dueInMs: null }
}

const everyDue = { only: null, except: [] } as const

interface Promoted {
  readonly promoted: number
  readonly dueInMs: number | null
}

/**
 * The due jobs of one queue, the longest due first, locked or not.
 *
 * @see sql/statements/promotable.sql
 */
export async function promotableJobs(
  database: Database,
  queue: string,
  limit: number,
  except: readonly string[],
): Promise<string[]> {
  const rows = await database.query<{ id: string }>('promotable', [queue, limit, numberArray(except)])
  return rows.map(({ id }) => id)
}

/**
 * Settle many outcomes in one statement, each only while its lease is still ours.
 *
 * @param batch - of one worker id; plain acks only, acks of a lane only, or none of either
 * @returns those that did not match, and of jobs that wait from when on
 * @see sql/statements/settle.sql
 * @see sql/statements/settle_express.sql
 * @see sql/statements/settle_other.sql
 */
export async function writeOutcomes(query: Query, batch: readonly Written[]): Promise<Answers> {
  const [first] = batch
  if (first === undefined) return []
  if (first.ending.is === 'acked') {
    return query<Answer>('settle', [first.workerId, ...fencesOf(batch)])
  }
  if (first.ending.is === 'acked-on-lane') {
    const rows = batch.flatMap(({ id, ending }) => (ending.is === 'acked-on-lane' ? { id, ...ending.asClaimed } : []))
    return query<Answer>('settle_express', rowsAsClaimed(inIdOrder(rows)))
  }
  return query<Answer>('settle_other', [first.workerId, `[${batch.map(outcomeText).join(',')}]`])
}

/** The same statement as for outcomes like this one, but for no job: it shows whether the server takes any at all. */
export async function writeNoOutcome(query: Query, { workerId, ending }: Written): Promise<void> {
  if (ending.is === 'acked') await query('settle', [workerId, '{}', '{}'])
  else if (ending.is === 'acked-on-lane') await query('settle_express', rowsAsClaimed([]))
  else await query('settle_other', [workerId, '[]'])
}

type Written = Pick<Settlement, 'id' | 'lease' | 'workerId' | 'ending'>
type Fence = Pick<Settlement, 'id' | 'lease'>

/**
 * Give rows back that this worker owns and that no run explains: the answer to their claim was lost. Each only while
 * its lease is the one that was seen.
 *
 * @throws BugleError `JOB_REFUSED` if the database refuses some of them: the others are given back
 */
export async function giveBack(
  query: Query,
  workerId: string,
  rows: readonly { readonly id: string; readonly lease: string }[],
): Promise<void> {
  const batch = rows.map(({ id, lease }) => ({ id, lease, workerId, ending: givenBack }))
  try {
    await writeOutcomes(query, batch)
  } catch (refusal) {
    if (!isRefusal(refusal)) throw refusal
    const [first] = await sendInParts(batch, {
      send: (part) => writeOutcomes(query, part),
      sendNone: () => query('settle_other', [workerId, '[]']),
    })
    if (first !== undefined) throw jobRefused(first.member.id, 'cannot be given back', first.error)
  }
}

/**
 * Ack one job inside the caller's transaction.
 *
 * @param archived - null: the job is deleted
 * @throws BugleError `LEASE_LOST`, `INVALID_OPTION`, `NO_PRIVILEGE`, `NOT_MIGRATED`, `DATABASE_DOWN`: nothing was
 *   written; `RESULT_UNKNOWN`; the driver's error
 */
export async function ackInTransaction(
  { statements }: Database,
  tx: unknown,
  { job: { id }, lease, workerId }: ClaimedJob,
  archived: (Ending & { readonly is: 'archived' }) | null,
): Promise<void> {
  const send = inTransaction(tx)
  const written =
    archived === null
      ? send(statements.settle, [workerId, ...fencesOf([{ id, lease }])])
      : send(statements.settle_other, [workerId, `[${outcomeText({ id, lease, workerId, ending: archived })}]`])
  const missed = await written.catch((error) => {
    throw callError('ctx.ack', error, 'writes')
  })
  if (missed.length === 0) return
  throw new BugleError('LEASE_LOST', `job ${id} is no longer ours to ack: its lease was taken over, or it is settled`)
}

/** As JSON text: result and progress are JSON already. */
function outcomeText({ id, lease, ending }: Written): string {
  const head = `"id":"${id}","lease":"${lease}","end":"${ending.is}"`
  switch (ending.is) {
    case 'archived':
      return `{${head},"result":${ending.result}${keptText(ending)}}`
    case 'waiting': {
      const { delayMs, keptAttempt, error, progress } = ending
      const errorText = `"error":${JSON.stringify(error)}`
      const progressText = progress === null ? '' : `,"has_progress":true,"progress":${progress}`
      return `{${head},"delay_ms":${delayMs},"kept_attempt":${keptAttempt},${errorText}${progressText}}`
    }
    case 'failed':
      return `{${head},"error":${JSON.stringify(ending.error)}}`
    case 'acked':
    case 'acked-on-lane':
      throw new Error('an ack has a statement of its own')
  }
}

function keptText({ keptForMs }: { readonly keptForMs?: number }): string {
  return keptForMs === undefined ? '' : `,"keep_ms":${keptForMs}`
}

/** Ids and leases, as two arrays in the order of ids: the statements find a lease by halves. */
function fencesOf(fences: readonly Fence[]): [ids: string, leases: string] {
  const sorted = inIdOrder(fences)
  return [numberArray(sorted.map(({ id }) => id)), numberArray(sorted.map(({ lease }) => lease))]
}

/** Rows as a lane has claimed them, by ascending id, for the statements that look for each as it was. */
export function rowsAsClaimed(rows: readonly ({ readonly id: string } & RowAsClaimed)[]): string[] {
  return [
    numberArray(rows.map(({ id }) => id)),
    numberArray(rows.map(({ lease }) => lease)),
    numberArray(rows.map(({ createdAt }) => createdAt)),
    numberArray(rows.map(({ runAt }) => runAt)),
    numberArray(rows.map(({ version }) => version)),
  ]
}

export function inIdOrder<Row extends { readonly id: string }>(rows: readonly Row[]): readonly Row[] {
  return rows.every(({ id }, index) => index === 0 || isLess(rows[index - 1]?.id ?? '', id))
    ? rows
    : rows.toSorted((one, other) => (isLess(one.id, other.id) ? -1 : 1))
}

function isLess(one: string, other: string): boolean {
  // Ids are positive, unless somebody has inserted another by hand.
  if (one.startsWith('-') || other.startsWith('-')) return BigInt(one) < BigInt(other)
  return one.length === other.length ? one < other : one.length < other.length
}

// The elements are decimal strings only, so nothing needs quoting.
export function numberArray(numbers: readonly string[]): string {
  return `{${numbers.join(',')}}`
}

function textArray(texts: readonly string[]): string {
  return `{${texts.map((text) => `"${text.replaceAll(/["\\]/g, '\\$&')}"`).join(',')}}`
}
