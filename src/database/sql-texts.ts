import { readdirSync, readFileSync } from 'node:fs'

/**
 * The files of `sql/`, read from the disk: what runs from `src/` uses them as they are at that moment.
 *
 * The build puts another module with these functions into `dist/`, which holds all the texts (inline-sql.mjs). So a
 * program that is bundled into one file needs no file beside it.
 */
const directory = new URL('../../sql/', import.meta.url)

/** @param path - below `sql/`, such as `statements/claim.sql` */
export function sqlText(path: string): string {
  return readFileSync(new URL(path, directory), 'utf8')
}

/** Of every statement and of schema.json, below `sql/`. */
export function sqlPaths(): readonly string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .map((path) => path.replaceAll('\\', '/'))
    .filter((path) => /\.(sql|json)$/.test(path))
}
