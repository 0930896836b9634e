import { BugleError, describe } from '../errors.js'
import { bundledPrograms, installedPrograms, refuseWindows } from './binaries.js'
import { type Supervisor, startSupervisor } from './client.js'
import { type EmbeddedOptions, resolveEmbeddedOptions } from './options.js'
import type { Ready, ShutdownMode, Task } from './protocol.js'
import { shutDownMs } from './shutdown.js'

/** A server that runs. */
export interface EmbeddedPostgres extends AsyncDisposable {
  /** `postgres://postgres@127.0.0.1:PORT/postgres`, a superuser without a password. */
  readonly connectionString: string
  readonly port: number
  /** The cluster's own directory; with the option `dataDir` usually `data` in there. */
  readonly dataDir: string
  /** Where the programs that are running are: as root perhaps a copy. */
  readonly binDir: string
  /** As `18.4`. */
  readonly version: string
  /** Of the server's main process; another one after each restart. */
  readonly pid: number
  /**
   * Stop the server, and remove its data if they are temporary. Takes some 100 ms, with sessions that do not let go 20
   * s at most. A second call joins the first.
   */
  stop(): Promise<void>
  /**
   * Stop the server and start it again, with the same port and data.
   *
   * - `fast`: transactions are rolled back and sessions disconnected.
   * - `immediate`: as a crash; the start recovers what was committed.
   * - `smart`: waits for all clients to leave, for `startTimeoutMs`; then as `fast`.
   *
   * @throws BugleError `DATABASE_DOWN` when it does not come back within `startTimeoutMs`; `CLOSED` after a stop
   */
  restart(mode: ShutdownMode): Promise<void>
}

/** Beyond the supervisor's own deadlines: if it is silent until then, it hangs itself. */
const marginMs = 5000

/**
 * What `startEmbedded` does, and one thing more, for the command.
 *
 * @param usualPort - tried first where the options name no port; if it is taken, the server gets another one
 * @throws BugleError as `startEmbedded`
 */
export async function startServer(options: EmbeddedOptions, usualPort?: number): Promise<EmbeddedPostgres> {
  refuseWindows()
  const {
    package: packageName,
    binDir,
    dataDir,
    settings,
    durability,
    port,
    startTimeoutMs,
  } = resolveEmbeddedOptions(options)
  const programs = binDir === undefined ? await bundledPrograms(packageName) : await installedPrograms(binDir)
  const task: Task = {
    kind: 'serve',
    programs,
    settings: [...settings],
    durability,
    startTimeoutMs,
    ...(dataDir !== undefined && { dataDir }),
    ...(usualPort !== undefined && { port: usualPort }),
    ...(port !== null && { port, isPortDemanded: true }),
  }
  const supervisor = startSupervisor(task)
  try {
    const ready = await supervisor.ready(startTimeoutMs + marginMs)
    return embedded(supervisor, ready, dataDir === undefined ? 'temporary' : 'kept', startTimeoutMs)
  } catch (error) {
    if (!(await supervisor.ended(shutDownMs + marginMs, 'close'))) supervisor.kill()
    throw error
  }
}

function embedded(
  supervisor: Supervisor,
  { port, dataDir, home, binDir, version, ...ready }: Ready['ready'],
  kind: 'temporary' | 'kept',
  startTimeoutMs: number,
): EmbeddedPostgres {
  let pid = ready.pid
  let stopped: Promise<void> | undefined

  async function stop(): Promise<void> {
    if (!(await supervisor.ended(shutDownMs + marginMs, 'close'))) {
      supervisor.kill()
      await supervisor.ended(marginMs, 'wait')
    }
    if (supervisor.isTidy) return
    // Killed, by us or by somebody else: another one does what it could not do.
    const sweeper = startSupervisor({ kind: 'sweep', home, temporary: kind === 'temporary' })
    if (!(await sweeper.ended(shutDownMs + marginMs, 'wait'))) sweeper.kill()
  }

  return {
    connectionString: `postgres://postgres@127.0.0.1:${port}/postgres`,
    port,
    dataDir,
    binDir,
    version,
    get pid() {
      return pid
    },
    stop() {
      stopped ??= stop()
      return stopped
    },
    async restart(mode) {
      if (!['smart', 'fast', 'immediate'].includes(mode)) {
        throw new BugleError('INVALID_OPTION', `mode must be smart, fast or immediate; got ${describe(mode)}`)
      }
      if (stopped !== undefined) throw new BugleError('CLOSED', 'the server is stopped')
      // A smart stop may use up the time once, and the start once more.
      pid = await supervisor.restart(mode, 2 * startTimeoutMs + shutDownMs + marginMs)
    },
    [Symbol.asyncDispose]() {
      return this.stop()
    },
  }
}
