/**
 * The program between us and the server: a small detached process that has the server as its child.
 *
 * Why a process of its own: the server has to go away with our process however that ends, SIGKILL and a forgotten
 * `stop()` included, and only somebody else can see to that. It knows by the end of its stdin, which the kernel closes
 * with us. Detached, in a session of its own, because Ctrl-C in a terminal goes to the whole process group: the
 * supervisor must outlive that, to shut down the server in order.
 *
 * It is a program: importing it starts it. Speaks the language of `protocol.ts`.
 */
import { execFile } from 'node:child_process'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { BugleError, toError } from '../errors.js'
import { isReachable, reachableCopy } from './copy.js'
import { clusterIn, createCluster, createTemporaryHome, isCluster, openKeptHome, temporaryRoots } from './home.js'
import { removeHome, stopLeftover, sweepHome, sweepTemporaryHomes } from './leftover.js'
import { ensureLinks } from './links.js'
import { socketName } from './liveness.js'
import { createPostgres, freePort, PortTakenError, type Postgres } from './postgres.js'
import type { Answer, Command, Failed, Programs, Ready, Task } from './protocol.js'
import { isWithin } from './shutdown.js'
import { obstacle, type ServerUser, serverUser } from './user.js'

type Serve = Extract<Task, { kind: 'serve' }>

let task: Task | undefined
let postgres: Postgres | undefined
let port = 0
let home: string | undefined
let serving: Promise<unknown> = Promise.resolve()
let ending: Promise<void> | undefined
let commands: Promise<void> = Promise.resolve()

listen()

function listen(): void {
  // Our parent may be gone before it has read everything.
  process.stdout.on('error', () => {})
  process.stderr.on('error', () => {})
  const lines = createInterface({ input: process.stdin })
  lines.on('line', (line) => {
    if (task !== undefined) return obey(JSON.parse(line) as Command)
    task = JSON.parse(line) as Task
    begin(task).catch(giveUp)
  })
  lines.on('close', end)
  process.stdin.on('error', end)
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, end)
  process.on('uncaughtException', giveUp)
}

async function begin(given: Task): Promise<void> {
  if (given.kind === 'sweep') {
    await sweepHome(given.home, given.temporary ? 'temporary' : 'kept')
    process.exit()
  }
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    const refuse = () => reject(notInTime('start', given.startTimeoutMs))
    timer = setTimeout(refuse, given.startTimeoutMs)
  })
  try {
    const ready = serve(given)
    serving = ready
    send(await Promise.race([ready, late]))
  } finally {
    clearTimeout(timer)
  }
}

async function serve(given: Serve): Promise<Ready> {
  const present = given.dataDir === undefined ? undefined : await clusterIn(given.dataDir)
  const user = await serverUser(present)
  // As root the copy of the programs belongs into a temporary directory, even if the data does not.
  const roots = given.dataDir === undefined || user !== undefined ? await temporaryRoots(user) : []
  const [root = ''] = roots
  const binDir = await usablePrograms(given.programs, user, root)
  const version = await serverVersion(binDir)
  await sweepTemporaryHomes(roots)
  const state = () => (ending === undefined ? 'running' : 'stopping')
  home =
    given.dataDir === undefined
      ? await createTemporaryHome(root, user, state)
      : await openKeptHome(given.dataDir, user, state)
  process.chdir(home)
  const dataDir = await clusterIn(home)
  await stopLeftover(dataDir, 'fast')
  refuseIfEnding()
  postgres = createPostgres({ ...given, binDir, dataDir, user })
  if (!(await isCluster(dataDir))) await createCluster(home, user, postgres.initialise)
  await startOnPort(postgres, given)
  return { ready: { pid: postgres.pid, port, dataDir, home, binDir, version } }
}

async function usablePrograms(programs: Programs, user: ServerUser | undefined, root: string): Promise<string> {
  const { binDir, bundled } = programs
  if (bundled === undefined) {
    const blocked = user === undefined ? undefined : await obstacle(user, binDir)
    if (blocked === undefined) return binDir
    throw new BugleError('INVALID_OPTION', `binDir must be reachable for the user ${user?.name}; got ${binDir}`)
  }
  const mustCopy = user !== undefined && !(await isReachable(user, bundled.nativeDir))
  const nativeDir = mustCopy ? await reachableCopy(bundled, root) : bundled.nativeDir
  await ensureLinks(nativeDir)
  return join(nativeDir, 'bin')
}

async function serverVersion(binDir: string): Promise<string> {
  const { stdout } = await promisify(execFile)(join(binDir, 'postgres'), ['--version'])
  return /\(PostgreSQL\) (\S+)/.exec(stdout)?.[1] ?? stdout.trim()
}

// The port was free when we looked; somebody may be faster than the server.
async function startOnPort(server: Postgres, { port: first, isPortDemanded = false }: Serve): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    refuseIfEnding()
    port = (attempt === 1 ? first : undefined) ?? (await freePort())
    try {
      return await server.start(port)
    } catch (error) {
      if (!(error instanceof PortTakenError)) throw error
      if (isPortDemanded) throw new BugleError('INVALID_OPTION', `port must be free; ${port} is taken`)
      if (attempt === 10) throw error
    }
  }
}

/** One command after the other, in the order of their coming. */
function obey(command: Command): void {
  const { id } = command
  commands = commands.then(async () => {
    try {
      send({ id, pid: await restart(command) })
    } catch (error) {
      send({ id, failed: failureOf(error) })
    }
  })
}

async function restart({ restart: mode }: Command): Promise<number> {
  if (task?.kind !== 'serve' || postgres === undefined) throw new BugleError('CLOSED', 'there is no server to restart')
  const { startTimeoutMs } = task
  await postgres.stop(mode, startTimeoutMs)
  const deadline = Date.now() + startTimeoutMs
  const timer = setTimeout(() => postgres?.stop('immediate').catch(() => {}), startTimeoutMs)
  try {
    for (;;) {
      refuseIfEnding()
      try {
        await postgres.start(port)
        return postgres.pid
      } catch (error) {
        if (Date.now() > deadline) throw notInTime('restart', startTimeoutMs)
        // Clients go on connecting to this port, so it has to be the same one.
        if (!(error instanceof PortTakenError)) throw error
        await delay(50)
      }
    }
  } finally {
    clearTimeout(timer)
  }
}

function giveUp(error: unknown): void {
  send({ failed: failureOf(error) })
  end()
}

/** Stop the server, remove what is temporary, leave. */
function end(): void {
  ending ??= tidyUp().then(
    () => process.exit(),
    () => process.exit(1),
  )
}

async function tidyUp(): Promise<void> {
  await postgres?.stop('fast')
  // A start that is under way notices at its next step, and may have made its directory by then.
  await isWithin(2000, serving)
  await postgres?.stop('fast')
  process.chdir('/')
  if (home === undefined || task?.kind !== 'serve') return
  if (task.dataDir === undefined) await removeHome(home)
  else await rm(join(home, socketName), { force: true })
}

function refuseIfEnding(): void {
  if (ending !== undefined) throw new BugleError('CLOSED', 'the server is being stopped')
}

function notInTime(what: string, timeoutMs: number): BugleError {
  const log = postgres?.log || '(nothing)'
  return new BugleError('DATABASE_DOWN', `the server did not ${what} within ${timeoutMs} ms; its last words:\n${log}`)
}

function failureOf(thrown: unknown): Failed['failed'] {
  if (thrown instanceof BugleError) return { code: thrown.code, message: thrown.message }
  return { code: 'DATABASE_DOWN', message: `the server could not be started: ${toError(thrown).message}` }
}

function send(message: Ready | Failed | Answer): void {
  process.stdout.write(`${JSON.stringify(message)}\n`)
}
