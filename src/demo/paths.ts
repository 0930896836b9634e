/**
 * File names are bytes, a job's payload is Unicode: the way from one to the other and back.
 */
import { isUtf8 } from 'node:buffer'

/** A file's path relative to the folder, as a payload carries it. */
export interface PathInJob {
  /** The path; of one that is not valid UTF-8 a readable form, in which bytes beyond ASCII are `\xNN`. */
  readonly path: string
  /** The path's bytes in base64, where they are not valid UTF-8 and `path` therefore does not name the file. */
  readonly pathBytes?: string
}

/**
 * A path that survives the journey through JSON and jsonb, whatever its bytes are.
 *
 * Lone surrogates are no case of their own: written as bytes they are invalid UTF-8.
 */
export function toPathInJob(raw: Buffer): PathInJob {
  if (isUtf8(raw)) return { path: raw.toString('utf8') }
  const path = raw.toString('latin1').replace(/[^\x20-\x7e]/g, hex)
  return { path, pathBytes: raw.toString('base64') }
}

/** The file's path below `folder`, byte for byte. */
export function toRawPath(folder: string, { path, pathBytes }: PathInJob): Buffer {
  const relative = pathBytes === undefined ? Buffer.from(path, 'utf8') : Buffer.from(pathBytes, 'base64')
  return joinRaw(Buffer.from(folder, 'utf8'), relative)
}

export function joinRaw(folder: Buffer, name: Buffer): Buffer {
  return folder.length === 0 ? name : Buffer.concat([folder, Buffer.from('/'), name])
}

function hex(character: string): string {
  return `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`
}
