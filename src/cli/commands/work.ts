import type { Bugle } from '../../bugle.js'
import { describe } from '../../errors.js'
import type { StopReport } from '../../stop-report.js'
import { count, shown } from '../../terminal/text.js'
import { type Cli, exitCodes, Interrupted, UsageError } from '../cli.js'
import { loadModule, type QueueWork, type WorkModule } from '../module.js'
import { stopWithParent } from '../parent.js'
import { tellRuns, workLogger } from '../work-log.js'

interface WorkCommandOptions {
  readonly queue?: readonly string[]
  readonly concurrency?: number
  readonly drain?: boolean
  readonly verbose?: boolean
}

/**
 * `bugle work MODULE`: consume the module's queues until SIGINT or SIGTERM, and print each one's report. What a module
 * exports is said at `loadModule`. A package manager that has started it and is gone counts as SIGTERM. While the
 * database is down it waits, and says so; where the first connection is refused for good (a wrong password, role,
 * database or host name) it ends with that error.
 *
 * The first signal lets running jobs end (`graceMs`), the second aborts them, the third gives up on them. Exit code 0;
 * 1 where jobs were abandoned. With `--drain` it ends by itself: 1 where a job failed, 130 or 143 where a signal ended
 * it before.
 *
 * JSON: one line per queue, once it has stopped: `{ "queue", "completed", "failed", "interrupted", "released",
 * "abandoned": [{ "id", "ageMs" }] }`; what happens meanwhile goes to standard error, as lines of `{ "level", "message"
 * }`.
 */
export async function work(cli: Cli, path: string, options: WorkCommandOptions): Promise<number> {
  const parent = process.ppid
  const module = await loadModule(path)
  const queues = chosen(module, options)
  const log = workLogger(cli.out, process.stderr)
  const bugle = cli.bugle({
    name: 'bugle work',
    poolSize: 10,
    logger: log,
    ...module.bugleOptions,
    handleSignals: true,
  })
  tellRuns(bugle, log, options.verbose === true)
  const signals = listen((text) => log.info(text))
  stopWithParent({ env: cli.env, parent, onGone: (text) => log.info(text) })
  // A module's timers and connections would keep a process alive that was told to stop.
  cli.leaveBehind()

  const isDrain = options.drain === true
  const reports = await Promise.all(
    [...queues].map(async ([queue, { handlers, options: own }]) => {
      const report = await (isDrain ? bugle.drain(queue, handlers, own) : consumed(bugle, queue, handlers, own))
      tellReport(cli, queue, report)
      return report
    }),
  )
  await bugle.close()
  if (reports.some(({ abandoned }) => abandoned.length > 0)) return exitCodes.trouble
  if (!isDrain) return exitCodes.ok
  if (signals.first !== null) throw new Interrupted(signals.first)
  return reports.some(({ failed }) => failed > 0) ? exitCodes.trouble : exitCodes.ok
}

async function consumed(
  bugle: Bugle,
  queue: string,
  handlers: QueueWork['handlers'],
  options: QueueWork['options'],
): Promise<StopReport> {
  const consumer = await bugle.consume(queue, handlers, options)
  return consumer.stopped
}

/** @throws UsageError */
function chosen({ queues }: WorkModule, { queue: asked, concurrency }: WorkCommandOptions): Map<string, QueueWork> {
  for (const queue of asked ?? []) {
    if (!queues.has(queue)) {
      const known = [...queues.keys()].map(describe).join(', ')
      throw new UsageError(`the module has no queue ${describe(queue)}; it has ${known}`)
    }
  }
  return new Map(
    [...queues]
      .filter(([queue]) => asked === undefined || asked.includes(queue))
      .map(([queue, { handlers, options }]) => [
        queue,
        { handlers, options: concurrency === undefined ? options : { ...options, concurrency } },
      ]),
  )
}

/** The library closes the instance at these; here it is said what they do. */
function listen(say: (text: string) => void): { readonly first: NodeJS.Signals | null } {
  const texts = [
    'stopping once running jobs have ended; again to abort them',
    'aborting running jobs; again to give up on them',
    'giving up on running jobs',
  ]
  const heard: NodeJS.Signals[] = []
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.on(name, () => {
      const text = texts[heard.length]
      heard.push(name)
      if (text !== undefined) say(text)
    })
  }
  return {
    get first() {
      return heard[0] ?? null
    },
  }
}

function tellReport({ out }: Cli, queue: string, report: StopReport): void {
  const { completed, failed, interrupted, released, abandoned } = report
  out.json({ queue, ...report })
  const told = [
    out.paint('green', `${count(completed)} completed`),
    failed > 0 ? out.paint('red', `${count(failed)} failed`) : '0 failed',
    `${count(interrupted)} interrupted`,
    `${count(released)} released`,
    abandoned.length > 0
      ? out.paint('red', `${count(abandoned.length)} abandoned (${abandoned.map(({ id }) => id).join(', ')})`)
      : '0 abandoned',
  ]
  out.say(`${shown(queue)}: ${told.join(', ')}`)
}
