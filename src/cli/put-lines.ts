import type { Readable } from 'node:stream'
import type { Bugle } from '../bugle.js'
import { BugleError, toError } from '../errors.js'
import type { PutOptions } from '../put/options.js'
import { count } from '../terminal/text.js'
import { batchWork } from './batches.js'
import { type Cli, exitCodes, Refusal } from './cli.js'
import { type Line, linesOf } from './lines.js'

/** Jobs per statement. */
const batchJobs = 1_000
/** Bytes of text a statement, about: long payloads go in smaller batches, so that few of them are in memory. */
const batchLength = 4_000_000

/**
 * Put a job for each line that is not empty, a batch at a time, and print how many. What is wrong ends it, and so does
 * Ctrl-C once the batch in flight is written: every line up to the last one was put then, and none after it.
 *
 * JSON, also where it ends early: `{ "queue", "put", "lastLine", "isComplete" }`; `lastLine` is the last one that was
 * put (or skipped, being empty), so `--from-line` with the number after it goes on.
 *
 * @param fromLine - lines before are skipped
 * @throws Refusal, with the line's number; the signal's reason; what `putMany` throws
 */
export async function putLines(
  cli: Cli,
  queue: string,
  input: Readable,
  options: PutOptions,
  fromLine: number,
): Promise<number> {
  const { out } = cli
  const bugle: Bugle = cli.bugle()
  const work = batchWork(cli, 'put')
  const { signal } = work
  let put = 0
  let lastLine = fromLine - 1
  let batch: Batch = emptyBatch()

  async function flush(): Promise<void> {
    const { payloads, numbers, readTo } = batch
    batch = emptyBatch()
    if (payloads.length > 0) {
      await bugle.putMany(queue, payloads, options).catch((error) => {
        throw lineError(toError(error), numbers)
      })
    }
    put += payloads.length
    lastLine = Math.max(lastLine, readTo)
    if (put > 0) work.onProgress(put)
  }

  async function putAll(): Promise<void> {
    for await (const line of linesOf(input, signal)) {
      if (signal.aborted) break
      if (line.number < fromLine) continue
      const value = parse(line)
      if (value instanceof Error) {
        await flush()
        throw value
      }
      add(batch, line, value)
      if (batch.payloads.length === batchJobs || batch.length >= batchLength) await flush()
    }
    if (!signal.aborted) await flush()
  }

  let failed: Error | null = null
  try {
    await putAll()
  } catch (error) {
    failed = toError(error)
  }
  work.end()
  out.json({ queue, put, lastLine, isComplete: failed === null && !signal.aborted })
  out.say(String(put))
  if (failed === null && !signal.aborted) return exitCodes.ok
  const isKnown = !(failed instanceof BugleError && failed.code === 'RESULT_UNKNOWN')
  const far = `${farText(lastLine, fromLine, isKnown)}; go on with --from-line ${lastLine + 1}`
  if (failed !== null) throw told(failed, far)
  out.note(far)
  throw signal.reason
}

function farText(lastLine: number, fromLine: number, isKnown: boolean): string {
  const after = isKnown ? ' and none after' : ''
  if (lastLine < fromLine) return isKnown ? 'no line was put' : 'no line before was put'
  return `lines up to ${count(lastLine)} were put${after}`
}

interface Batch {
  readonly payloads: unknown[]
  /** The lines' numbers, of the same places. */
  readonly numbers: number[]
  /** The last line that was read, empty ones included. */
  readTo: number
  length: number
}

function emptyBatch(): Batch {
  return { payloads: [], numbers: [], readTo: 0, length: 0 }
}

function add(batch: Batch, { number, text }: Line, value: unknown): void {
  batch.readTo = number
  if (value === undefined) return
  batch.payloads.push(value)
  batch.numbers.push(number)
  batch.length += text?.length ?? 0
}

/** @returns undefined: it is empty; an Error: it is not JSON */
function parse({ number, text }: Line): unknown {
  if (text === null) return new Refusal(`line ${count(number)} is not UTF-8`)
  if (text.trim() === '') return undefined
  try {
    return JSON.parse(text)
  } catch (error) {
    return new Refusal(`line ${count(number)} is not JSON (${toError(error).message.slice(0, 100)})`)
  }
}

/** A refusal names the payload by its place in the batch: the user knows lines. */
function lineError(error: Error, numbers: readonly number[]): Error {
  const [first = 0] = numbers
  const last = numbers.at(-1) ?? 0
  const place = /\bpayloads\[(\d+)\]/.exec(error.message)
  if (error instanceof BugleError && error.code === 'RESULT_UNKNOWN') {
    return new BugleError(
      error.code,
      `of lines ${first} to ${last} it is not known whether they were put: ${error.message}`,
    )
  }
  if (place === null) return error
  const number = numbers[Number(place[1])]
  const where = number === undefined ? `${first} to ${last}` : count(number)
  return new Refusal(`line ${where}: ${error.message.replace(place[0], 'the payload')}`)
}

/** The same error, and how far it came. */
function told(error: Error, far: string): Error {
  const message = `${error.message}; ${far}`
  if (error instanceof BugleError) return new BugleError(error.code, message, { cause: error })
  return new Refusal(message)
}
