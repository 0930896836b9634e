import { isJobId, jobId, knownKeys, label, moment, oneOf, queueName, wholeNumber } from '../checks.js'
import { BugleError, describe } from '../errors.js'
import { type JobRecord, type JobRow, type JobState, jobStates, toRecord } from './record.js'
import { type AdminParts, send } from './send.js'

/** Which jobs `jobs` lists. What is left out is not asked. */
export interface JobsFilter<Queue extends string = string, Contents extends boolean = boolean>
  extends ContentsOption<Contents> {
  readonly queue?: Queue | undefined
  readonly state?: JobState | undefined
  readonly kind?: string | undefined
  /** Created then or later. */
  readonly since?: Date | undefined
  /** Jobs per page, 1 to 1000. @defaultValue 100 */
  readonly limit?: number | undefined
  /** Where the page before ended: its `cursor`. */
  readonly cursor?: string | null | undefined
}

const jobsDefaults = { limit: 100, contents: true } as const satisfies Partial<JobsFilter>

/** What `job` and `jobs` take beside. */
export interface ContentsOption<Contents extends boolean = boolean> {
  /**
   * Whether payload, progress and result are read. false: they are null, whatever they are, and no memory is needed for
   * them. @defaultValue true
   */
  readonly contents?: Contents | undefined
}

/** What `jobs` answers with. */
export interface JobsPage<Found = JobRecord> {
  /**
   * The newest id first. At most `limit`, and fewer where they are heavy: a page ends with the job by which its
   * payloads, progress, results and errors come to 16 MB of JSON.
   */
  readonly jobs: readonly Found[]
  /** For the next page; null: this was the last one. */
  readonly cursor: string | null
}

/**
 * One job, wherever it is.
 *
 * @returns null where there is none: it never was, or was acked, or collected
 * @throws BugleError `INVALID_OPTION`, `DATABASE_DOWN`, `NO_PRIVILEGE`, `NOT_MIGRATED`, `SCHEMA_TOO_NEW`, `CLOSED`
 * @see sql/statements/jobs_find.sql, parts/jobs_find.page.job_find.sql
 */
export async function findJob(parts: AdminParts, id: string, options: ContentsOption = {}): Promise<JobRecord | null> {
  const { database } = parts
  knownKeys('job options', options, ['contents'])
  const contents = withContents(options)
  const parameters = [String(contents), jobId(id)]
  const [row] = await send<JobRow>(database, 'job_find', parameters, { name: 'job', effect: 'reads' })
  return row === undefined ? null : toRecord(row, decodeOf(parts, contents))
}

/**
 * A page of jobs, archived ones included, newest id first.
 *
 * Pages are told apart by id: a job that is there throughout is on exactly one of them, whatever is put or ends
 * meanwhile. A filter that few jobs match may read the whole table; it is given a minute.
 *
 * @throws BugleError `INVALID_OPTION`, `INVALID_QUEUE`, `DATABASE_DOWN`, `NO_PRIVILEGE`, `NOT_MIGRATED`,
 *   `SCHEMA_TOO_NEW`, `CLOSED`
 * @see sql/statements/jobs_find.sql
 */
export async function findJobs(parts: AdminParts, filter: JobsFilter = {}): Promise<JobsPage> {
  const { database } = parts
  const { contents, before, limit, queue, state, kind, sinceMs } = resolveJobsFilter(filter)
  // One more than asked for tells whether there is a next page.
  const parameters = [String(contents), before, limit + 1, queue, state, kind, sinceMs]
  const rows = await send<JobRow>(database, 'jobs_find', parameters, { name: 'jobs', effect: 'reads' })
  const jobs = rows.slice(0, limit).map((row) => toRecord(row, decodeOf(parts, contents)))
  const last = jobs.at(-1)
  const isFollowed = rows[jobs.length - 1]?.isFollowed === true
  return { jobs, cursor: isFollowed && last !== undefined ? toCursor(last.id) : null }
}

/** Without contents there is nothing to decode. */
function decodeOf({ decode }: AdminParts, contents: boolean): (stored: unknown) => unknown {
  return contents && decode !== undefined ? decode : (stored) => stored
}

function resolveJobsFilter(filter: JobsFilter) {
  knownKeys('jobs filter', filter, ['queue', 'state', 'kind', 'since', 'limit', 'cursor', 'contents'])
  const { state, limit = jobsDefaults.limit, cursor } = filter
  return {
    ...resolveWhich(filter),
    contents: withContents(filter),
    state: state === undefined ? null : oneOf('state', state, jobStates),
    limit: wholeNumber('limit', limit, { min: 1, max: 1_000 }),
    before: cursor === undefined || cursor === null ? null : fromCursor(cursor),
  }
}

function withContents({ contents = jobsDefaults.contents }: ContentsOption): boolean {
  return oneOf('contents', contents, [true, false])
}

/** What filters of jobs have in common; null: not asked. */
export function resolveWhich({ queue, kind, since }: Pick<JobsFilter, 'queue' | 'kind' | 'since'>) {
  return {
    queue: queue === undefined ? null : queueName(queue),
    kind: kind === undefined ? null : label('kind', kind, 128),
    sinceMs: since === undefined ? null : Math.max(earliestMs, moment('since', since).getTime()),
  }
}

/** The year 1: a Date can be earlier than a timestamp. */
const earliestMs = -62_135_596_800_000

// Opaque, so that what is in it can change.
function toCursor(lastId: string): string {
  return Buffer.from(`before ${lastId}`).toString('base64url')
}

function fromCursor(cursor: unknown): string {
  const text = typeof cursor === 'string' ? Buffer.from(cursor, 'base64url').toString('latin1') : ''
  const id = text.slice('before '.length)
  if (isJobId(id) && toCursor(id) === cursor) return id
  throw new BugleError('INVALID_OPTION', `cursor must be one that jobs() answered with; got ${describe(cursor)}`)
}
