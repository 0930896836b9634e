#!/usr/bin/env node
/**
 * The command: `bugle <command>`, or `node dist/cli/index.js`.
 */
import { constants } from 'node:os'
import { CommanderError } from 'commander'
import { BugleError, toError } from '../errors.js'
import { exitCodes, Interrupted, Refusal, UsageError } from '../terminal/ending.js'
import { shown } from '../terminal/text.js'
import type { Cli, CliOptions } from './cli.js'
import { parseCommand } from './program.js'

let isLeaving = false

const args = process.argv.slice(2)
const isJson = args.includes('--json')

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // The reader of our output has left (`| head`).
  if (error.code === 'EPIPE') return
  process.exit(tell(new Refusal(`standard output cannot be written: ${error.message}`)))
})
process.exitCode = await main()
if (isLeaving) process.exit()

/** @returns the exit code */
async function main(): Promise<number> {
  let code: number = exitCodes.ok
  try {
    await parseCommand(args, async (options, command) => {
      code = await carryOut(options, command)
    })
    return code
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return exitCodes.ok
    return tell(error)
  }
}

async function carryOut(options: CliOptions, command: (cli: Cli) => Promise<number>): Promise<number> {
  // This loads the drivers, which help and wrong usage do without.
  const { openCli } = await import('./cli.js')
  const cli = openCli(options, process, () => {
    isLeaving = true
  })
  try {
    return await command(cli)
  } finally {
    await cli[Symbol.asyncDispose]()
  }
}

/** One line on standard error. @returns the exit code */
function tell(thrown: unknown): number {
  const error = toError(thrown)
  const code = exitCodeOf(error)
  // Whoever calls the command migrates by it.
  const message = shown(error.message.replaceAll(/\s*\n\s*/g, ' ')).replace('await bugle.migrate()', 'bugle migrate')
  const isExpected =
    error instanceof UsageError ||
    error instanceof Refusal ||
    error instanceof BugleError ||
    error instanceof Interrupted
  if (isJson) {
    const kind = error instanceof BugleError ? error.code : error instanceof UsageError ? 'USAGE' : 'FAILED'
    console.error(JSON.stringify({ error: { code: kind, message } }))
  } else if (code === exitCodes.usage) console.error(`bugle: ${message} (--help shows the usage)`)
  // A failure of ours, or of the user's module: where it was thrown may say more.
  else console.error(`bugle: ${isExpected || 'severity' in error ? message : stackOf(error)}`)
  if (!isJson && error instanceof Refusal && error.cause instanceof Error) console.error(stackOf(error.cause))
  return code
}

/** In lines, in which nothing foreign can act: its message may quote what was read somewhere. */
function stackOf(error: Error): string {
  return String(error.stack ?? error)
    .split('\n')
    .map(shown)
    .join('\n')
}

function exitCodeOf(error: Error): number {
  if (error instanceof UsageError) return exitCodes.usage
  if (error instanceof BugleError && (error.code === 'INVALID_OPTION' || error.code === 'INVALID_QUEUE'))
    return exitCodes.usage
  if (error instanceof Interrupted) return 128 + constants.signals[error.signal]
  return exitCodes.trouble
}
