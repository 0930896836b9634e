import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished } from 'vitest'
import { openCli } from '../../src/cli/cli.js'
import { parseCommand } from '../../src/cli/program.js'
import { BugleError } from '../../src/errors.js'
import { UsageError } from '../../src/terminal/ending.js'
import { cliProgram, jsonLines, plainEnv, runCli, spawnCli, startCli, startProcess } from '../support/cli.js'
import { test } from '../support/database.js'

const wrong: readonly (readonly [args: readonly string[], message: RegExp])[] = [
  [[], /^a command is missing$/],
  [['nonsense'], /unknown command 'nonsense'/],
  [['jobs', '--nonsense'], /unknown option '--nonsense'/],
  [['migrate', '--status', '--dry-run'], /--dry-run or --status, not both/],
  [['put'], /'queue'/],
  [['put', ''], /^queue/],
  [['put', 'q', '{oops'], /the payload is not JSON; quote it/],
  [['put', 'q', '1', '--from-line', '2'], /--from-line is for lines/],
  [['put', 'q', '1', '--priority', '1.5'], /not a whole number from -32768 up/],
  [['put', 'q', '1', '--priority', '-32769'], /not a whole number/],
  [['put', 'q', '1', '--max-attempts', '0x10'], /not a whole number from 1 up/],
  [['put', 'q', '1', '--key-mode', 'other', '--key', 'k'], /keep, replace, reject/],
  [['put', 'q', '1', '--run-at', '2h'], /not a date such as/],
  [['put', 'q', '1', '--run-at', '2040-02-31'], /not a date such as/],
  [['put', 'q', '1', '--run-at', '2040-01-15 (junk)'], /not a date such as/],
  [['put', 'q', '1', '--run-at', '2040-01-15T25:00Z'], /not a date such as/],
  [['put', 'q', '1', '--run-at', '2040-01-15 12:00 or so'], /not a date such as/],
  [['put', 'q', '1', '--delay', '5'], /not a duration such as 90s, .*: it has no unit/],
  [['put', 'q', '1', '--delay', '6M'], /not a duration such as/],
  [['put', 'q', '1', '--delay', ''], /not a duration such as/],
  [['put', 'q', '1', '--delay', '1'.repeat(101)], /not a duration such as/],
  [['put', 'q', '1', '--delay', '-1s'], /not a duration such as/],
  [['put', 'q', '1', '--delay', '300000y'], /longer than a hundred years/],
  [['put', 'q', '1', '--delay', '1h', '--run-at', '2040-01-01'], /delayMs|runAt/],
  [['put', 'q', '-', '--key', 'k'], /--key would make one job of all lines/],
  [['work'], /'module'/],
  [['jobs', '--state', 'gone'], /scheduled, ready/],
  [['jobs', '--since', 'yesterday'], /not a duration such as/],
  [['jobs', '--since', '300000y'], /'--since .*300000y.*longer than a hundred years/],
  [['jobs', '--limit', '0'], /not a whole number from 1 up/],
  [['jobs', '--cursor', 'x'], /cursor must be one that/],
  [['show'], /'id'/],
  [['show', 'x'], /id must be/],
  [['requeue'], /needs ids, or options/],
  [['requeue', 'x'], /must be a job's id/],
  [['requeue', '1', '--all'], /needs ids, or options/],
  [['requeue', '1', '--limit', '5'], /--limit is not for ids/],
  [['requeue', '--limit', '5'], /not --limit alone/],
  [['requeue', '--all', '--queue', 'q'], /needs ids, or options/],
  [['requeue', '--state', 'ready'], /failed, archived/],
  [['requeue', '--since', '100.1y'], /longer than a hundred years/],
  [['cancel'], /cancel needs ids/],
  [['cancel', 'x'], /id must be/],
  [['collect'], /needs --failed-older-than, --archived-older-than or both/],
  [['collect', '--failed-older-than', 'long'], /not a duration such as/],
  [['collect', '--failed-older-than', '6M'], /not a duration such as/],
  [['collect', '--archived-older-than', '101y'], /longer than a hundred years/],
  [['doctor', '--running-longer-than', '300000y'], /longer than a hundred years/],
  [['stats', '--watch', '0'], /not a whole number from 1 up/],
  [['stats', 'a', 'b'], /too many arguments/],
  [['stats', ''], /^queue/],
  [['workers', 'a'], /too many arguments/],
]

/** Carry out a command in this process. */
async function carryOut(args: readonly string[]): Promise<void> {
  await parseCommand(args, process.stdout, async (options, command) => {
    const cli = openCli(options, process, () => {})
    try {
      await command(cli)
    } finally {
      await cli[Symbol.asyncDispose]()
    }
  })
}

test('wrong usage is refused in one line, before anything is done', async () => {
  for (const [args, message] of wrong) {
    const error = await carryOut(args).then(
      () => null,
      (thrown) => thrown,
    )
    expect(error, String(args)).toBeInstanceOf(Error)
    const kind = error instanceof BugleError ? error.code : error instanceof UsageError ? 'USAGE' : String(error)
    expect(kind, String(args)).toMatch(/^(USAGE|INVALID_OPTION|INVALID_QUEUE)$/)
    expect(error.message, String(args)).toMatch(message)
    expect(error.message, String(args)).not.toMatch(/\n/)
  }
})

test('wrong usage is told on standard error alone, with exit code 2', async ({ db }) => {
  const some = [['put', ''], ['job\u001b[2J'], ['show', 'x']]
  const [json, ...ended] = await Promise.all(
    [['requeue', '--limit', '5', '--json'], ...some].map((args) => runCli(db, args)),
  )
  for (const [index, one] of ended.entries()) {
    expect(one, String(some[index])).toMatchObject({
      code: 2,
      stdout: '',
      stderr: expect.stringMatching(/^bugle: \P{Cc}+ \(--help shows the usage\)\n$/u),
    })
  }
  expect(json).toMatchObject({ code: 2, stdout: '' })
  expect(jsonLines(json?.stderr ?? '')).toEqual([
    { error: { code: 'USAGE', message: expect.stringMatching(/^requeue needs ids/) } },
  ])
})

test('without a command the help is there, on standard error, with exit code 2; as JSON a line', async ({ db }) => {
  const [help, json] = await Promise.all([runCli(db, []), runCli(db, ['--json'])])
  expect(help).toMatchObject({
    code: 2,
    stdout: '',
    stderr: expect.stringMatching(/^Usage: bugle \[options\] \[command\]\n.*\n {2}work .*\nExit codes: [^\n]*\n$/s),
  })
  expect(json).toMatchObject({ code: 2, stdout: '' })
  expect(jsonLines(json.stderr)).toEqual([{ error: { code: 'USAGE', message: 'a command is missing' } }])
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
  const env = { DATABASE_URL: 'postgres://app:secret@127.0.0.1:1/none' }
  const ended = await Promise.all(calls.map((args) => runCli(db, args, { env })))
  for (const one of ended) {
    expect(one).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringMatching(/^bugle: [^\n]+as user "app"[^\n]+ECONNREFUSED[^\n]*\n$/),
    })
    expect(one.stderr).not.toContain('secret')
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

/** A command for each way to end, and what it is given on standard input. */
const ends: readonly (readonly [code: number, args: readonly string[], input?: string])[] = [
  [0, ['--version']],
  [0, ['grants', '--producer', 'web']],
  [0, ['migrate', '--status', '--json']],
  [0, ['resume', 'q']],
  [0, ['put', 'q', '-', '--json'], '\n'],
  [1, ['put', 'q', '-'], '{oops\n'],
  [1, ['show', '12345']],
  [1, ['show', '12345', '--json']],
  [2, []],
  [2, ['show', 'x']],
]

test('a process of its own ends with the same exit code, and prints the same to its pipes', async ({ db }) => {
  const both = await Promise.all(
    ends.map(([, args, input = '']) =>
      Promise.all([runCli(db, args, { input }), spawnCli(db, args, { input })] as const),
    ),
  )
  for (const [index, [here, apart]] of both.entries()) {
    const [code, args] = ends[index] ?? [null, []]
    expect(apart, String(args)).toEqual(here)
    expect(apart.code, String(args)).toBe(code)
  }
})

test('the doctor ends in a process of its own as well', async ({ db }) => {
  const here = await runCli(db, ['doctor', '--json'])
  const apart = await spawnCli(db, ['doctor', '--json'])
  const found = ({ stdout }: { stdout: string }) =>
    (jsonLines(stdout) as Record<string, unknown>[]).map(({ check, status }) => [check, status])
  expect(found(apart)).toEqual(found(here))
  expect(apart).toMatchObject({ code: here.code, stderr: '' })
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
  const help = await spawnCli(db, ['--help'], { execArgv })
  expect(help).toMatchObject({ code: 0, stderr: '', stdout: expect.stringContaining('Exit codes:') })
  const heavy = /^(pg|postgres|pg-listen|debug|p-queue|cli-table3|cli-progress)$/m
  expect(readFileSync(loaded, 'utf8')).toMatch(/^commander$/m)
  expect(readFileSync(loaded, 'utf8')).not.toMatch(heavy)
  await spawnCli(db, ['jobs'], { execArgv })
  expect(readFileSync(loaded, 'utf8')).toMatch(heavy)
})
