import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const execute = promisify(execFile)
export const root = fileURLToPath(new URL('../..', import.meta.url))

export interface Packed {
  readonly filename: string
  readonly files: readonly { readonly path: string }[]
}

/** `dist` is taken as it is: `npm test` builds first. */
export async function pack(...options: string[]): Promise<Packed> {
  const { stdout } = await execute('npm', ['pack', '--json', '--ignore-scripts', ...options], { cwd: root })
  const [packed] = JSON.parse(stdout) as Packed[]
  if (packed === undefined) throw new Error(`npm pack said ${stdout}`)
  return packed
}

export interface InstalledPackage {
  readonly version: string
  readonly hasInstallScript?: boolean
}

/** An empty project into which our tarball was installed. */
export interface Project extends AsyncDisposable {
  readonly directory: string
  /** What npm has put into node_modules, by path. */
  readonly packages: Readonly<Record<string, InstalledPackage>>
  write(name: string, text: string): void
  /** A program in there, with nothing of this checkout in its way. */
  run(program: string, args: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }>
}

/** What npm says when there is no registry, nor all that is needed in its cache. */
const noRegistry =
  /ENOTFOUND|ECONNREFUSED|EAI_AGAIN|ETIMEDOUT|ENETUNREACH|ENOTCACHED|ECONNRESET|E50[234]|ERR_SOCKET_TIMEOUT/

/** @returns null: there is no registry to install our dependencies from */
export async function installTarball(): Promise<Project | null> {
  const directory = mkdtempSync(join(tmpdir(), 'bugle-install-'))
  const remove = (): void => rmSync(directory, { recursive: true, force: true })
  try {
    const { filename } = await pack('--pack-destination', directory)
    writeFileSync(join(directory, 'package.json'), '{ "name": "empty", "version": "1.0.0" }\n')
    const quiet = ['--no-audit', '--no-fund', '--no-update-notifier', '--prefer-offline', '--fetch-retries=1']
    await execute('npm', ['install', ...quiet, `./${filename}`], { cwd: directory, env: cleanEnvironment() })
  } catch (error) {
    remove()
    if (noRegistry.test(String((error as { stderr?: string }).stderr))) return null
    throw error
  }
  const lock = JSON.parse(readFileSync(join(directory, 'node_modules/.package-lock.json'), 'utf8'))
  return {
    directory,
    packages: (lock as { packages: Record<string, InstalledPackage> }).packages,
    write: (name, text) => writeFileSync(join(directory, name), text),
    async run(program, args) {
      try {
        return { code: 0, ...(await execute(program, [...args], { cwd: directory, env: cleanEnvironment() })) }
      } catch (error) {
        const { code, stdout, stderr } = error as { code: unknown; stdout: string; stderr: string }
        if (typeof code !== 'number') throw error
        return { code, stdout, stderr }
      }
    },
    async [Symbol.asyncDispose]() {
      remove()
    },
  }
}

/** Without what npm and vitest have told their children about this checkout, and without anybody's database. */
function cleanEnvironment(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([name]) => !/^(npm_(?!config_)|VITEST|NODE_OPTIONS$|NODE_PATH$|DATABASE_URL$|PG|BUGLE_|INIT_CWD$)/.test(name),
  )
  return { ...Object.fromEntries(kept), NODE_ENV: undefined, NO_COLOR: '1' }
}
