import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'
import { type CommandEnded, runInProcess } from './command.js'
import type { TestDatabase } from './database.js'

export const cliProgram = fileURLToPath(new URL('../../dist/cli/index.js', import.meta.url))

export interface CliEnded {
  /** As a shell has it: of a process that a signal ended, null. */
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface CliProcess {
  readonly child: ChildProcess
  readonly ended: Promise<CliEnded>
  /** Once it has printed that, on standard output or standard error. */
  printed(pattern: RegExp): Promise<RegExpExecArray>
}

export interface CliCall {
  readonly input?: string | Uint8Array
  readonly env?: NodeJS.ProcessEnv
}

export interface CliProcessCall extends CliCall {
  readonly cwd?: string
  /** For `node` itself. */
  readonly execArgv?: readonly string[]
}

type Target = Pick<TestDatabase, 'connectionString' | 'schema'>

/**
 * Run the command to its end, from `src` in the test's own process: for what it says, does and answers.
 *
 * A process of its own ends with the same exit codes and prints the same to real pipes: test/cli/usage.test.ts compares
 * both for each code.
 */
export function runCli(db: Target, args: readonly string[], { env, ...call }: CliCall = {}): Promise<CommandEnded> {
  return runInProcess([...args, '--schema', db.schema], { ...call, env: { ...plainEnv(db), ...env } })
}

/**
 * Run the command to its end, from `dist` in a real process: for exit codes as a shell has them, for `bugle work` (its
 * module has the whole process), for another working directory, and for what Node loads. Needs a build.
 */
export function spawnCli(
  db: Target,
  args: readonly string[],
  { input = '', ...call }: CliProcessCall = {},
): Promise<CliEnded> {
  const { child, ended } = startCli(db, args, call)
  // A command that does not read, or has ended, closes it first.
  child.stdin?.on('error', () => {}).end(input)
  return ended
}

/**
 * Start the command, from `dist` in a real process, for a test that does something to it meanwhile: signals, and pipes
 * that are slow, stay open or are closed early. Its standard input stays open. Needs a build.
 */
export function startCli(
  db: Target,
  args: readonly string[],
  { env, cwd, execArgv = [] }: Omit<CliProcessCall, 'input'> = {},
): CliProcess {
  return startProcess(process.execPath, [...execArgv, cliProgram, ...args, '--schema', db.schema], {
    ...(cwd !== undefined && { cwd }),
    env: { ...plainEnv(db), ...env },
  })
}

/** Standard output's lines of JSON. */
export function jsonLines(text: string): unknown[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line))
}

/**
 * What Node asks about colours before it asks the terminal (CI too: a log is taken for one without), and its own
 * options.
 */
const wishes = ['CI', 'FORCE_COLOR', 'NODE_DISABLE_COLORS', 'NO_COLOR', 'NODE_OPTIONS']

/** The environment of a user at a terminal, wherever the tests run. */
export function plainEnv({ connectionString }: Pick<TestDatabase, 'connectionString'>): NodeJS.ProcessEnv {
  const env = Object.entries(process.env).filter(([name]) => !wishes.includes(name))
  return { ...Object.fromEntries(env), DATABASE_URL: connectionString }
}

export function startProcess(command: string, args: readonly string[], options: SpawnOptions): CliProcess {
  const child = spawn(command, args, { ...options, stdio: 'pipe' })
  onTestFinished(() => {
    child.kill('SIGKILL')
  })
  let stdout = ''
  let stderr = ''
  let isClosed = false
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
    child.emit('printed')
  })
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
    child.emit('printed')
  })
  const ended = once(child, 'close').then(([code]) => {
    isClosed = true
    child.emit('printed')
    return { code, stdout, stderr }
  })
  return {
    child,
    ended,
    async printed(pattern) {
      for (;;) {
        const match = pattern.exec(stdout) ?? pattern.exec(stderr)
        if (match) return match
        if (isClosed) throw new Error(`it ended without ${pattern}; it printed ${JSON.stringify({ stdout, stderr })}`)
        await once(child, 'printed')
      }
    },
  }
}
