import { expect, test } from 'vitest'
import { version } from '../../src/version.js'
import { runGrants, withoutPsqlCommands } from '../support/roles.js'

interface Line {
  part: string | null
  role: string | null
  statements: string[]
}

test('bugle grants prints a script for psql, all in one transaction, and needs no database', async () => {
  const { code, stdout, stderr } = await runGrants([
    '--producer',
    'web',
    '--consumer',
    'worker',
    '--observer',
    'grafana',
  ])
  expect([code, stderr]).toEqual([0, ''])
  expect(stdout).toMatch(/^-- Privileges of roles for Bugle /)
  expect(stdout).toContain(version)
  expect(stdout).toMatch(/Again after each migration/)
  expect(stdout).toMatch(/^\\set ON_ERROR_STOP on\nbegin;\n/m)
  expect(stdout).toMatch(/\ncommit;\n$/)
  expect(stdout).toContain('grant select (id) on "bugle".job to "web";')
  expect(stdout).toContain('"bugle".worker to "worker";')
  expect(stdout).toContain('grant usage on schema "bugle" to "grafana";')
  expect(stdout).toContain('revoke create on schema "bugle" from public;')
  // Every token is filled in.
  expect(stdout).not.toMatch(/:["']/)
})

test('bugle grants --json: a line a role, with the statements of the script', async () => {
  const args = [
    '--schema',
    'jobs;of"us',
    '--producer',
    'a;b',
    '--producer',
    'c\n--',
    '--observer',
    'a;b',
    '--producer',
    'a;b',
  ]
  const { code, stdout } = await runGrants([...args, '--json'])
  expect(code).toBe(0)
  const lines = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Line)
  expect(lines.map(({ part, role }) => [part, role])).toEqual([
    [null, null],
    ['producer', 'a;b'],
    ['producer', 'c\n--'],
    ['observer', 'a;b'],
  ])
  for (const { statements } of lines)
    for (const text of statements) expect(text).toMatch(/^(grant|revoke) [\s\S]*[^;]$/)
  const granted = lines[1]?.statements ?? []
  expect(granted).toContain('grant select (id) on "jobs;of""us".job to "a;b"')
  // The same as the script has them, comments apart, which hold no names.
  const script = await runGrants(args)
  const texts = lines.flatMap(({ statements }) => statements.map((text) => `${text};`))
  const [, all = ''] = /\nbegin;\n([\s\S]*)commit;\n/.exec(withoutPsqlCommands(script.stdout)) ?? []
  expect(
    all
      .replaceAll(/^--(?! *").*\n/gm, '')
      .replaceAll(/\n+/g, '\n')
      .trim(),
  ).toBe(texts.join('\n').replaceAll(/\n+/g, '\n'))
})

test.for([
  [[], /a role is missing: give at least one --producer, --consumer or --observer/],
  [['--producer'], /--producer <role>.*argument missing/],
  [['--producer', ''], /a role must have a name of 1 to 63 bytes; got ""/],
  [['--observer', 'ä'.repeat(32)], /1 to 63 bytes/],
  [['--consumer', 'public'], /must be one of your own; got "public"/],
  [['--producer', 'none'], /must be one of your own/],
  [['--producer', 'a', '--no-payloads'], /--no-payloads is about an --observer/],
  [['--producer', 'a', '--schema', 'pg_mine'], /schema must be/],
  [['--producer', 'a', 'b'], /too many arguments/],
] as const)('bugle grants %j is wrong usage, told in one line with exit code 2', async ([args, message]) => {
  const { code, stdout, stderr } = await runGrants(args)
  expect(stderr).toMatch(message)
  expect(stderr).toMatch(/^bugle: [^\n]+\n$/)
  expect([code, stdout]).toEqual([2, ''])
})
