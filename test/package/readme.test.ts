import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres from 'postgres'
import ts from 'typescript'
import { describe, expect, onTestFinished } from 'vitest'
import { createBugle } from '../../src/index.js'
import { bugleDefaults, consumerDefaults } from '../../src/options.js'
import { putDefaults } from '../../src/put/options.js'
import { type CliProcess, cliProgram, plainEnv, runCli, startProcess } from '../support/cli.js'
import { type TestDatabase, test } from '../support/database.js'
import { blocks, root, sectionOf, tableAfter } from '../support/readme.js'

/** A database without our tables, since README's programs use the schema 'bugle'; dropped after the test. */
async function emptyDatabase({ sql, schema, connectionString }: TestDatabase): Promise<string> {
  const name = `readme_${schema.slice(5)}`
  await sql.unsafe(`create database ${name} template template0`)
  onTestFinished(async () => {
    // The test's own connections are ended by now.
    const last = postgres(connectionString, { max: 1 })
    await last.unsafe(`drop database ${name} with (force)`)
    await last.end()
  })
  const url = new URL(connectionString)
  url.pathname = `/${name}`
  return url.href
}

/** A program of README's as a module in the package's root: a package may import itself by its name. */
function startModule(text: string, env: NodeJS.ProcessEnv): CliProcess {
  const { DATABASE_URL: _, BUGLE_TEST_DATABASE_URL: __, NODE_OPTIONS: ___, ...others } = process.env
  const started = startProcess(process.execPath, ['--input-type=module'], { cwd: root, env: { ...others, ...env } })
  started.child.stdin?.end(text)
  return started
}

/** The one js block that has this in it. */
function jsBlock(part: string): string {
  const found = blocks('js').filter((text) => text.includes(part))
  expect(found, `js blocks with ${part}`).toHaveLength(1)
  return found[0] ?? ''
}

test('every js block is run by a test here', () => {
  const run = [
    "createBugle, reject } from 'bugle'",
    'console.log(`export DATABASE_URL',
    'export async function emails',
    'node:test',
  ]
  expect(blocks('js')).toEqual(run.map(jsBlock))
})

test('the first program runs as it stands, in a database without our tables', async ({ db }) => {
  const { ended } = startModule(jsBlock("createBugle, reject } from 'bugle'"), {
    DATABASE_URL: await emptyDatabase(db),
  })
  expect(await ended).toEqual({ code: 0, stdout: 'Hello, Ada!\n', stderr: '' })
})

test('the database for those who have none says how to use it, and ends by Ctrl-C', async () => {
  const started = startProcess(process.execPath, ['--input-type=module', '--eval', jsBlock('export DATABASE_URL')], {
    cwd: root,
  })
  const [, url = ''] = await started.printed(/^export DATABASE_URL=(postgres:.*)\n/)
  const sql = postgres(url, { max: 1 })
  expect(await sql`select 1 as one`).toEqual([{ one: 1 }])
  await sql.end()
  started.child.kill('SIGINT')
  await started.ended
})

test("the module for `bugle work` runs by the commands beside it, which are all the command's", async ({ db }) => {
  const directory = mkdtempSync(join(tmpdir(), 'bugle-readme-'))
  onTestFinished(() => rmSync(directory, { recursive: true }))
  writeFileSync(join(directory, 'package.json'), '{ "type": "module" }')
  writeFileSync(join(directory, 'handlers.js'), jsBlock('export async function emails'))
  const [script] = blocks('sh').filter((text) => text.includes('npx bugle put'))
  const env = { ...plainEnv(db), DATABASE_URL: await emptyDatabase(db), NODE: process.execPath, CLI: cliProgram }
  // As npx would find it in a project.
  const text = `set -e\n${script?.replaceAll('npx bugle', '"$NODE" "$CLI"')}`
  const { code, stdout } = await startProcess('sh', ['-c', text], { cwd: directory, env }).ended
  expect(code).toBe(0)
  expect(stdout).toContain('to a@example.org\n')
  expect(stdout).toContain('a thumb of a.png\n')
  expect(stdout).toContain('emails: 1 completed, 0 failed')
  expect(stdout).toContain('media: 1 completed, 0 failed')
})

test("the testing guide's tests pass", async ({ db }) => {
  const { ended } = startModule(jsBlock('node:test'), { BUGLE_TEST_DATABASE_URL: db.connectionString })
  const { code, stdout, stderr } = await ended
  expect({ code, stderr }, stdout).toEqual({ code: 0, stderr: '' })
  expect(stdout).toMatch(/\bpass 3\b/)
})

test('every TypeScript block runs to its end', { timeout: 120_000 }, async ({ db }) => {
  const url = await emptyDatabase(db)
  const sql = postgres(url, { onnotice: () => {}, max: 1 })
  const bugle = createBugle({ connectionString: url })
  await bugle.migrate()
  await bugle.close()
  await sql`create table account (name text)`
  await sql`create table invoice (account text)`
  const target = ts.ScriptTarget.ES2022
  for (const text of blocks('ts')) {
    const source = text
      .replace('.listen(8080)', '.listen(0)')
      .replace(/^const .* = await consumer\.stopped\b/m, "console.log('it consumes')\n$&")
    const { outputText } = ts.transpileModule(source, { compilerOptions: { target, module: ts.ModuleKind.ESNext } })
    const { child, ended, printed } = startModule(`${outputText}\nconsole.log('the end')`, { DATABASE_URL: url })
    // One that waits for a signal is sent it once it consumes.
    if (text.includes('handleSignals: true')) {
      await printed(/^it consumes$/m)
      child.kill('SIGTERM')
      expect(await ended, text).toMatchObject({ code: 0, stdout: expect.stringMatching(/the end\n$/), stderr: '' })
    } else {
      await printed(/^the end$/m)
      child.kill('SIGKILL')
      expect(await ended, text).toMatchObject({ stderr: '' })
    }
    // What ran here is nobody's any more, and the next block's queue may have the same name.
    await sql`delete from bugle.job`
    await sql`delete from bugle.worker`
  }
  await sql.end()
})

test('the transaction that is recommended outlives its connection, wherever that is lost', async ({ db }) => {
  const url = await emptyDatabase(db)
  const sql = postgres(url, { onnotice: () => {}, max: 1 })
  const bugle = createBugle({ connectionString: url })
  await bugle.migrate()
  await bugle.close()
  // The first insert ends its own backend. A sequence is not rolled back.
  await sql.unsafe(`
    create table account (name text);
    create sequence inserts;
    create function die() returns trigger language plpgsql as $$
    begin
      if nextval('inserts') = 1 then
        perform pg_terminate_backend(pg_backend_pid());
      end if;
      return new;
    end $$;
    create trigger die before insert on account for each row execute function die()`)
  const [block = ''] = blocks('ts').filter((text) => text.includes("pool.on('connect'"))
  const call = /^await (transaction\(async \(client\) => \{.*?^\}\))$/ms.exec(block)?.[1] ?? ''
  expect(call).toContain('bugle.put(')
  const program = `${block.replace(`await ${call}`, '')}
    const attempt = () => ${call}
    const told = (what: string) =>
      [() => console.log(what + ': committed'), () => console.log(what + ': failed')] as const
    async function kill(pid: number) {
      const other = new pg.Client(process.env.DATABASE_URL)
      await other.connect()
      await other.query('select pg_terminate_backend($1)', [pid])
      await other.end()
    }
    const pidOf = async (client: any) => (await client.query('select pg_backend_pid() as pid')).rows[0].pid
    await attempt().then(...told('in a statement'))
    await transaction(async (client) => {
      await client.query("insert into account (name) values ('nobody')")
      const ended = new Promise((resolve) => client.once('end', resolve))
      await kill(await pidOf(client))
      await ended
    }).then(...told('between two statements'))
    const removed = new Promise((resolve) => pool.once('remove', resolve))
    await kill(await pidOf(pool))
    await removed
    await attempt().then(...told('after one that was lost while idle'))
    await bugle.close()
    await pool.end()`
  const { outputText } = ts.transpileModule(program, {
    compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext },
  })
  expect(await startModule(outputText, { DATABASE_URL: url }).ended).toEqual({
    code: 0,
    stdout: 'in a statement: failed\nbetween two statements: failed\nafter one that was lost while idle: committed\n',
    stderr: '',
  })
  expect(await sql`select name from account`).toEqual([{ name: 'Ada' }])
  expect(await sql`select payload from bugle.job`).toEqual([{ payload: { to: 'ada@example.org' } }])
  await sql.end()
})

test('the shell blocks name scripts and a command that are there', () => {
  const { scripts, bin } = JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as Record<string, object>
  const text = blocks('sh').join('')
  const npm = [...text.matchAll(/npm run (\w+)/g)].map(([, name]) => name)
  expect(npm).toEqual(['demo'])
  expect(Object.keys(scripts ?? {})).toEqual(expect.arrayContaining([...npm, 'test']))
  const npx = [...text.matchAll(/npx (\w+)/g)].map(([, name]) => name)
  expect(new Set(npx)).toEqual(new Set(Object.keys(bin ?? {})))
})

test('Kubernetes and systemd wait for longer than a stop by default takes', () => {
  const stopMs = bugleDefaults.graceMs + bugleDefaults.abortMs + 1_000
  const [yaml = ''] = blocks('yaml')
  const [ini = ''] = blocks('ini')
  expect(Number(/terminationGracePeriodSeconds: (\d+)$/m.exec(yaml)?.[1]) * 1_000).toBeGreaterThan(stopMs)
  expect(Number(/^TimeoutStopSec=(\d+)$/m.exec(ini)?.[1]) * 1_000).toBeGreaterThan(stopMs)
  const [program = ''] = blocks('ts').filter((text) => text.includes('createServer'))
  expect(program).toContain(`.listen(${/port: (\d+)/.exec(yaml)?.[1]})`)
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
    if (typeof value === 'object' && value !== null) {
      const fields = Object.entries(value).map(([name, each]) => `${name}: ${shown(each)}`)
      return `{ ${fields.join(', ')} }`
    }
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
      others: ['kind', 'runAt', 'delayMs', 'key', 'unique', 'maxAttempts', 'timeoutMs', 'tx'],
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

  test("the command's table has every command, and what README says of options is there", async ({ db }) => {
    const { stdout } = await runCli(db, ['--help'])
    const [, list = ''] = stdout.split(/^Commands:$/m)
    const commands = [...list.matchAll(/^ {2}([a-z]+)/gm)].map(([, name]) => name)
    const named = tableAfter('## The command').flatMap(([cell = '']) =>
      cell.split(', ').map((part) => part.split(' ')[0] ?? ''),
    )
    expect(commands.length).toBeGreaterThan(10)
    expect(new Set(named)).toEqual(new Set(commands))
    const source = readFileSync(`${root}src/cli/program.ts`, 'utf8')
    const said = [...sectionOf('The command').matchAll(/(?<![\w-])--[a-z][a-z-]+/g)].map(([option]) => option)
    const others = ['--help']
    for (const option of new Set(said)) if (!others.includes(option)) expect(source).toContain(`'${option}`)
  })

  test('the events table has every event', () => {
    const source = readFileSync(new URL('../../src/events.ts', import.meta.url), 'utf8')
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
