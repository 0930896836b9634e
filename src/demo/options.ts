import { statSync } from 'node:fs'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { queueName } from '../checks.js'
import { resolveConnection } from '../database/connection.js'
import { describe } from '../errors.js'
import { UsageError } from '../terminal/ending.js'
import { shown } from '../terminal/text.js'
import { queue as demoQueue } from './protocol.js'
import { isSystemError, reasonOf } from './reading.js'

export const usage = `Usage: npm run demo -- [--roles] [folder]

Puts one job for every file below the folder (default: this checkout, with its node_modules); two worker processes
hash and gzip them. Then measures how soon single jobs start, and checks every hash and that every job ran once.

  DATABASE_URL   the database to use, in two schemas of the demo's own that are dropped at the end;
                 without it an embedded PostgreSQL is started, and removed at the end
  --roles        let each process do its part by a role of its own, with the privileges that \`bugle grants\` prints:
                 for that the user must be allowed to create roles; always so with the embedded PostgreSQL
  -h, --help     show this

Exit code: 0 all is well, 1 it is not, 2 wrong usage, 130 stopped by Ctrl-C.`

export type Options =
  | { readonly do: 'help' }
  | { readonly do: 'run'; readonly folder: string; readonly withRoles: boolean }

const checkout = fileURLToPath(new URL('../..', import.meta.url))

/** @throws UsageError */
export function parseOptions(args: readonly string[], env: NodeJS.ProcessEnv): Options {
  const { values, positionals } = parse(args)
  if (values.help) return { do: 'help' }
  if (positionals.length > 1) throw new UsageError(`one folder at most; got ${positionals.length}`)
  return { do: 'run', folder: resolveFolder(positionals[0] ?? checkout, env), withRoles: values.roles === true }
}

/**
 * The folder, absolute; and a look at `DATABASE_URL`, before anything is begun.
 *
 * @throws UsageError
 */
export function resolveFolder(given: string, env: NodeJS.ProcessEnv): string {
  const folder = resolve(given)
  demandFolder(folder)
  if (env.DATABASE_URL) demandUrl(env)
  return folder
}

/** The job that the demo shows before its own work: one as the user would put it. */
export interface OwnJob {
  readonly queue: string
  readonly payload: unknown
}

export const defaultOwnJob: OwnJob = { queue: 'emails', payload: { to: 'ada@example.org' } }

/**
 * @param payload - JSON
 * @throws UsageError; BugleError `INVALID_QUEUE`
 */
export function resolveOwnJob(
  queue: string = defaultOwnJob.queue,
  payload: string = JSON.stringify(defaultOwnJob.payload),
): OwnJob {
  if (queue === demoQueue) throw new UsageError(`the queue ${describe(queue)} is the demo's own; give another one`)
  try {
    return { queue: queueName(queue), payload: JSON.parse(payload) }
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    throw new UsageError(`--payload is not JSON; quote it for the shell: '${JSON.stringify(defaultOwnJob.payload)}'`)
  }
}

const options = { help: { type: 'boolean', short: 'h' }, roles: { type: 'boolean' } } as const

function parse(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true })
  } catch (error) {
    // Its advice on how to write a file's name with a dash goes without saying.
    throw new UsageError(oneLine(error).replace(/\. To specify a positional.*$/s, ''))
  }
}

function demandFolder(folder: string): void {
  const stats = lookAt(folder)
  if (!stats.isDirectory()) throw new UsageError(`${shown(folder)} is not a directory`)
}

function lookAt(folder: string) {
  try {
    return statSync(folder)
  } catch (error) {
    if (!isSystemError(error)) throw error
    throw new UsageError(
      error.code === 'ENOENT' ? `${shown(folder)} does not exist` : `${shown(folder)}: ${reasonOf(error)}`,
    )
  }
}

function demandUrl(env: NodeJS.ProcessEnv): void {
  try {
    resolveConnection({}, env)
  } catch (error) {
    throw new UsageError(oneLine(error))
  }
}

function oneLine(error: unknown): string {
  return String(error instanceof Error ? error.message : error).replace(/\s*\n\s*/g, ' ')
}
