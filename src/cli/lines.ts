import type { Readable } from 'node:stream'
import { Refusal } from '../terminal/ending.js'
import { count } from '../terminal/text.js'

export interface Line {
  /** From 1. */
  readonly number: number
  /** null: it is not UTF-8. */
  readonly text: string | null
}

/**
 * What fits into a job is at most 256 MB as jsonb, and usually 1 MiB; input without a line end must not fill the
 * memory.
 */
const longestBytes = 64 * 1024 * 1024
const lineEnd = 0x0a

/**
 * The lines of a stream, read no faster than they are taken. (Node's readline also ends lines at U+2028, which JSON may
 * hold.)
 *
 * @param signal - ends it at once, as if the stream had ended, without what came after the last line end
 * @throws Refusal where a line is too long; the stream's error
 */
export async function* linesOf(stream: Readable, signal: AbortSignal): AsyncGenerator<Line> {
  const decoder = new TextDecoder('utf-8', { fatal: true })
  let number = 0
  let pieces: Buffer[] = []
  let bytes = 0

  function next(last: Buffer): Line {
    const whole = pieces.length === 0 ? last : Buffer.concat([...pieces, last])
    pieces = []
    bytes = 0
    number += 1
    try {
      return { number, text: decoder.decode(whole) }
    } catch {
      return { number, text: null }
    }
  }

  const stop = (): void => void stream.destroy()
  signal.addEventListener('abort', stop, { once: true })
  try {
    if (signal.aborted) return
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      let from = 0
      for (let at = chunk.indexOf(lineEnd); at !== -1; at = chunk.indexOf(lineEnd, from)) {
        yield next(chunk.subarray(from, at))
        from = at + 1
      }
      if (from === chunk.length) continue
      pieces.push(chunk.subarray(from))
      bytes += chunk.length - from
      if (bytes > longestBytes) throw new Refusal(`line ${number + 1} is longer than ${count(longestBytes)} bytes`)
    }
    if (bytes > 0 && !signal.aborted) yield next(Buffer.alloc(0))
  } catch (error) {
    // A destroyed stream says so.
    if (!signal.aborted) throw error
  } finally {
    signal.removeEventListener('abort', stop)
  }
}
