/**
 * A home: the directory that one supervisor looks after, with its socket and the cluster in `data/`.
 *
 * The cluster has a directory of its own in it because initdb wants an empty one, and because as root the home stays
 * ours while the cluster has to belong to the user that the server runs as.
 */
import { randomBytes } from 'node:crypto'
import { access, chmod, chown, constants, mkdir, readdir, realpath, rename, rm, rmdir, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { BugleError } from '../errors.js'
import { findHolder, holdHome, type SupervisorState } from './liveness.js'
import { isWithin, shutDownMs } from './shutdown.js'
import { obstacle, type ServerUser } from './user.js'

export const homePrefix = 'bugle-embedded-'
/** For homes that no supervisor holds yet. */
export const unfinishedPrefix = '.bugle-embedded-'

/**
 * Where temporary homes can be: the system's temporary directory. As root also the usual ones, when the server's user
 * cannot reach that.
 *
 * @throws BugleError `INVALID_OPTION` when there is none
 */
export async function temporaryRoots(user: ServerUser | undefined): Promise<string[]> {
  const candidates = user === undefined ? [tmpdir()] : [tmpdir(), '/tmp', '/var/tmp']
  const roots: string[] = []
  for (const candidate of candidates) {
    try {
      const root = await realpath(candidate)
      await access(root, constants.W_OK | constants.X_OK)
      const isOpen = user === undefined || (await obstacle(user, root)) === undefined
      if (isOpen && !roots.includes(root)) roots.push(root)
    } catch {
      // Not there, or not for us: the next one.
    }
  }
  if (roots.length > 0) return roots
  const whom = user === undefined ? '' : `, which the server's user ${user.name} must be able to reach`
  throw new BugleError(
    'INVALID_OPTION',
    `no temporary directory can be used: TMPDIR must be a directory that we can write to${whom}; got ${tmpdir()}`,
  )
}

/**
 * Make a temporary home and hold it.
 *
 * It gets the name that others look for once it is held: one that was found without a supervisor is an abandoned one.
 */
export async function createTemporaryHome(
  root: string,
  user: ServerUser | undefined,
  state: () => SupervisorState,
): Promise<string> {
  const suffix = randomBytes(6).toString('hex')
  const unfinished = join(root, unfinishedPrefix + suffix)
  const home = join(root, homePrefix + suffix)
  await mkdir(unfinished, { mode: 0o700 })
  // The server's user passes through, and sees nothing.
  if (user !== undefined) await chmod(unfinished, 0o711)
  await holdHome(unfinished, state)
  await rename(unfinished, home)
  return home
}

/**
 * Take a directory of the user's as a home, and hold it. A supervisor that is just leaving is waited for: the usual
 * case after Ctrl-C and a new start.
 *
 * @throws BugleError `INVALID_OPTION` when another server is in use there
 */
export async function openKeptHome(
  directory: string,
  user: ServerUser | undefined,
  state: () => SupervisorState,
): Promise<string> {
  await mkdir(directory, { recursive: true })
  const home = await realpath(directory)
  const blocked = user === undefined ? undefined : await obstacle(user, home)
  if (blocked !== undefined && user !== undefined) {
    throw new BugleError(
      'INVALID_OPTION',
      `dataDir must be reachable for the user ${user.name}, as whom the server runs because PostgreSQL refuses to ` +
        `run as root; got ${directory}, but ${blocked} may not be passed`,
    )
  }
  while (!(await holdHome(home, state))) {
    const holder = await findHolder(home)
    if (holder === undefined) continue
    // A parent that has just been killed may not be known to be dead yet.
    const isGone = await isWithin(holder.state === 'stopping' ? shutDownMs : 1000, holder.gone)
    holder.leave()
    if (isGone) continue
    throw new BugleError('INVALID_OPTION', `dataDir must not be in use by another server; got ${directory}`)
  }
  return home
}

/** The cluster's directory in a home, whether it is there yet or not. */
export async function clusterIn(home: string): Promise<string> {
  return (await isCluster(home)) ? home : join(home, 'data')
}

export async function isCluster(directory: string): Promise<boolean> {
  return stat(join(directory, 'PG_VERSION')).then(
    () => true,
    () => false,
  )
}

/**
 * Make a cluster in a home, in one step: `initialise` works in another directory, and one that it has left half done
 * is thrown away next time.
 */
export async function createCluster(
  home: string,
  user: ServerUser | undefined,
  initialise: (directory: string) => Promise<void>,
): Promise<void> {
  const dataDir = join(home, 'data')
  const present = await readdir(dataDir).catch(() => undefined)
  if (present !== undefined && present.length > 0) {
    throw new BugleError('INVALID_OPTION', `dataDir holds a directory data that is no cluster: ${dataDir}`)
  }
  const aside = join(home, '.bugle-initdb')
  await rm(aside, { recursive: true, force: true })
  await mkdir(aside, { mode: 0o700 })
  if (user !== undefined) await chown(aside, user.uid, user.gid)
  await initialise(aside)
  if (present !== undefined) await rmdir(dataDir)
  await rename(aside, dataDir)
}
