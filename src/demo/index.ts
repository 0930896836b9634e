/**
 * The demo's command: `node dist/demo/index.js [folder]`.
 */
import { constants } from 'node:os'
import { openScreen } from '../terminal/screen.js'
import { Interrupted } from './ending.js'
import { type Options, parseOptions, UsageError, usage } from './options.js'
import { run } from './run.js'

process.exitCode = await main()

/** @returns the exit code */
async function main(): Promise<number> {
  let options: Options
  try {
    options = parseOptions(process.argv.slice(2), process.env)
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    console.error(`demo: ${error.message} (--help shows the usage)`)
    return 2
  }
  if (options.do === 'help') {
    console.log(usage)
    return 0
  }
  return demo(options.folder)
}

async function demo(folder: string): Promise<number> {
  const { stdout, env } = process
  const screen = openScreen(stdout, env, () => performance.now())
  const ending = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    // They stay for good: a second Ctrl-C must not cut the tidying short.
    process.on(name, () => ending.abort(new Interrupted(name)))
  }
  ending.signal.addEventListener('abort', screen.end)
  // Whoever read our output has left (`| head`): nobody to work for.
  stdout.on('error', () => ending.abort(new Interrupted('SIGPIPE')))
  try {
    return (await run({ folder, env, screen, ending })) === 'ok' ? 0 : 1
  } catch (error) {
    // What was thrown may be a mere consequence of the abort.
    const reason: unknown = ending.signal.aborted ? ending.signal.reason : error
    if (reason instanceof Interrupted) {
      console.error(`demo: ${reason.message}`)
      return 128 + constants.signals[reason.signal]
    }
    console.error(`demo: ${reason instanceof Error ? reason.message : reason}`)
    return 1
  }
}
