import type { BigIntStats } from 'node:fs'
import { lstat, readdir } from 'node:fs/promises'
import { joinRaw, type PathInJob, toPathInJob } from './paths.js'
import { isSystemError, reasonOf } from './reading.js'

/** A file as it was when its job was put: enough to tell later whether it was changed. */
export interface FoundFile extends PathInJob {
  readonly bytes: bigint
  readonly mtimeNs: bigint
}

export interface Found {
  /** Every regular file below the folder, in an order that depends on nothing but the names. */
  readonly files: readonly FoundFile[]
  readonly bytes: number
  /** Symbolic links, which are not followed: they may lead out of the folder, or round in circles. */
  readonly links: number
  /** Sockets, pipes, devices. */
  readonly others: number
  /** Files whose names are not valid UTF-8. */
  readonly oddNames: number
  /** What could not even be looked at, so that nothing is known of the files in there. */
  readonly closed: readonly { readonly path: string; readonly reason: string }[]
}

/** Look-ups at once: a folder may hold a million names. */
const lookUps = 64

/**
 * Every regular file below a folder, depth first, names in the order of their bytes.
 *
 * @param folder - an existing directory
 * @throws the signal's reason
 */
export async function findFiles(folder: string, signal: AbortSignal): Promise<Found> {
  const root = Buffer.from(folder, 'utf8')
  const files: FoundFile[] = []
  const closed: { path: string; reason: string }[] = []
  let bytes = 0
  let links = 0
  let others = 0
  let oddNames = 0

  async function visit(directory: Buffer): Promise<void> {
    signal.throwIfAborted()
    const names = await unlessClosed(directory, () => readdir(below(root, directory), { encoding: 'buffer' }))
    if (names === null) return
    names.sort(Buffer.compare)
    for (let from = 0; from < names.length; from += lookUps) {
      const paths = names.slice(from, from + lookUps).map((name) => joinRaw(directory, name))
      const looks = await Promise.all(paths.map((path) => look(path)))
      for (const { path, stats } of looks) {
        if (stats === null) continue
        if (stats.isFile()) add(path, stats)
        else if (stats.isDirectory()) await visit(path)
        else if (stats.isSymbolicLink()) links += 1
        else others += 1
      }
    }
  }

  async function look(path: Buffer): Promise<{ path: Buffer; stats: BigIntStats | null }> {
    return { path, stats: await unlessClosed(path, () => lstat(below(root, path), { bigint: true })) }
  }

  function add(path: Buffer, stats: BigIntStats): void {
    const file = { ...toPathInJob(path), bytes: stats.size, mtimeNs: stats.mtimeNs }
    files.push(file)
    bytes += Number(stats.size)
    if (file.pathBytes !== undefined) oddNames += 1
  }

  async function unlessClosed<T>(path: Buffer, read: () => Promise<T>): Promise<T | null> {
    try {
      return await read()
    } catch (error) {
      if (!isSystemError(error)) throw error
      // Deleted since its name was read: then it is not there, which is no trouble.
      if (error.code !== 'ENOENT') closed.push({ path: toPathInJob(path).path || '.', reason: reasonOf(error) })
      return null
    }
  }

  await visit(Buffer.alloc(0))
  return { files, bytes, links, others, oddNames, closed }
}

function below(root: Buffer, path: Buffer): Buffer {
  return path.length === 0 ? root : joinRaw(root, path)
}
