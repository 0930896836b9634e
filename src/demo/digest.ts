import { createHash } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'
import { pipeline } from 'node:stream/promises'
import { promisify } from 'node:util'
import { createGzip, gzip } from 'node:zlib'
import { withFile } from './reading.js'

/** The work of a job. */
export interface Digest {
  readonly bytes: number
  /** In hex. */
  readonly sha256: string
  readonly gzipBytes: number
}

/** Up to here a file is read whole, which is faster; anything larger is streamed. */
const wholeBytes = 1_048_576
const chunkBytes = 262_144

/**
 * Hash and gzip a file.
 *
 * @throws SystemError where it cannot be read; the signal's AbortError
 */
export function digestFile(path: Buffer, signal: AbortSignal): Promise<Digest> {
  return withFile(path, (file, bytes) => (bytes <= wholeBytes ? digestWhole(file) : digestStream(file, signal)))
}

const gzipWhole = promisify(gzip)

async function digestWhole(file: FileHandle): Promise<Digest> {
  const content = await file.readFile()
  const sha256 = createHash('sha256').update(content).digest('hex')
  const zipped = await gzipWhole(content)
  return { bytes: content.length, sha256, gzipBytes: zipped.length }
}

async function digestStream(file: FileHandle, signal: AbortSignal): Promise<Digest> {
  const hash = createHash('sha256')
  let bytes = 0
  let gzipBytes = 0
  await pipeline(
    file.createReadStream({ highWaterMark: chunkBytes, autoClose: false }),
    async function* (chunks: AsyncIterable<Buffer>) {
      for await (const chunk of chunks) {
        hash.update(chunk)
        bytes += chunk.length
        yield chunk
      }
    },
    createGzip(),
    async (chunks: AsyncIterable<Buffer>) => {
      for await (const chunk of chunks) gzipBytes += chunk.length
    },
    { signal },
  )
  return { bytes, sha256: hash.digest('hex'), gzipBytes }
}
