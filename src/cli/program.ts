import { Command, CommanderError } from 'commander'
import { version } from '../version.js'
import { type Cli, type CliOptions, type RunCommand, UsageError } from './cli.js'
import { durationOption, numberOption } from './values.js'

/**
 * The commands' names, arguments and options. What a command does stands in its own module, which is loaded when it is called: so the help
 * is there at once, and a command loads only what it needs.
 *
 * @param run - called with the command that was asked for
 * @throws CommanderError - for help and version, exit code 0; UsageError
 */
export async function parseCommand(
  args: readonly string[],
  run: (options: CliOptions, command: (cli: Cli) => Promise<number>) => Promise<void>,
): Promise<void> {
  const program = new Command('bugle')
    .description('Look after the jobs of a PostgreSQL database, and run them. The database is the one of DATABASE_URL.')
    .version(version)
    .helpCommand(false)
    .showHelpAfterError(false)
    .configureHelp({ sortSubcommands: false, showGlobalOptions: true })
    .option('--schema <name>', "the schema of Bugle's tables (default: bugle)")
    .option('--json', 'print JSON, and nothing else, on standard output')
    .addHelpText('after', exitCodesText)
  inheritSettings(program)

  /** An action: load the command's function, and call it with what was parsed. */
  function does<Args extends unknown[]>(load: () => Promise<RunCommand<Args>>): (...args: unknown[]) => Promise<void> {
    return async (...given) => {
      // Commander's last argument is the command itself.
      const args = given.slice(0, -1) as Args
      const { json = false, schema } = program.opts<{ json?: boolean; schema?: string }>()
      await run({ json, ...(schema !== undefined && { schema }) }, async (cli) => (await load())(cli, ...args))
    }
  }

  // migrate, put, work

  // stats, workers

  program
    .command('stats')
    .description('what is in the queues, and how many workers serve them; counts go to 10,000')
    .argument('[queue]', 'that one alone')
    .addOption(
      numberOption('--watch [seconds]', 'again and again, every 2 seconds or so many, until Ctrl-C').preset('2'),
    )
    .action(does(async () => (await import('./commands/stats.js')).stats))
  program
    .command('workers')
    .description('the processes that consume: what, with how many slots, and whether they live')
    .action(does(async () => (await import('./commands/workers.js')).workers))

  // jobs, show, requeue, cancel

  program
    .command('pause')
    .description('let no process claim from these queues any more, until they are resumed; jobs that run go on')
    .argument('<queue...>')
    .action(does(async () => (await import('./commands/pause.js')).pause))
  program
    .command('resume')
    .description('let paused queues be claimed from again')
    .argument('<queue...>')
    .action(does(async () => (await import('./commands/pause.js')).resume))

  // collect

  program
    .command('grants')
    .description('print the SQL that gives roles no more than they need, for psql; nothing is executed')
    .addHelpText(
      'after',
      '\nEach may be given several times: bugle grants --producer web --consumer worker | psql "$DATABASE_URL"',
    )
    .option('--producer <role>', 'may put, and nothing else', oneMore)
    .option('--consumer <role>', 'may do all but migrate', oneMore)
    .option('--observer <role>', 'may read', oneMore)
    .option('--no-payloads', 'observers see no payloads, results, progress and errors')
    .action(does(async () => (await import('./commands/grants.js')).grants))

  program
    .command('doctor')
    .description('look for what jobs suffer from, or soon will, and say what to do about it')
    .option('--listen-url <url>', 'a direct way, where DATABASE_URL leads through a pooler (default: BUGLE_LISTEN_URL)')
    .addOption(
      durationOption('--running-longer-than <duration>', 'from when on a running job is trouble (default: 1h)'),
    )
    .addOption(
      durationOption(
        '--transaction-older-than <duration>',
        'from when on an open transaction is trouble (default: 5m)',
      ),
    )
    .action(does(async () => (await import('./commands/doctor.js')).doctor))

  program
    .command('demo')
    .description('two worker processes hash every file of a folder, in a database of your own or an embedded one')
    .argument('[folder]', 'default: the current directory')
    .option(
      '--roles',
      'let each process do its part by a role of its own, with the privileges that `bugle grants` prints',
    )
    .action(does(async () => (await import('./commands/demo.js')).demo))

  try {
    await program.parseAsync([...args], { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError) || error.exitCode === 0) throw error
    throw new UsageError(error.code === 'commander.help' ? 'a command is missing' : oneLine(error.message))
  }
}

/** An option that may be given several times. */
function oneMore(value: string, others: readonly string[] = []): readonly string[] {
  return [...others, value]
}

const exitCodesText = `
Exit codes: 0 done, 1 not done or trouble found, 2 wrong usage, 130 stopped by Ctrl-C (143 by SIGTERM).`

/** Subcommands take these over when they are made. */
function inheritSettings(program: Command): void {
  program.exitOverride().configureOutput({ writeErr: () => {} })
}

/** Commander's message without its first word, its advice in the same line. */
function oneLine(message: string): string {
  return message
    .replace(/^error: /, '')
    .replaceAll(/\s*\n\s*/g, ' ')
    .trim()
}
