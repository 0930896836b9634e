import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import postgres from 'postgres'
import { afterAll, beforeAll, inject } from 'vitest'

export const root = fileURLToPath(new URL('../..', import.meta.url))
/** The demo by itself, and the command of which `demo` is a part. */
export const program = join(root, 'dist/demo/index.js')
const command = join(root, 'dist/cli/index.js')
const connectionString = inject('connectionString')

/** Root may read every file. A run as root is therefore made as this user, if this user can read the checkout. */
const nobody = { uid: 65_534, gid: 65_534 }
const isRoot = process.getuid?.() === 0
/** The user of a run that must be refused a file; no user where it is our own. */
export const reader = isRoot && canRead(nobody) ? nobody : {}

/** Whether a file can be closed to such a run. */
export const isRefusing = !isRoot || reader === nobody

function canRead(user: typeof nobody): boolean {
  const script = `fs.accessSync(${JSON.stringify(program)}); fs.accessSync(${JSON.stringify(tmpdir())})`
  return spawnSync(process.execPath, ['-e', script], { ...user, cwd: '/' }).status === 0
}

/** The temporary directory of all folders of the file. */
export let tmp = ''
/** A superuser's connections. */
export const sql = postgres(connectionString, { onnotice: () => {}, max: 4 })

const children = new Set<ChildProcess>()

/** Makes a folder for one run. @returns its path */
export function folder(name: string): string {
  const path = join(tmp, name)
  mkdirSync(path)
  return path
}

interface Demo {
  readonly child: ChildProcess
  /** The first match of what it has printed so far, or will print. */
  printed(pattern: RegExp): Promise<RegExpExecArray>
  readonly ended: Promise<{ code: number | null; out: string; err: string }>
  /** The run's own schema, and the pids of its workers: as printed. */
  marks(): Promise<{ schema: string; pids: number[] }>
}

/** Starts the demo by itself. */
export function demo(args: string[], env: NodeJS.ProcessEnv = { DATABASE_URL: connectionString }, user = {}): Demo {
  return start([program, ...args], env, user)
}

/** Starts the demo as `bugle demo`. */
export function commanded(
  args: string[],
  env: NodeJS.ProcessEnv = { DATABASE_URL: connectionString },
  cwd?: string,
  cli = command,
): Demo {
  return start([cli, 'demo', ...args], env, { ...(cwd !== undefined && { cwd }) })
}

function start(args: string[], env: NodeJS.ProcessEnv, options: object): Demo {
  const { DATABASE_URL: _, ...environment } = process.env
  const child = spawn(process.execPath, args, {
    env: { ...environment, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    ...options,
  })
  children.add(child)
  let out = ''
  let err = ''
  let heard = (): void => {}
  child.stdout.setEncoding('utf8').on('data', (text) => {
    out += text
    heard()
  })
  child.stderr.setEncoding('utf8').on('data', (text) => {
    err += text
  })
  let hasEnded = false
  const ended = once(child, 'close').then(([code]) => {
    hasEnded = true
    children.delete(child)
    heard()
    return { code: code as number | null, out, err }
  })

  async function printed(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(out)
      if (match !== null) return match
      if (hasEnded) throw new Error(`the demo ended without printing ${pattern}:\n${out}${err}`)
      await new Promise<void>((resolve) => {
        heard = resolve
      })
    }
  }

  return {
    child,
    printed,
    ended,
    async marks() {
      const [, schema = ''] = await printed(/schemas +(\S+) and/)
      const [, one, other] = await printed(/processes (\d+) and (\d+)/)
      return { schema, pids: [Number(one), Number(other)] }
    },
  }
}

/** What a run has left behind: schemas, roles and processes. */
export async function left({ schema, pids }: { schema: string; pids: number[] }): Promise<unknown[]> {
  const schemas = await sql`select nspname from pg_namespace where starts_with(nspname, ${schema})`
  const roles = await sql`select rolname from pg_roles where starts_with(rolname, ${schema})`
  return [...schemas.map((row) => row.nspname), ...roles.map((row) => row.rolname), ...pids.filter(isAlive)]
}

/** Whether there is a process with this pid. */
export function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

/** Makes the temporary directory before the tests, and removes it after them. Runs that are left are killed. */
export function inDemoFolder(): void {
  beforeAll(() => {
    tmp = mkdtempSync(join(tmpdir(), 'bugle-demo-test-'))
    chmodSync(tmp, 0o755)
  })
  afterAll(async () => {
    for (const child of children) child.kill('SIGKILL')
    rmSync(tmp, { recursive: true, force: true })
    await sql.end({ timeout: 1 })
  })
}
