/**
 * The operating system's user that the server runs as.
 *
 * PostgreSQL refuses to run as root. So as root we run it as `postgres`, or as `nobody` (initdb wants a user that has a
 * name), and this user has to be able to reach the programs and the data.
 */
import { execFile } from 'node:child_process'
import { stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { promisify } from 'node:util'
import { BugleError } from '../errors.js'

export interface ServerUser {
  uid: number
  gid: number
  name: string
}

const run = promisify(execFile)

/**
 * Who the server has to run as; undefined when that is ourselves.
 *
 * @param dataDir - an existing cluster: as root we then take its owner, since the server insists on owning it
 */
export async function serverUser(dataDir: string | undefined): Promise<ServerUser | undefined> {
  if (process.getuid?.() !== 0) return undefined
  const owner = dataDir === undefined ? undefined : await stat(dataDir).catch(() => undefined)
  if (owner !== undefined && owner.uid !== 0) return { uid: owner.uid, gid: owner.gid, name: `uid ${owner.uid}` }
  for (const name of ['postgres', 'nobody']) {
    const found = await lookUp(name)
    if (found !== undefined && found.uid !== 0) return found
  }
  throw new BugleError(
    'INVALID_OPTION',
    'PostgreSQL refuses to run as root, and this system has no user postgres and no user nobody to run it as',
  )
}

// `id` also knows the users that are not in /etc/passwd.
async function lookUp(name: string): Promise<ServerUser | undefined> {
  try {
    const [uid, gid] = await Promise.all([run('id', ['-u', name]), run('id', ['-g', name])])
    // macOS prints nobody's -2 without a sign; Node wants 32 bits with one.
    return { uid: Number(uid.stdout) | 0, gid: Number(gid.stdout) | 0, name }
  } catch {
    return undefined
  }
}

/**
 * The first directory on the way to `path` that the user may not pass through (or `path` itself, when it is a directory
 * that cannot be entered); undefined when the way is free.
 *
 * Judged by the permission bits. Access control lists are not looked at: where they deny more, the server's own message
 * tells.
 */
export async function obstacle(user: ServerUser, path: string): Promise<string | undefined> {
  const above = dirname(path)
  if (above !== path) {
    const higher = await obstacle(user, above)
    if (higher !== undefined) return higher
  }
  const found = await stat(path)
  return !found.isDirectory() || permits(user, found, 1) ? undefined : path
}

/** @param want - 4 to read, 1 to execute or pass through, 5 for both */
export function permits(user: ServerUser, file: { uid: number; gid: number; mode: number }, want: number): boolean {
  const shift = file.uid === user.uid ? 6 : file.gid === user.gid ? 3 : 0
  return ((file.mode >> shift) & want) === want
}
