import { idArray, isJobId, jobId, knownKeys, label, moment, oneOf, queueName, wholeNumber } from '../checks.js'
import { BugleError, describe } from '../errors.js'
import { encodePayload } from '../payload.js'
import { type JobRecord, type JobRow, type JobState, jobStates, toRecord } from './record.js'
import { type AdminParts, send, sendForOne } from './send.js'

/** Which jobs `jobs` lists. What is left out is not asked. */
export interface JobsFilter<Queue extends string = string, Contents extends boolean = boolean>
  extends ContentsOption<Contents> {
  readonly queue?: Queue | undefined
  readonly state?: JobState | undefined
  readonly kind?: string | undefined
  /** Created then or later. */
  readonly since?: Date | undefined
  /**
   * What the payload, as it is stored, contains: of an object these properties at least, of an array these elements
   * (PostgreSQL's `@>`). No index helps: payloads are read, of 10,000 jobs and 64 MB a page at the most.
   */
  readonly containing?: unknown
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
  /**
   * With `containing`: the look at payloads has ended at its bound before the page was full. There may be more such
   * jobs: go on with the cursor.
   */
  readonly isCut: boolean
}

/** Payloads that a page reads to find those that contain something. */
const mostRead = 10_000

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
  const resolved = resolveJobsFilter(filter)
  if (resolved.containing !== null) return findContaining(parts, resolved)
  const { contents, before, limit, queue, state, kind, sinceMs } = resolved
  // One more than asked for tells whether there is a next page.
  const parameters = [String(contents), before, limit + 1, queue, state, kind, sinceMs]
  const rows = await send<JobRow>(database, 'jobs_find', parameters, { name: 'jobs', effect: 'reads' })
  const jobs = rows.slice(0, limit).map((row) => toRecord(row, decodeOf(parts, contents)))
  const last = jobs.at(-1)
  const isFollowed = rows[jobs.length - 1]?.isFollowed === true
  return { jobs, cursor: isFollowed && last !== undefined ? toCursor(last.id) : null, isCut: false }
}

interface Contained {
  readonly ids: readonly string[]
  /** The lowest id that was looked at; null: none was there. */
  readonly last: string | null
  /** The look has ended at one of its bounds. */
  readonly isCut: boolean
}

/**
 * First the ids, then those jobs: what ends in between is left out.
 *
 * @see sql/statements/jobs_containing.sql, parts/jobs_find.page.jobs_listed.sql
 */
async function findContaining(parts: AdminParts, asked: ReturnType<typeof resolveJobsFilter>): Promise<JobsPage> {
  const { contents, before, limit, containing, queue, state, kind, sinceMs } = asked
  const call = { name: 'jobs', effect: 'reads' } as const
  const rest = [queue, state, kind, sinceMs]
  const looked = [containing, before, limit, mostRead, ...rest]
  const { ids, last, isCut } = await sendForOne<Contained>(parts.database, 'jobs_containing', looked, call)
  const listed = [String(contents), idArray(ids), limit, ...rest]
  const rows = ids.length === 0 ? [] : await send<JobRow>(parts.database, 'jobs_listed', listed, call)
  const jobs = rows.map((row) => toRecord(row, decodeOf(parts, contents)))
  // Heavy jobs have ended the page sooner.
  const heavy = rows.at(-1)?.isFollowed === true ? (rows.at(-1)?.id ?? null) : null
  const end = heavy ?? (isCut ? last : null)
  return { jobs, cursor: end === null ? null : toCursor(end), isCut: heavy === null && isCut && ids.length < limit }
}

/** Without contents there is nothing to decode. */
function decodeOf({ decode }: AdminParts, contents: boolean): (stored: unknown) => unknown {
  return contents && decode !== undefined ? decode : (stored) => stored
}

function resolveJobsFilter(filter: JobsFilter) {
  knownKeys('jobs filter', filter, ['queue', 'state', 'kind', 'since', 'containing', 'limit', 'cursor', 'contents'])
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
export function resolveWhich(filter: Pick<JobsFilter, 'queue' | 'kind' | 'since' | 'containing'>) {
  const { queue, kind, since, containing } = filter
  return {
    /** As JSON text. */
    containing:
      containing === undefined
        ? null
        : encodePayload(containing, { what: 'containing', maxBytes: mostContainingBytes }),
    queue: queue === undefined ? null : queueName(queue),
    kind: kind === undefined ? null : label('kind', kind, 128),
    sinceMs: since === undefined ? null : Math.max(earliestMs, moment('since', since).getTime()),
  }
}

/** Of a filter: more is a slip. */
const mostContainingBytes = 1_048_576

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
