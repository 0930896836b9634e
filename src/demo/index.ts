/**
 * The demo as the checkout's own command: `npm run demo`, or `node dist/demo/index.js [folder]`. `bugle demo` does the
 * same (src/cli/commands/demo.ts).
 */
import { constants } from 'node:os'
import { exitCodes, Interrupted, interruptible, UsageError } from '../terminal/ending.js'
import { openScreen } from '../terminal/screen.js'
import { defaultOwnJob, type Options, parseOptions, usage } from './options.js'
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
    return exitCodes.usage
  }
  if (options.do === 'help') {
    console.log(usage)
    return exitCodes.ok
  }
  return demo(options)
}

async function demo(options: Options & { do: 'run' }): Promise<number> {
  const { env } = process
  const screen = openScreen(process.stdout, env, () => performance.now())
  try {
    const { verdict } = await run({ ...options, own: defaultOwnJob, env, screen, signal: interruptible(process) })
    return verdict.differences.length === 0 ? exitCodes.ok : exitCodes.trouble
  } catch (error) {
    console.error(`demo: ${error instanceof Error ? error.message : error}`)
    return error instanceof Interrupted ? 128 + constants.signals[error.signal] : exitCodes.trouble
  }
}
