import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import ts from 'typescript'
import { describe, expect } from 'vitest'
import { bugleDefaults, consumerDefaults } from '../src/options.js'
import { putDefaults } from '../src/put/options.js'
import { test } from './support/database.js'
import { blocks, root, tableAfter } from './support/readme.js'

test('the first program runs as it stands, in a database without our tables', async ({ db }) => {
  const [program] = blocks('js')
  const name = `readme_${db.schema.slice(5)}`
  await db.sql.unsafe(`create database ${name} template template0`)
  const url = new URL(db.connectionString)
  url.pathname = `/${name}`
  const child = spawn(process.execPath, ['--input-type=module'], {
    cwd: root, // a package may import itself by its name
    env: { ...process.env, DATABASE_URL: url.href },
  })
  let output = ''
  child.stdout.on('data', (chunk) => {
    output += chunk
  })
  child.stderr.on('data', (chunk) => {
    output += chunk
  })
  child.stdin.end(program)
  const [code] = await once(child, 'close')
  expect({ code, output }).toEqual({ code: 0, output: 'Hello, Ada!\n' })
  await db.sql.unsafe(`drop database ${name}`)
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
  const files = new Map(blocks('ts').map((text, number) => [`${root}readme-${number}.ts`, text]))
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
  const diagnostics = ts.getPreEmitDiagnostics(program).map(({ file, messageText }) => ({
    file: file?.fileName,
    message: ts.flattenDiagnosticMessageText(messageText, ' '),
  }))
  expect(files.size).toBeGreaterThan(0)
  expect(diagnostics).toEqual([])
})

describe('tables', () => {
  const shown = (value: unknown): string => {
    if (Array.isArray(value)) return JSON.stringify(value)
    return typeof value === 'string' ? `'${value}'` : String(value)
  }
  const cases = [
    {
      line: '`createBugle`:',
      defaults: bugleDefaults,
      others: ['connectionString', 'connection', 'listenConnectionString', 'logger', 'schemas', 'codec', 'context'],
    },
    {
      line: '`consume`:',
      defaults: consumerDefaults,
      others: ['retryStrategy', 'onFailed', 'timeoutMs', 'graceMs', 'abortMs', 'context', 'signal'],
    },
    {
      line: '`put` and `putMany`:',
      defaults: putDefaults,
      others: ['kind', 'runAt', 'delayMs', 'key', 'maxAttempts', 'timeoutMs', 'tx'],
    },
  ]
  for (const { line, defaults, others } of cases) {
    test(`the options table after ${line} has every option and its default`, () => {
      const rows = tableAfter(line)
      expect(rows.map(([name]) => name).sort()).toEqual([...Object.keys(defaults), ...others].sort())
      for (const [name = '', value] of rows) {
        if (name in defaults) expect(value).toBe(shown(defaults[name as keyof typeof defaults]))
      }
    })
  }

  test('the events table has every event', () => {
    const source = readFileSync(new URL('../src/events.ts', import.meta.url), 'utf8')
    const declared = [...source.matchAll(/^ {2}'([a-z]+:[a-z]+)':(?! true)/gm)].map((match) => match[1])
    expect(tableAfter('## Events').map(([name]) => name)).toEqual(declared)
  })

  test('the errors table has every code that is thrown or reported, and no other', () => {
    const used = new Set<string>()
    for (const file of ts.sys.readDirectory(`${root}src`, ['.ts'])) {
      const text = readFileSync(file, 'utf8')
      for (const match of text.matchAll(/BugleError\(\s*'([A-Z_]+)'/g)) used.add(match[1] ?? '')
      const [abortCodes = ''] = text.match(/export type AbortCode =.*?\n\n/s) ?? []
      for (const match of abortCodes.matchAll(/\| '([A-Z_]+)'/g)) used.add(match[1] ?? '')
    }
    expect(
      tableAfter('## Errors')
        .map(([code]) => code)
        .sort(),
    ).toEqual([...used].sort())
  })
})
