import { execFile } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, expect } from 'vitest'
import { type TestDatabase, test } from '../support/database.js'
import { root } from '../support/install.js'

const execute = promisify(execFile)

/** What is bundled: a program that puts a job and consumes it. */
const program = `
import { createBugle } from 'bugle'

async function main() {
  const [connectionString, schema] = process.argv.slice(2)
  const bugle = createBugle({ connectionString, schema })
  await bugle.migrate()
  bugle.on('listener:health', ({ to }) => to !== 'stopped' && console.log(to))
  let end
  const ran = new Promise((resolve) => { end = resolve })
  const consumer = await bugle.consume('q', ({ payload }) => end(console.log(payload.text)))
  await bugle.put('q', { text: 'ran in a bundle' })
  await ran
  await consumer.idle()
  await bugle.close()
}
main()
`

/** The bundler that vitest brings along: it is no dependency of ours. */
async function loadBundler(): Promise<{ build(options: object): Promise<unknown> }> {
  const vite = createRequire(import.meta.resolve('vitest')).resolve('vite')
  const path = createRequire(vite).resolve('rolldown')
  return import(pathToFileURL(path).href) as Promise<{ build(options: object): Promise<unknown> }>
}

// Outside of the checkout, so that it finds neither sql/ nor node_modules.
const directory = mkdtempSync(join(tmpdir(), 'bugle-bundle-'))
afterAll(() => rmSync(directory, { recursive: true }))

interface Bundled {
  readonly format: 'esm' | 'cjs'
  readonly external: readonly string[]
}

/** @returns what the program says, run in a folder that holds its bundle and nothing else */
async function runBundled(
  db: TestDatabase,
  { format, external }: Bundled,
): Promise<{ stdout: string; stderr: string }> {
  const { build } = await loadBundler()
  const folder = mkdtempSync(join(directory, `${format}-`))
  const file = join(folder, format === 'esm' ? 'main.mjs' : 'main.cjs')
  await build({
    input: 'program',
    platform: 'node',
    logLevel: 'silent',
    // pg asks for pg-native only where it is wanted.
    external: ['pg-native', ...external],
    plugins: [
      {
        name: 'program',
        resolveId: (id: string) => (id === 'program' ? id : id === 'bugle' ? join(root, 'dist/index.js') : null),
        load: (id: string) => (id === 'program' ? program : null),
      },
    ],
    output: { file, format, codeSplitting: false },
  })
  expect(readdirSync(folder)).toHaveLength(1)
  if (external.length > 0) symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
  return execute(process.execPath, [file, db.connectionString, db.schema], { cwd: folder, env: {} })
}

for (const format of ['esm', 'cjs'] as const) {
  test(`bundled (${format}) but for pg-listen, without sql/ beside it, the library puts, wakes and consumes`, async ({
    db,
  }) => {
    expect(await runBundled(db, { format, external: ['pg-listen'] })).toEqual({
      stdout: 'live\nran in a bundle\n',
      stderr: '',
    })
    expect(await db.jobs()).toEqual([])
  })
}

test('bundled with pg-listen it lives by sweeps, and a warning says what to leave out', async ({ db }) => {
  const { stdout, stderr } = await runBundled(db, { format: 'esm', external: [] })
  expect(stdout).toBe('polling\nran in a bundle\n')
  expect(stderr).toMatch(/\[BUGLE_DEAF\] BugleWarning: pg-listen cannot be loaded \(.*\): leave it out of the bundle/)
  expect(await db.jobs()).toEqual([])
})

test('what was built holds the texts of sql/ as they are', async () => {
  interface Texts {
    sqlPaths(): readonly string[]
    sqlText(path: string): string
  }
  const built = (await import(pathToFileURL(join(root, 'dist/database/sql-texts.js')).href)) as Texts
  const read = (await import('../../src/database/sql-texts.js')) as Texts
  expect(built.sqlPaths()).toEqual([...read.sqlPaths()].sort())
  for (const path of built.sqlPaths())
    expect(built.sqlText(path), path).toBe(readFileSync(join(root, 'sql', path), 'utf8'))
  expect(() => built.sqlText('statements/nothing.sql')).toThrow('there is no sql/statements/nothing.sql')
})
