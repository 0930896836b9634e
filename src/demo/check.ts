import { type Again, readAgain } from './again.js'
import type { FoundFile } from './files.js'
import type { JobLeft, Result } from './tables.js'

/** What was put, and what has become of it by the database's word. */
interface Evidence {
  readonly folder: string
  /** The file of each job, by the job's id, in the order of putting. */
  readonly files: ReadonlyMap<string, FoundFile>
  /** How often each job of the latency series started, by its id. */
  readonly starts: ReadonlyMap<string, number>
  readonly results: AsyncIterable<Result>
  readonly jobsLeft: AsyncIterable<JobLeft>
}

export interface Verdict {
  /** Files whose hash the check found as well. */
  readonly equal: number
  /** Files that their job refused, and that cannot be read by the check either. */
  readonly refused: readonly About[]
  /** Files that were written to, where worker and check have read the same content all the same. */
  readonly rewritten: readonly About[]
  /** What is not as it should be: none, or the demo has failed. */
  readonly differences: readonly About[]
  readonly gzipBytes: number
  readonly hashedBytes: number
  /** Files by worker. */
  readonly byWorker: ReadonlyMap<number, number>
}

/** `path`: of the file; null where there is none. */
export interface About {
  readonly path: string | null
  readonly reason: string
}

/** Files that are read again at once. */
const readers = 8

/**
 * Compare every job with the files as they are now, and with the promise that it ran exactly once.
 *
 * @param onChecked - called with the number of files that are done
 * @throws the signal's reason
 */
export async function check(
  { folder, files, starts, ...tables }: Evidence,
  signal: AbortSignal,
  onChecked: (files: number) => void,
): Promise<Verdict> {
  const results = await byJob(tables.results, (result) => result.jobId)
  const jobsLeft = await byJob(tables.jobsLeft, (job) => job.id)
  const jobs = [...files]
  const findings: Finding[][] = jobs.map(() => [])
  let next = 0
  let checked = 0

  async function reader(): Promise<void> {
    for (;;) {
      const index = next++
      const job = jobs[index]
      if (job === undefined) return
      signal.throwIfAborted()
      const [id, file] = job
      const again = await readAgain(folder, file)
      findings[index] = judge(file, results.get(id) ?? [], jobsLeft.get(id)?.[0], again)
      checked += 1
      onChecked(checked)
    }
  }

  await Promise.all(Array.from({ length: readers }, reader))
  const all = [...findings.flat(), ...strays(files, starts, results, jobsLeft)]
  const about = (kind: Finding['is']) => all.flatMap(({ is, ...about }) => (is === kind ? [about] : []))
  return {
    equal: about('equal').length,
    refused: about('refused'),
    rewritten: about('rewritten'),
    differences: about('different'),
    ...sums(results),
  }
}

interface Finding extends About {
  readonly is: 'equal' | 'refused' | 'rewritten' | 'different'
}

/** One file: its job's results (one, if all is well), its job if that is still there, and the file read again. */
function judge(file: FoundFile, results: readonly Result[], left: JobLeft | undefined, again: Again): Finding[] {
  const { path } = file
  const different = (reason: string): Finding => ({ is: 'different', path, reason })
  if (again.is === 'gone') return [different('is gone since its job was put')]
  if (left?.failedBy === 'rejected' && results.length === 0) {
    const reason = left.message ?? 'without a reason'
    if (again.is === 'read') return [different(`was refused by its job (${reason}), but can be read`)]
    return [{ is: 'refused', path, reason }]
  }
  const findings: Finding[] = []
  if (left !== undefined) findings.push(different(whyLeft(left)))
  else if (results.length === 0) findings.push(different('has no result, though its job is gone'))
  if (results.length > 1) findings.push(different(`has ${results.length} results: its job ran more than once`))
  for (const result of results) findings.push(...compare(result, again))
  return findings

  function compare(result: Result, again: Exclude<Again, { is: 'gone' }>): Finding[] {
    if (result.path !== path) return [different(`has the result of another file, ${result.path}`)]
    if (again.is === 'unreadable') return [different(`cannot be read any more: ${again.reason}`)]
    if (again.sha256 === result.sha256 && again.bytes === result.bytes) {
      const equal: Finding = { is: 'equal', path, reason: '' }
      return again.change === null ? [equal] : [equal, { is: 'rewritten', path, reason: again.change }]
    }
    if (again.change !== null) return [different(`was changed since its job was put: ${again.change}`)]
    const hashes = `${result.sha256.slice(0, 12)}… by worker ${result.worker}, ${again.sha256.slice(0, 12)}… now`
    return [different(`has another hash, and was not changed: ${hashes}`)]
  }
}

/** What no file explains. */
function* strays(
  files: ReadonlyMap<string, unknown>,
  starts: ReadonlyMap<string, number>,
  results: ReadonlyMap<string, unknown>,
  jobsLeft: ReadonlyMap<string, readonly JobLeft[]>,
): Generator<Finding> {
  const different = (reason: string): Finding => ({ is: 'different', path: null, reason })
  for (const [id, count] of starts) {
    if (count !== 1) yield different(`job ${id}, put for its latency, started ${count} times`)
  }
  for (const id of results.keys()) if (!files.has(id)) yield different(`there is a result of job ${id}, never put`)
  for (const [id, [job]] of jobsLeft) {
    if (job !== undefined && !files.has(id)) yield different(`job ${id}: ${whyLeft(job)}`)
  }
}

function whyLeft({ state, attempt, failedBy, message }: JobLeft): string {
  const job = `its job is still in the job table: ${state}, attempt ${attempt}`
  return failedBy === null ? job : `${job}, ${failedBy}: ${message}`
}

async function byJob<Row>(rows: AsyncIterable<Row>, idOf: (row: Row) => string): Promise<Map<string, Row[]>> {
  const found = new Map<string, Row[]>()
  for await (const row of rows) {
    const others = found.get(idOf(row))
    if (others === undefined) found.set(idOf(row), [row])
    else others.push(row)
  }
  return found
}

function sums(results: ReadonlyMap<string, readonly Result[]>) {
  let gzipBytes = 0
  let hashedBytes = 0
  const byWorker = new Map<number, number>()
  for (const rows of results.values()) {
    for (const row of rows) {
      gzipBytes += row.gzipBytes
      hashedBytes += row.bytes
      byWorker.set(row.worker, (byWorker.get(row.worker) ?? 0) + 1)
    }
  }
  return { gzipBytes, hashedBytes, byWorker }
}
