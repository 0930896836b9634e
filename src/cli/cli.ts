import type { Readable } from 'node:stream'
import type { Bugle } from '../bugle.js'
import { createBugleFrom } from '../create-bugle.js'
import type { BugleOptions } from '../options.js'
import { interruptible } from '../terminal/ending.js'
import type { Host } from '../terminal/host.js'
import { type Output, openOutput } from './output.js'

export { exitCodes, Interrupted, Refusal, UsageError } from '../terminal/ending.js'

/** What every command is given. It is disposed of when the command has ended. */
export interface Cli extends AsyncDisposable {
  readonly env: NodeJS.ProcessEnv
  readonly stdin: Readable
  readonly out: Output
  readonly schema: string
  /** What the command line and the environment say of every instance. */
  readonly common: Pick<BugleOptions, 'schema' | 'prepare' | 'listenConnectionString'>
  /**
   * An instance that ends with the command. It handles no signals, and prints nothing by itself.
   *
   * @throws BugleError `INVALID_OPTION`
   */
  bugle(options?: BugleOptions<Bugle>): Bugle
  /**
   * Aborted by Ctrl-C, SIGTERM or SIGHUP, or when the reader of our output has left; the reason is an `Interrupted`.
   * From this call on such a signal does not end the process by itself: for commands that have something to tidy up, or
   * to report.
   */
  interruptible(): AbortSignal
  /** From this call on the command's end is the process's, whatever of a user's module still goes on in it. */
  leaveBehind(): void
}

/** A command: what it is given, and the arguments and options as they were parsed. Resolves with the exit code. */
export type RunCommand<Args extends unknown[]> = (cli: Cli, ...args: Args) => Promise<number>

export interface CliOptions {
  readonly json: boolean
  /** undefined: the library's default. */
  readonly schema?: string
  /** false: as the library's option; true: its default. */
  readonly prepare?: boolean
}

/** @param leaveBehind - see `Cli` */
export function openCli({ json, schema, prepare }: CliOptions, host: Host, leaveBehind: () => void): Cli {
  const { env, stdin, stdout, stderr } = host
  const out = openOutput({ stdout, stderr, env, isJson: json })
  const given = { ...(schema !== undefined && { schema }), ...(prepare === false && { prepare }) }
  const listening = env.BUGLE_LISTEN_URL ? { listenConnectionString: env.BUGLE_LISTEN_URL } : {}
  const opened: Bugle[] = []
  let interrupted: AbortSignal | null = null

  return {
    env,
    stdin,
    out,
    schema: schema ?? 'bugle',
    common: { ...listening, ...given },
    bugle(options = {}) {
      const bugle = createBugleFrom(
        {
          name: 'bugle command',
          poolSize: 2,
          logger: false,
          // Beside DATABASE_URL: a module with a way of its own says itself how to listen there.
          ...(!('connectionString' in options || 'connection' in options) && listening),
          ...options,
          ...given,
        },
        env,
      )
      opened.push(bugle)
      return bugle
    },
    interruptible: () => {
      interrupted ??= interruptible(host)
      return interrupted
    },
    leaveBehind,
    async [Symbol.asyncDispose]() {
      await Promise.all(opened.map((bugle) => bugle.close()))
      out.end()
    },
  }
}
