/** One PostgreSQL server as a child process: initdb, start, shut down. */
import { type ChildProcess, type ChildProcessByStdio, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { BugleError } from '../errors.js'
import { readPostmaster } from './postmaster.js'
import type { ShutdownMode } from './protocol.js'
import { isWithin, shutDown } from './shutdown.js'
import type { ServerUser } from './user.js'

interface PostgresPlan {
  binDir: string
  dataDir: string
  /** Undefined: as ourselves. */
  user: ServerUser | undefined
  /** `name=value` */
  settings: readonly string[]
  durability: 'on' | 'off'
}

export interface Postgres {
  /** Of the server's main process; 0 while none is running. */
  readonly pid: number
  /** The last lines that initdb and the server have written, for messages. */
  readonly log: string
  initialise(directory: string): Promise<void>
  /** Resolves when sessions are accepted. Rejects if the server ends before. */
  start(port: number): Promise<void>
  /** @param smartMs - how long `smart` waits for clients */
  stop(mode: ShutdownMode, smartMs?: number): Promise<void>
}

/** The port is taken by somebody else. */
export class PortTakenError extends Error {}

export function createPostgres(plan: PostgresPlan): Postgres {
  let log = ''
  let child: ChildProcess | undefined
  let ended: Promise<void> = Promise.resolve()

  function run(program: string, args: string[], cwd: string): Promise<number | null> {
    log = ''
    const path = join(plan.binDir, program)
    let started: Tool
    try {
      started = spawnTool(path, args, cwd, plan.user)
    } catch (error) {
      // Node throws what it does not expect of a spawn, such as a user that cannot be taken on.
      return Promise.reject(unableToRun(path, plan.user, error as NodeJS.ErrnoException))
    }
    child = started
    for (const stream of [started.stdout, started.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        log = (log + text).slice(-4000)
      })
    }
    const closed = new Promise((resolve) => started.once('close', resolve))
    const ending = new Promise<number | null>((resolve, reject) => {
      started.once('error', (error) => reject(unableToRun(path, plan.user, error)))
      started.once('exit', async (code) => {
        // Sessions of a killed server have its output open until they end as well, and the data in use. But one that is
        // stopped (SIGSTOP) ends never.
        await isWithin(2000, closed)
        resolve(code)
      })
    })
    ended = ending.then(
      () => {},
      () => {},
    )
    ended.then(() => {
      if (child === started) child = undefined
    })
    return ending
  }

  function lastLines(): string {
    const lines = log.split('\n').filter((line) => line !== '')
    return lines.slice(-20).join('\n')
  }

  async function initialise(directory: string): Promise<void> {
    const args = ['-D', directory, '-U', 'postgres', '--auth=trust', '--encoding=UTF8', '--locale=C']
    if (plan.durability === 'off') args.push('--no-sync')
    const code = await run('initdb', args, directory)
    if (code !== 0) throw new BugleError('DATABASE_DOWN', `initdb has failed (exit code ${code}):\n${lastLines()}`)
  }

  async function start(port: number): Promise<void> {
    const ending = run('postgres', ['-D', plan.dataDir, '-p', String(port), ...serverSettings(plan)], plan.dataDir)
    const pid = child?.pid
    let code: number | null | undefined
    let failure: unknown
    ending.then(
      (value) => {
        code = value
      },
      (error: unknown) => {
        failure = error
      },
    )
    // The file's status is what pg_ctl goes by: unlike the log it depends on no setting.
    for (;;) {
      if (failure !== undefined) throw failure
      if (code !== undefined) break
      const postmaster = await readPostmaster(plan.dataDir)
      if (postmaster?.pid === pid && /^(ready|standby)$/.test(postmaster?.status ?? '')) return
      await Promise.race([delay(10), ended])
    }
    const text = lastLines()
    if (text.includes('Address already in use')) throw new PortTakenError(`port ${port} is taken`)
    throw new BugleError('DATABASE_DOWN', `the server ended at its start (exit code ${code}):\n${text}`)
  }

  async function stop(mode: ShutdownMode, smartMs?: number): Promise<void> {
    const stopping = child
    if (stopping === undefined) return
    const isGone = await shutDown(mode, (signal) => stopping.kill(signal), ended, smartMs)
    if (!isGone) throw new BugleError('DATABASE_DOWN', `the server does not end, pid ${stopping.pid}`)
  }

  return {
    get pid() {
      return child?.pid ?? 0
    },
    get log() {
      return lastLines()
    },
    initialise,
    start,
    stop,
  }
}

/**
 * A port on the loopback that was free just now. From 15432 to 32767, below the usual ports for outgoing connections:
 * the port of a server that is being restarted must not go to a client that tries to reach it.
 */
export async function freePort(random: () => number = Math.random): Promise<number> {
  for (;;) {
    const port = 15_432 + Math.floor(random() * (32_768 - 15_432))
    if (await isPortFree(port)) return port
  }
}

/** Whether nobody listens on it on the loopback, at this moment. */
function isPortFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer()
    probe.once('error', () => resolve(false))
    probe.listen({ port, host: '127.0.0.1', exclusive: true }, () => probe.close(() => resolve(true)))
  })
}

function serverSettings(plan: PostgresPlan): string[] {
  const settings = [
    // English messages, of which we know one.
    'lc_messages=C',
    // No socket file: its path may have 107 bytes at most, and temporary directories can be longer than that.
    'unix_socket_directories=',
    // The log goes through us, the last lines of it into messages.
    'logging_collector=off',
    'log_destination=stderr',
    ...(plan.durability === 'off' ? ['fsync=off', 'full_page_writes=off'] : []),
    ...plan.settings,
    'listen_addresses=127.0.0.1',
  ]
  return settings.flatMap((setting) => ['-c', setting])
}

type Tool = ChildProcessByStdio<null, Readable, Readable>

function spawnTool(path: string, args: string[], cwd: string, user: ServerUser | undefined): Tool {
  return spawn(path, args, {
    // The caller's directory may be closed to the user of the server.
    cwd,
    env: toolEnvironment(),
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(user && { uid: user.uid, gid: user.gid }),
  })
}

// Nothing else of the caller's environment: PGDATA, PGPORT and their kind would reach the tools, and LANG and TZ the
// cluster. With LC_ALL its messages are English, and macOS does not make the server multithreaded to find a locale.
function toolEnvironment(): NodeJS.ProcessEnv {
  const environment: NodeJS.ProcessEnv = { PATH: process.env.PATH ?? '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' }
  for (const name of ['LD_LIBRARY_PATH', 'DYLD_LIBRARY_PATH']) {
    const value = process.env[name]
    if (value !== undefined) environment[name] = value
  }
  return environment
}

function unableToRun(path: string, user: ServerUser | undefined, cause: NodeJS.ErrnoException): BugleError {
  const as = user === undefined ? '' : ` as ${user.name}`
  const reasons: Record<string, string> = {
    EACCES: 'it is not executable, or on a file system mounted with noexec',
    EPERM: 'this container does not let us become that user',
    EINVAL: 'this container does not know that user',
    // The file itself was looked for before.
    ENOENT: existsSync(path) ? 'its loader is missing: it needs glibc, which Alpine does not have' : 'it is missing',
  }
  const reason = reasons[cause.code ?? ''] ?? cause.message
  return new BugleError('DATABASE_DOWN', `cannot run ${path}${as}: ${reason} (${cause.code})`, { cause })
}
