import type { PutOptions } from '../../put/options.js'
import { type Cli, exitCodes, UsageError } from '../cli.js'
import { putLines } from '../put-lines.js'

interface PutCommandOptions {
  readonly kind?: string
  readonly priority?: number
  readonly runAt?: Date
  readonly delay?: number
  readonly key?: string
  readonly keyMode?: 'keep' | 'replace' | 'reject'
  readonly keyWhile?: 'waiting' | 'running'
  readonly keyFor?: number
  readonly flag?: readonly string[]
  readonly maxAttempts?: number
  readonly timeout?: number
  readonly fromLine?: number
}

/**
 * `bugle put QUEUE [PAYLOAD]` prints the id. JSON: `{ "queue", "id" }`.
 *
 * `bugle put QUEUE -` reads JSON lines, and prints how many were put. JSON: see `putLines`.
 */
export async function put(
  cli: Cli,
  queue: string,
  payload: string | undefined,
  { fromLine, ...options }: PutCommandOptions,
): Promise<number> {
  const putOptions = toPutOptions(options)
  if (payload === '-') {
    if (options.key !== undefined) throw new UsageError('--key would make one job of all lines; put them without it')
    return putLines(cli, queue, cli.stdin, putOptions, fromLine ?? 1)
  }
  if (fromLine !== undefined) throw new UsageError('--from-line is for lines of standard input: put QUEUE -')
  const value = payload === undefined ? null : parse(payload)
  const id = await cli.bugle().put(queue, value, putOptions)
  cli.out.json({ queue, id })
  cli.out.say(id)
  return exitCodes.ok
}

function toPutOptions(options: Omit<PutCommandOptions, 'fromLine'>): PutOptions {
  const { delay, flag, timeout, key, keyWhile, keyFor, ...same } = options
  if (key === undefined && (keyWhile !== undefined || keyFor !== undefined)) {
    throw new UsageError('--key-while and --key-for say for how long a job has its key; give --key as well')
  }
  return {
    ...same,
    ...(key !== undefined && {
      unique: {
        key,
        ...(keyWhile !== undefined && { while: keyWhile }),
        ...(keyFor !== undefined && { forMs: keyFor }),
      },
    }),
    ...(delay !== undefined && { delayMs: delay }),
    ...(flag !== undefined && { flags: flag }),
    ...(timeout !== undefined && { timeoutMs: timeout }),
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new UsageError(
      `the payload is not JSON; quote it for the shell: '{"to":"a@example.org"}', and a text as '"hello"'`,
    )
  }
}
