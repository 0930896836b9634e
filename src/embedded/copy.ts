/**
 * A copy of the server's files that another user can reach.
 *
 * Needed as root in a checkout below /root (mode 700) or one that was installed with a strict umask. It is made once
 * and kept below the temporary directory.
 */
import { randomBytes } from 'node:crypto'
import { lstatSync, readdirSync } from 'node:fs'
import { chmod, copyFile, link, lstat, mkdir, readdir, readlink, rename, rm, stat, symlink } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { BugleError } from '../errors.js'
import type { Programs } from './protocol.js'
import { obstacle, permits, type ServerUser } from './user.js'

/** Whether the user can pass to every file in the folder, and read and run it as its owner can. */
export async function isReachable(user: ServerUser, folder: string): Promise<boolean> {
  if ((await obstacle(user, folder)) !== undefined) return false
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    // More than a thousand files: waiting for each one would take several times as long, and nobody else waits here.
    const file = lstatSync(join(entry.parentPath, entry.name))
    if (!file.isSymbolicLink() && !permits(user, file, wanted(file.mode))) return false
  }
  return true
}

/**
 * The copy of `bundled`, complete, whatever earlier or concurrent starts and cleaners of old temporary files have done
 * to it: each start goes through all files and brings in the missing ones, each in one step. So no moment is unsafe,
 * and nothing that a running server uses is ever taken away.
 *
 * @param root - the directory to have it in
 * @returns the copy's `native` folder
 */
export async function reachableCopy(bundled: NonNullable<Programs['bundled']>, root: string): Promise<string> {
  const name = `bugle-postgres-${basename(bundled.name)}-${bundled.version}`
  const copy = join(root, name)
  await makeDirectory(copy)
  // The temporary directory is everybody's. One that somebody else has put there would be run with our data.
  const found = await lstat(copy)
  if (!found.isDirectory() || found.uid !== process.getuid?.() || (found.mode & 0o022) !== 0) {
    throw new BugleError(
      'INVALID_OPTION',
      `${copy} is where a copy of the server belongs, but it is not a directory that only we can write to: remove it`,
    )
  }
  const nativeDir = join(copy, 'native')
  await fill(bundled.nativeDir, nativeDir)
  return nativeDir
}

async function fill(from: string, to: string): Promise<void> {
  await makeDirectory(to)
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const source = join(from, entry.name)
    const target = join(to, entry.name)
    if (entry.isDirectory()) await fill(source, target)
    else if (entry.isSymbolicLink()) await symlink(await readlink(source), target).catch(unlessThere)
    else if (entry.isFile()) await bring(source, target)
  }
}

async function bring(source: string, target: string): Promise<void> {
  const [wantedFile, present] = await Promise.all([stat(source), lstat(target).catch(() => undefined)])
  if (present?.isFile() && present.size === wantedFile.size) return
  const aside = `${target}.${randomBytes(6).toString('hex')}`
  try {
    // A hard link costs nothing, but shares the permissions; it needs the same file system, too.
    const shareable = (wantedFile.mode & wanted(wantedFile.mode)) === wanted(wantedFile.mode)
    const linked = shareable && (await isDone(link(source, aside)))
    if (!linked) {
      await copyFile(source, aside)
      await chmod(aside, wantedFile.mode & 0o100 ? 0o755 : 0o644)
    }
    await rename(aside, target)
  } finally {
    // Renaming one link of a file over another link of it does nothing, and leaves both.
    await rm(aside, { force: true })
  }
}

// What others need to be able to do with a file: read it, and run it where the owner can.
function wanted(mode: number): number {
  return mode & 0o100 ? 5 : 4
}

async function makeDirectory(path: string): Promise<void> {
  const made = await isDone(mkdir(path))
  // Apart from mkdir, because of the umask; not on one that was there, which may not be ours.
  if (made) await chmod(path, 0o755)
  else await lstat(path)
}

async function isDone(step: Promise<void>): Promise<boolean> {
  return step.then(
    () => true,
    () => false,
  )
}

function unlessThere(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EEXIST') throw error
}
