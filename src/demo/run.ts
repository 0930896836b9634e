import type { Bugle } from '../index.js'
import type { Progress, Screen } from '../terminal/screen.js'
import { shown } from '../terminal/text.js'
import { check } from './check.js'
import { openDatabase, ownSchemas } from './database.js'
import { until } from './ending.js'
import { type FoundFile, findFiles } from './files.js'
import { createLatencySeries, rounds } from './latency.js'
import { type FileJob, type Queues, queue } from './protocol.js'
import { checkText, field, foundText, resultText } from './report.js'
import { openServer } from './server.js'
import { forkWorkers } from './workers.js'

export interface RunParts {
  /** An absolute path to a directory. */
  readonly folder: string
  readonly env: NodeJS.ProcessEnv
  readonly screen: Screen
  /** Aborted by whatever must end the run early, with that as its reason. */
  readonly ending: AbortController
}

/** Jobs of one statement. */
const batchJobs = 1_000
const workerCount = 2

/**
 * The whole demo, from an empty database to an empty database.
 *
 * Whatever happens, the workers, the schemas and the server of its own are gone when this has returned or thrown.
 *
 * @returns whether all was as it should be
 * @throws the ending's reason; or what went wrong
 */
export async function run({ folder, env, screen, ending }: RunParts): Promise<'ok' | 'different'> {
  const { signal } = ending
  screen.say('Bugle demo: two worker processes hash and gzip every file of a folder\n')
  screen.say(field('folder', shown(folder)))

  await using server = await openServer(env)
  signal.throwIfAborted()
  const { connectionString } = server
  const schemas = ownSchemas()
  await using database = openDatabase(server, schemas, screen)
  const { tables, bugle } = database
  await database.create()

  const found = await findFiles(folder, signal)
  screen.say(foundText(found))

  let working: Progress | null = null
  const settled = new Map<number, number>()
  let lastAtNs = 0n
  const series = createLatencySeries({ bugle, insertPlain: tables.insertPlain, random: Math.random, signal })
  await using workers = forkWorkers({
    count: workerCount,
    signal,
    fail: (error) => ending.abort(error),
    onNews: screen.say,
    onWoken: series.woken,
    onCounted(worker, jobs, atNs) {
      settled.set(worker, jobs)
      if (atNs > lastAtNs) lastAtNs = atNs
      working?.update([...settled.values()].reduce((sum, jobs) => sum + jobs, 0))
    },
  })
  await workers.start({ connectionString, schemas, folder })
  screen.say(`${field('workers', `processes ${workers.pids.join(' and ')}`)}\n`)

  working = screen.progress('working', found.files.length, 'files')
  const firstAtNs = process.hrtime.bigint()
  const files = await putFiles(bugle, found.files, signal)
  await workers.idle()
  working.end()
  const tookMs = Number(lastAtNs - firstAtNs) / 1e6

  screen.say(`files done; now ${rounds.measured} single puts, each to consumers that sleep (about 10 s)`)
  const latencies = await until(signal, series.measure())
  await workers.idle()

  const checking = screen.progress('checking', files.size, 'files')
  const evidence = { folder, files, starts: series.starts(), results: tables.results(), jobsLeft: tables.jobsLeft() }
  const verdict = await until(signal, check(evidence, signal, checking.update))
  checking.end()

  screen.say(`\n${resultText({ jobs: files.size, tookMs, latencies, verdict })}`)
  screen.say(`\n${checkText(verdict, files.size + evidence.starts.size)}`)
  return verdict.differences.length === 0 ? 'ok' : 'different'
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
    const ids = await until(signal, bugle.putMany(queue, batch.map(toJob)))
    for (const [index, file] of batch.entries()) files.set(ids[index] ?? '', file)
  }
  return files
}

function toJob({ path, pathBytes }: FoundFile): FileJob {
  return { type: 'file', path, ...(pathBytes !== undefined && { pathBytes }) }
}
