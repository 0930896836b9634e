import { readFileSync } from 'node:fs'
import ts from 'typescript'
import { describe, expect } from 'vitest'
import { consumerDefaults } from '../../src/consume/options.js'
import { bugleDefaults } from '../../src/options.js'
import { putDefaults } from '../../src/put/options.js'
import { exponentialDefaults, fixedDefaults, linearDefaults } from '../../src/retry.js'
import { runCli } from '../support/cli.js'
import { test } from '../support/database.js'
import { blocks, openDocument, root, tableAfter, userDocuments } from '../support/documents.js'

test('each code block of a document for users has a language that some test here reads', () => {
  const languages = new Set(userDocuments().flatMap((document) => document.blocks.map(({ language }) => language)))
  expect([...languages].sort()).toEqual(['dockerfile', 'ini', 'js', 'sh', 'sql', 'text', 'ts', 'yaml'])
})

test('every TypeScript block compiles as a module of its own', () => {
  const options: ts.CompilerOptions = {
    strict: true,
    noEmit: true,
    target: ts.ScriptTarget.ES2023,
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts'],
    types: ['node'],
    skipLibCheck: true,
  }
  const named = userDocuments().flatMap(({ path }) =>
    blocks('ts', path).map((text, at) => [`${root}${path.replaceAll('/', '-')}-${at + 1}.ts`, text] as const),
  )
  const files = new Map<string, string>(named)
  const host = ts.createCompilerHost(options)
  const { readFile, fileExists } = host
  host.readFile = (name) => files.get(name) ?? readFile(name)
  host.fileExists = (name) => files.has(name) || fileExists(name)
  const { getSourceFile } = host
  host.getSourceFile = (name, languageVersion, ...rest) => {
    const text = files.get(name)
    if (text === undefined) return getSourceFile(name, languageVersion, ...rest)
    return ts.createSourceFile(name, text, languageVersion)
  }
  const program = ts.createProgram([...files.keys()], options, host)
  const diagnostics = ts.getPreEmitDiagnostics(program).map(({ file, start = 0, messageText }) => ({
    file: file?.fileName.slice(root.length),
    line: file?.getLineAndCharacterOfPosition(start).line,
    message: ts.flattenDiagnosticMessageText(messageText, ' '),
  }))
  expect(files.size).toBeGreaterThan(0)
  expect(diagnostics).toEqual([])
})

test('the shell blocks name scripts and a command that are there', () => {
  const { scripts = {}, bin = {} } = JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as Record<string, object>
  const text = blocks('sh').join('')
  const npm = [...text.matchAll(/npm run ([\w:]+)/g)].map(([, name]) => name)
  expect(npm).toEqual(['demo'])
  expect(Object.keys(scripts)).toEqual(expect.arrayContaining([...npm, 'test', 'docs', 'bench']))
  const npx = [...text.matchAll(/npx (\w+)/g)].map(([, name]) => name)
  expect(new Set(npx)).toEqual(new Set([...Object.keys(bin), 'jest']))
})

test('each call of the command, wherever a document names one, has options that this command has', async ({ db }) => {
  const helps = new Map<string, string>()
  for (const { path, text } of userDocuments()) {
    // Also as a list of arguments, as YAML and a Dockerfile have it.
    const plain = text.replaceAll(
      /"node_modules\/\.bin\/bugle"([^\]]*)\]/g,
      (_, rest) => `bugle${rest.replaceAll(/[",]/g, '')}`,
    )
    for (const [, command = '', rest = ''] of plain.matchAll(
      /(?<!['"\w])bugle ([a-z]+)((?: [^\n`|#]*)?)(?=[\n`|#])/g,
    )) {
      const options = [...rest.matchAll(/(?<![\w-])--[a-z][a-z-]+/g)].map(([option]) => option)
      if (options.length === 0) continue
      if (!helps.has(command)) helps.set(command, (await runCli(db, [command, '--help'])).stdout)
      for (const option of options) expect(helps.get(command), `${path}: bugle ${command}${rest}`).toContain(option)
    }
  }
  expect(helps.size).toBeGreaterThan(7)
})

describe('deploying', () => {
  const stopMs = bugleDefaults.graceMs + bugleDefaults.abortMs + 1_000
  const path = 'src/guides/deploying.md'

  test('Kubernetes, systemd and Docker wait for longer than a stop by default takes', () => {
    const [yaml = ''] = blocks('yaml', path)
    const [ini = ''] = blocks('ini', path)
    const { prose } = openDocument(path)
    const seconds = [
      /terminationGracePeriodSeconds: (\d+)$/m.exec(yaml),
      /^TimeoutStopSec=(\d+)$/m.exec(ini),
      /docker stop -t (\d+)/.exec(prose),
      /stop_grace_period: (\d+)s/.exec(prose),
    ]
    for (const found of seconds) expect(Number(found?.[1]) * 1_000).toBeGreaterThan(stopMs)
    const [program = ''] = blocks('ts', path).filter((text) => text.includes('createServer'))
    expect(program).toContain(`.listen(${/port: (\d+)/.exec(yaml)?.[1]})`)
  })

  test('the container starts the command itself, so that signals reach it', () => {
    const [dockerfile = ''] = blocks('dockerfile', path)
    const [, command = '[]'] = /^CMD (\[.*\])$/m.exec(dockerfile) ?? []
    expect((JSON.parse(command) as string[]).slice(0, 2)).toEqual(['node_modules/.bin/bugle', 'work'])
  })
})

describe('tables', () => {
  const shown = (value: unknown): string => {
    if (Array.isArray(value)) return JSON.stringify(value)
    if (typeof value === 'object' && value !== null) {
      const fields = Object.entries(value).map(([name, each]) => `${name}: ${shown(each)}`)
      return `{ ${fields.join(', ')} }`
    }
    return typeof value === 'string' ? `'${value}'` : String(value)
  }
  const cases = [
    {
      heading: '## createBugle',
      defaults: bugleDefaults,
      others: [
        'connectionString',
        'connection',
        'listenConnectionString',
        'logger',
        'queues',
        'schemas',
        'codec',
        'context',
      ],
    },
    {
      heading: '## consume',
      defaults: consumerDefaults,
      others: [
        'retryStrategy',
        'onFailed',
        'timeoutMs',
        'durableClaims',
        'express',
        'graceMs',
        'abortMs',
        'context',
        'signal',
      ],
    },
    {
      heading: '## put and putMany',
      defaults: putDefaults,
      others: ['kind', 'runAt', 'delayMs', 'key', 'unique', 'maxAttempts', 'timeoutMs', 'tx'],
    },
  ]
  for (const { heading, defaults, others } of cases) {
    test(`the options table after ${heading} has every option and its default`, () => {
      const rows = tableAfter('src/guides/options.md', heading)
      expect(rows.map(([name]) => name).sort()).toEqual([...Object.keys(defaults), ...others].sort())
      for (const [name = '', value] of rows) {
        if (name in defaults) expect(value).toBe(shown(defaults[name as keyof typeof defaults]))
      }
    })
  }

  test('the table of retry strategies has every option of each, and its default', () => {
    const strategies = { fixed: fixedDefaults, linear: linearDefaults, exponential: exponentialDefaults }
    const rows = tableAfter('src/guides/retries.md', '## Retries')
    for (const [strategy, defaults] of Object.entries(strategies)) {
      const own = rows.filter(([, , of = '']) => of === 'all three' || of.split(', ').includes(strategy))
      const listed = Object.fromEntries(own.map(([name = '', value]) => [name, value]))
      const known = Object.entries(defaults).map(([name, value]) => [name, shown(value)])
      expect(listed).toEqual({ ...Object.fromEntries(known), unless: '[]' })
    }
  })

  test("the command's table has every command, and the options that the page names are there", async ({ db }) => {
    const { stdout } = await runCli(db, ['--help'])
    const [, list = ''] = stdout.split(/^Commands:$/m)
    const commands = [...list.matchAll(/^ {2}([a-z]+)/gm)].map(([, name]) => name)
    const named = tableAfter('src/guides/command.md', '# The command').flatMap(([cell = '']) =>
      cell.split(', ').map((part) => part.split(' ')[0] ?? ''),
    )
    expect(commands.length).toBeGreaterThan(10)
    expect(new Set(named)).toEqual(new Set(commands))
    const source = readFileSync(`${root}src/cli/program.ts`, 'utf8')
    const { text } = openDocument('src/guides/command.md')
    const said = [...text.matchAll(/(?<![\w-])--[a-z][a-z-]+/g)].map(([option]) => option)
    for (const option of new Set(said)) if (option !== '--help') expect(source).toContain(`'${option}`)
  })

  test('the events table has every event', () => {
    const source = readFileSync(new URL('../../src/events.ts', import.meta.url), 'utf8')
    const declared = [...source.matchAll(/^ {2}'([a-z]+:[a-z]+)':(?! true)/gm)].map((match) => match[1])
    expect(tableAfter('src/guides/events.md', '# Events').map(([name]) => name)).toEqual(declared)
  })

  test('the errors table has every code that is thrown or reported, and no other', () => {
    const used = new Set<string>()
    for (const file of ts.sys.readDirectory(`${root}src`, ['.ts'])) {
      const text = readFileSync(file, 'utf8')
      for (const match of text.matchAll(/BugleError\(\s*'([A-Z_]+)'/g)) used.add(match[1] ?? '')
      const [abortCodes = ''] = text.match(/export type AbortCode =.*?\n\n/s) ?? []
      for (const match of abortCodes.matchAll(/\| '([A-Z_]+)'/g)) used.add(match[1] ?? '')
    }
    const listed = tableAfter('src/guides/errors.md', '# Errors').map(([code]) => code)
    expect(listed.sort()).toEqual([...used].sort())
  })

  test("the runbook's table of failures has every cause", () => {
    const source = readFileSync(`${root}src/events.ts`, 'utf8')
    const [union = ''] = source.match(/export type FailureCause =[\s\S]*?\n\n/) ?? []
    const causes = [...union.matchAll(/\| '([a-z-]+)'/g)].map(([, cause]) => cause)
    const listed = tableAfter('src/guides/operating.md', '## A job failed').map(([cause]) => cause)
    expect(listed.sort()).toEqual([...new Set(causes)].sort())
  })
})
