import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const root = new URL('../..', import.meta.url).pathname
const folders = ['src', 'sql', 'bench', 'test'] as const
const endings = ['.ts', '.mjs', '.sql'] as const
/** The formatter's own, for code: it wraps neither comments nor texts. */
const mostColumns = 120
/** PostgreSQL wrote its lines: one per object, however long its definition is. */
const dump = join('test', 'support', 'schema.dump.sql')

test.for(folders)('no line of %s is longer than 120 columns', (folder) => {
  const files = sourcesIn(folder)
  expect(files).not.toEqual([])
  expect(files.flatMap(longLines)).toEqual([])
})

/** Read from the disk: a checkout may have no git. What others have installed there is not ours. */
function sourcesIn(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => !file.split(/[/\\]/).includes('node_modules') && endings.some((ending) => file.endsWith(ending)))
    .map((file) => join(folder, file))
    .filter((file) => file !== dump)
}

function longLines(file: string): string[] {
  return readFileSync(join(root, file), 'utf8')
    .split('\n')
    .flatMap((line, index) => (line.length > mostColumns ? [`${file}:${index + 1}`] : []))
}
