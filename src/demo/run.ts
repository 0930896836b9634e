import { unlessAborted } from '../deadline.js'
import type { Bugle } from '../index.js'
import type { Progress, Screen } from '../terminal/screen.js'
import { shown } from '../terminal/text.js'
import { withResolvers } from '../with-resolvers.js'
import { check } from './check.js'
import { openDatabase } from './database.js'
import { type FoundFile, findFiles } from './files.js'
import { createLatencySeries, rounds } from './latency.js'
import type { OwnJob } from './options.js'
import { type FileJob, type OwnRun, type Queues, queue } from './protocol.js'
import { checkText, type Figures, field, foundText, ownText, resultText } from './report.js'
import { ownNames } from './roles.js'
import { openServer } from './server.js'
import { forkWorkers } from './workers.js'

interface RunParts {
  /** An absolute path to a directory. */
  readonly folder: string
  /** Shown first. */
  readonly own: OwnJob
  readonly env: NodeJS.ProcessEnv
  readonly screen: Screen
  /**
   * Each process does its part by a role of its own, with the privileges that `bugle grants` prints. Always so with a
   * server of our own.
   */
  readonly withRoles: boolean
  /** Aborted from outside, to end the run early. */
  readonly signal: AbortSignal
}

/** What a run has found out. */
export interface Summary extends Figures {
  /** Files and single puts together. */
  readonly jobsPut: number
}

/** Jobs of one statement. */
const batchJobs = 1_000
const workerCount = 2

/**
 * The whole demo, from an empty database to an empty database.
 *
 * Whatever happens, the workers, the schemas, the roles and the server of its own are gone when this has returned or
 * thrown.
 *
 * @returns what it has measured, and whether all was as it should be: no `verdict.differences`
 * @throws the signal's reason; or what went wrong
 */
export async function run({ signal: outer, ...parts }: RunParts): Promise<Summary> {
  // What must end the run early, from outside or inside, with that as its reason.
  const ending = new AbortController()
  const stop = (): void => ending.abort(outer.reason)
  outer.addEventListener('abort', stop)
  ending.signal.addEventListener('abort', parts.screen.end)
  try {
    if (outer.aborted) stop()
    return await runUntil(ending, parts)
  } catch (error) {
    // What was thrown may be a mere consequence of the abort.
    throw ending.signal.aborted ? ending.signal.reason : error
  } finally {
    outer.removeEventListener('abort', stop)
  }
}

async function runUntil(
  ending: AbortController,
  { folder, own, env, screen, withRoles }: Omit<RunParts, 'signal'>,
): Promise<Summary> {
  const { signal } = ending
  screen.say('Bugle demo: two worker processes hash and gzip every file of a folder\n')
  screen.say(field('folder', shown(folder)))

  await using server = await openServer(env)
  signal.throwIfAborted()
  const names = ownNames(withRoles || server.kind === 'embedded')
  await using database = await openDatabase({ server, names, screen })
  const { access, bugle, insertPlain } = database

  const found = await findFiles(folder, signal)
  screen.say(foundText(found))

  let working: Progress | null = null
  const settled = new Map<number, number>()
  let lastAtNs = 0n
  const ownRun = withResolvers<OwnRun>()
  const series = createLatencySeries({ bugle, insertPlain, random: Math.random, signal })
  await using workers = forkWorkers({
    count: workerCount,
    signal,
    fail: (error) => ending.abort(error),
    onNews: screen.say,
    onWoken: series.woken,
    onOwn: ownRun.resolve,
    onCounted(worker, jobs, atNs) {
      settled.set(worker, jobs)
      if (atNs > lastAtNs) lastAtNs = atNs
      working?.update([...settled.values()].reduce((sum, jobs) => sum + jobs, 0))
    },
  })
  await workers.start({
    connectionString: access.consumer,
    ownerConnectionString: access.owner,
    names,
    folder,
    ownQueue: own.queue,
  })
  screen.say(field('workers', `processes ${workers.pids.join(' and ')}`))

  await unlessAborted((bugle as unknown as Bugle).put(own.queue, own.payload), signal)
  screen.say(`${ownText(own.queue, await unlessAborted(ownRun.promise, signal))}\n`)

  working = screen.progress('working', found.files.length, 'files')
  const firstAtNs = process.hrtime.bigint()
  const files = await putFiles(bugle, found.files, signal)
  await workers.idle()
  working.end()
  const tookMs = Number(lastAtNs - firstAtNs) / 1e6

  screen.say(`files done; now ${rounds.measured} single puts, each to consumers that sleep (about 10 s)`)
  const latencies = await unlessAborted(series.measure(), signal)
  await workers.idle()

  const checking = screen.progress('checking', files.size, 'files')
  const evidence = {
    folder,
    files,
    starts: series.starts(),
    results: database.results(),
    jobsLeft: database.jobsLeft(),
  }
  const verdict = await unlessAborted(check(evidence, signal, checking.update), signal)
  checking.end()

  const summary = { jobs: files.size, tookMs, latencies, verdict, jobsPut: files.size + evidence.starts.size }
  screen.say(`\n${resultText(summary)}`)
  screen.say(`\n${checkText(verdict, summary.jobsPut)}`)
  return summary
}

/** @returns the file of each job, by the job's id, in the order of putting */
async function putFiles(
  bugle: Bugle<Queues>,
  found: readonly FoundFile[],
  signal: AbortSignal,
): Promise<Map<string, FoundFile>> {
  const files = new Map<string, FoundFile>()
  for (let from = 0; from < found.length; from += batchJobs) {
    const batch = found.slice(from, from + batchJobs)
    const ids = await unlessAborted(bugle.putMany(queue, batch.map(toJob)), signal)
    for (const [index, file] of batch.entries()) files.set(ids[index] ?? '', file)
  }
  return files
}

function toJob({ path, pathBytes }: FoundFile): FileJob {
  return { type: 'file', path, ...(pathBytes !== undefined && { pathBytes }) }
}
