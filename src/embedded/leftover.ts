/**
 * Servers and directories that a killed supervisor has left behind.
 *
 * The supervisor outlives its parent, but nothing outlives a SIGKILL of its own: its server then goes on, with nobody
 * to stop it. The next start does.
 */
import { lstat, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { clusterIn, homePrefix, unfinishedPrefix } from './home.js'
import { findHolder } from './liveness.js'
import { isServerOf, readPostmaster } from './postmaster.js'
import type { ShutdownMode } from './protocol.js'
import { shutDown } from './shutdown.js'

// Between its making and its name a home has no supervisor to be found, for milliseconds.
const unfinishedMs = 600_000

/** Tidy up all our abandoned temporary homes. What cannot be tidied is left to the next start. */
export async function sweepTemporaryHomes(roots: readonly string[]): Promise<void> {
  for (const root of roots) {
    const names = await readdir(root).catch(() => [])
    await Promise.all(names.map((name) => sweepIfAbandoned(root, name).catch(() => {})))
  }
}

async function sweepIfAbandoned(root: string, name: string): Promise<void> {
  const isUnfinished = name.startsWith(unfinishedPrefix)
  if (!isUnfinished && !name.startsWith(homePrefix)) return
  const home = join(root, name)
  const found = await lstat(home)
  if (!found.isDirectory() || found.uid !== process.getuid?.()) return
  if (isUnfinished && Date.now() - found.mtimeMs < unfinishedMs) return
  await sweepHome(home, 'temporary')
}

/**
 * Stop the server of a home whose supervisor is gone, and remove the home if it is a temporary one. Does nothing while
 * the supervisor is there.
 */
export async function sweepHome(home: string, kind: 'temporary' | 'kept'): Promise<void> {
  const holder = await findHolder(home)
  if (holder !== undefined) return holder.leave()
  // A crash is good enough for data that is thrown away.
  await stopLeftover(await clusterIn(home), kind === 'temporary' ? 'immediate' : 'fast')
  if (kind === 'temporary') await removeHome(home)
}

/** Stop the server that runs on this data directory without a supervisor, if there is one. */
export async function stopLeftover(dataDir: string, mode: ShutdownMode): Promise<void> {
  const postmaster = await readPostmaster(dataDir)
  if (postmaster === undefined || !(await isServerOf(postmaster.pid, dataDir))) return
  const { pid } = postmaster
  let isWatching = true
  const watch = async (): Promise<void> => {
    // It is not our child, so nobody tells us.
    while (isWatching && (await isServerOf(pid, dataDir))) await delay(10)
  }
  await shutDown(mode, (signal) => signalIfThere(pid, signal), watch())
  isWatching = false
}

/** Remove a temporary home, also while the last files are still being written by a process that is ending. */
export async function removeHome(home: string): Promise<void> {
  await rm(home, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 })
}

function signalIfThere(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
