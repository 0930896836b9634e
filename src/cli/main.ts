import { Console } from 'node:console'
import { constants } from 'node:os'
import { CommanderError } from 'commander'
import { BugleError, toError } from '../errors.js'
import { exitCodes, Interrupted, Refusal, UsageError } from '../terminal/ending.js'
import type { Host } from '../terminal/host.js'
import { shown } from '../terminal/text.js'
import type { Cli, CliOptions } from './cli.js'
import { parseCommand } from './program.js'

/**
 * Carry out the command that the host's arguments name, and set the host's exit code.
 *
 * It throws nothing: an error is reported on standard error. When it resolves, all that the command has opened is
 * closed, so the process can end; a command that leaves something behind ends the host itself.
 */
export async function runCommand(host: Host): Promise<void> {
  const args = host.argv.slice(2)
  const tell = createTell(host, args.includes('--json'))
  let isLeaving = false

  async function main(): Promise<number> {
    let code: number = exitCodes.ok
    try {
      await parseCommand(args, host.stdout, async (options, command) => {
        code = await carryOut(options, command)
      })
      return code
    } catch (error) {
      if (error instanceof CommanderError && error.exitCode === 0) return exitCodes.ok
      return tell(error)
    }
  }

  async function carryOut(options: CliOptions, command: (cli: Cli) => Promise<number>): Promise<number> {
    // With it come the drivers, which help and wrong usage do without.
    const { openCli } = await import('./cli.js')
    const cli = openCli(options, host, () => {
      isLeaving = true
    })
    try {
      return await command(cli)
    } finally {
      await cli[Symbol.asyncDispose]()
    }
  }

  host.stdout.on('error', (error: NodeJS.ErrnoException) => {
    // Whoever read our output has left (`| head`).
    if (error.code === 'EPIPE') return
    host.exit(tell(new Refusal(`standard output cannot be written: ${error.message}`)))
  })
  host.exitCode = await main()
  if (isLeaving) host.exit()
}

/** @returns a function that reports an error on standard error, and returns the exit code */
function createTell({ stdout, stderr }: Host, isJson: boolean): (thrown: unknown) => number {
  // A console, since it ignores a standard error that cannot be written.
  const { error: print } = new Console(stdout, stderr)
  return (thrown) => {
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
      print(JSON.stringify({ error: { code: kind, message } }))
    } else if (error instanceof UsageError && error.help !== '') print(error.help)
    else if (code === exitCodes.usage) print(`bugle: ${message} (--help shows the usage)`)
    // A failure of ours, or of the user's module: where it was thrown may say more.
    else print(`bugle: ${isExpected || 'severity' in error ? message : stackOf(error)}`)
    if (!isJson && error instanceof Refusal && error.cause instanceof Error) print(stackOf(error.cause))
    return code
  }
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
