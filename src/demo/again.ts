import { createHash } from 'node:crypto'
import { lstat } from 'node:fs/promises'
import type { FoundFile } from './files.js'
import { toRawPath } from './paths.js'
import { isSystemError, reasonOf, withFile } from './reading.js'

/** A file as the check finds it, with nothing taken over from the workers. */
export type Again =
  | { readonly is: 'read'; readonly bytes: number; readonly sha256: string; readonly change: string | null }
  | { readonly is: 'gone' }
  | { readonly is: 'unreadable'; readonly reason: string }

/**
 * Read a file once more, in pieces, and compare what the file system says of it with what it said before its job was
 * put: `change` tells the difference in words.
 */
export async function readAgain(folder: string, file: FoundFile): Promise<Again> {
  const path = toRawPath(folder, file)
  try {
    const hash = createHash('sha256')
    let bytes = 0
    await withFile(path, async (handle) => {
      for await (const chunk of handle.createReadStream({ autoClose: false }) as AsyncIterable<Buffer>) {
        hash.update(chunk)
        bytes += chunk.length
      }
    })
    // After the reading: a change in the middle of it counts as well.
    const now = await lstat(path, { bigint: true })
    return { is: 'read', bytes, sha256: hash.digest('hex'), change: changeOf(file, now.size, now.mtimeNs) }
  } catch (error) {
    if (!isSystemError(error)) throw error
    return error.code === 'ENOENT' ? { is: 'gone' } : { is: 'unreadable', reason: reasonOf(error) }
  }
}

function changeOf(before: FoundFile, bytes: bigint, mtimeNs: bigint): string | null {
  if (bytes !== before.bytes) return `${before.bytes} bytes then, ${bytes} now`
  if (mtimeNs !== before.mtimeNs) return `written to ${timeOf(mtimeNs)}, before that ${timeOf(before.mtimeNs)}`
  return null
}

function timeOf(ns: bigint): string {
  const time = new Date(Number(ns / 1_000_000n))
  return Number.isNaN(time.getTime()) ? `${ns} ns` : time.toISOString()
}
