/**
 * The library links of the platform package.
 *
 * An npm package cannot hold symbolic links, so `native/pg-symlinks.json` lists them and an install script makes them.
 * That script does not run with `--ignore-scripts`, under pnpm and bun, and by npm's coming defaults; then the server
 * dies with "error while loading shared libraries". So we look at every start, and make what is missing.
 */
import { lstat, readFile, symlink } from 'node:fs/promises'
import { dirname, join, relative, resolve, sep } from 'node:path'
import { BugleError } from '../errors.js'

interface Link {
  /** The file that is there, from the package's root. */
  source: string
  /** The link to make, from the package's root. */
  target: string
}

/**
 * Every link of the list is there afterwards. Safe to run in any number of processes at once, because a link is made
 * in one step and always the same.
 *
 * @param nativeDir - the `native` folder of a platform package, or of a copy of it
 * @throws BugleError `INVALID_OPTION` when a link is missing and the folder may not be written to
 */
export async function ensureLinks(nativeDir: string): Promise<void> {
  const root = dirname(nativeDir)
  for (const link of await listedLinks(nativeDir)) {
    const target = resolve(root, link.target)
    const source = resolve(root, link.source)
    // The list is data from a package: nothing outside of its folder.
    if (!isInside(nativeDir, target) || !isInside(nativeDir, source)) continue
    if (await exists(target)) continue
    await symlink(relative(dirname(target), source), target).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'EEXIST') return
      throw new BugleError(
        'INVALID_OPTION',
        `the server's library link ${target} is missing and cannot be made (${error.code}): install scripts were ` +
          `skipped and the folder is read-only. Run "npm rebuild" once with the right to write to ${root}`,
        { cause: error },
      )
    })
  }
}

async function listedLinks(nativeDir: string): Promise<Link[]> {
  try {
    return JSON.parse(await readFile(join(nativeDir, 'pg-symlinks.json'), 'utf8')) as Link[]
  } catch (error) {
    // Packages of platforms without links have no list.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}

async function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  )
}

function isInside(directory: string, path: string): boolean {
  return path.startsWith(directory + sep)
}
