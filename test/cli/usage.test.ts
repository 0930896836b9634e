import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished } from 'vitest'
import { cliProgram, jsonLines, plainEnv, runCli, startCli, startProcess } from '../support/cli.js'
import { test } from '../support/database.js'

const wrong = [
  [],
  ['nonsense'],
  ['jobs', '--nonsense'],
  ['migrate', '--status', '--dry-run'],
  ['put'],
  ['put', ''],
  ['put', 'q', '{oops'],
  ['put', 'q', '1', '--from-line', '2'],
  ['put', 'q', '1', '--priority', '1.5'],
  ['put', 'q', '1', '--key-mode', 'other', '--key', 'k'],
  ['put', 'q', '1', '--run-at', '2h'],
  ['put', 'q', '1', '--run-at', '2040-02-31'],
  ['put', 'q', '1', '--delay', ''],
  ['put', 'q', '1', '--delay', '1'.repeat(101)],
  ['put', 'q', '1', '--delay', '1h', '--run-at', '2040-01-01'],
  ['put', 'q', '-', '--key', 'k'],
  ['work'],
  ['jobs', '--state', 'gone'],
  ['jobs', '--since', 'yesterday'],
  ['jobs', '--since', '300000y'],
  ['requeue', '--since', '100.1y'],
  ['collect', '--archived-older-than', '101y'],
  ['doctor', '--running-longer-than', '300000y'],
  ['jobs', '--limit', '0'],
  ['jobs', '--cursor', 'x'],
  ['show'],
  ['show', 'x'],
  ['requeue'],
  ['requeue', 'x'],
  ['requeue', '1', '--all'],
  ['requeue', '1', '--limit', '5'],
  ['requeue', '--limit', '5'],
  ['requeue', '--all', '--queue', 'q'],
  ['requeue', '--state', 'ready'],
  ['cancel'],
  ['cancel', 'x'],
  ['collect'],
  ['collect', '--failed-older-than', 'long'],
]

test('wrong usage is told in one line, with exit code 2', async ({ db }) => {
  // A few at a time: each is a process.
  for (let from = 0; from < wrong.length; from += 4) {
    const some = wrong.slice(from, from + 4)
    const ended = await Promise.all(some.map((args) => runCli(db, args)))
    for (const [index, one] of ended.entries()) {
      expect(one, String(some[index])).toMatchObject({
        code: 2,
        stdout: '',
        stderr: expect.stringMatching(/^bugle: [^\n]+ \(--help shows the usage\)\n$/),
      })
    }
  }
})

const calls = [
  ['migrate', '--status'],
  ['put', 'q', '1'],
  ['jobs'],
  ['show', '1'],
  ['requeue', '1'],
  ['cancel', '1'],
  ['collect', '--failed-older-than', '1d'],
]

test('a database that is down is told in one line, with exit code 1', async ({ db }) => {
  const env = { DATABASE_URL: 'postgres://127.0.0.1:1/none' }
  const ended = await Promise.all(calls.map((args) => runCli(db, args, { env })))
  for (const one of ended) {
    expect(one).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringMatching(/^bugle: [^\n]+ECONNREFUSED[^\n]*\n$/),
    })
  }
  const json = await runCli(db, ['jobs', '--json'], { env })
  expect(jsonLines(json.stderr)).toMatchObject([{ error: { code: 'DATABASE_DOWN' } }])
})

test('a schema without tables is told in one line, which says what to run', async ({ db }) => {
  const { connectionString } = db
  const ended = await Promise.all(calls.slice(1).map((args) => runCli({ connectionString, schema: 'none' }, args)))
  for (const one of ended) {
    expect(one).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringMatching(/^bugle: [^\n]*run `bugle migrate` once\n$/),
    })
  }
})

test('whoever reads may leave', async ({ db }) => {
  await db.bugle().putMany(
    'q',
    Array.from({ length: 1_000 }, () => 'x'.repeat(1_000)),
  )
  const jobs = startCli(db, ['jobs', '--json', '--payload', '--limit', '1000'])
  await jobs.printed(/\n/)
  jobs.child.stdout?.destroy()
  expect(await jobs.ended).toMatchObject({ code: 0, stderr: '' })
})

test.skipIf(!existsSync('/dev/full'))('a disk that is full is told in one line', async ({ db }) => {
  const words = [process.execPath, cliProgram, 'jobs', '--schema', db.schema]
  await db.bugle().put('q', 1)
  const full = startProcess('sh', ['-c', 'exec "$@" > /dev/full', 'sh', ...words], { env: plainEnv(db) })
  expect(await full.ended).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/^bugle: standard output cannot be written: ENOSPC[^\n]*\n$/),
  })
})

test('the help loads no driver, and none of what draws', async ({ db }) => {
  const folder = mkdtempSync(join(tmpdir(), 'bugle-help-test-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  const loaded = join(folder, 'loaded')
  writeFileSync(
    join(folder, 'hooks.mjs'),
    `import { appendFileSync } from 'node:fs'
     export async function resolve(specifier, context, next) {
       appendFileSync(${JSON.stringify(loaded)}, specifier + '\\n')
       return next(specifier, context)
     }`,
  )
  writeFileSync(
    join(folder, 'register.mjs'),
    `import { register } from 'node:module'
     register('./hooks.mjs', import.meta.url)`,
  )
  const execArgv = ['--import', join(folder, 'register.mjs')]
  const help = await runCli(db, ['--help'], { execArgv })
  expect(help).toMatchObject({ code: 0, stderr: '', stdout: expect.stringContaining('Exit codes:') })
  const heavy = /^(pg|postgres|pg-listen|debug|p-queue|cli-table3|cli-progress)$/m
  expect(readFileSync(loaded, 'utf8')).toMatch(/^commander$/m)
  expect(readFileSync(loaded, 'utf8')).not.toMatch(heavy)
  await runCli(db, ['jobs'], { execArgv })
  expect(readFileSync(loaded, 'utf8')).toMatch(heavy)
})
