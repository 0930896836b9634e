import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres from 'postgres'
import ts from 'typescript'
import { expect, onTestFinished } from 'vitest'
import { type CliProcess, cliProgram, plainEnv, startProcess } from '../support/cli.js'
import { test } from '../support/database.js'
import { blocks, root, userDocuments } from '../support/documents.js'
import { documentsDatabase } from '../support/documents-database.js'

/** A program as a module in the package's root: a package may import itself by its name. */
function startModule(text: string, env: NodeJS.ProcessEnv, type = 'module'): CliProcess {
  const { DATABASE_URL: _, BUGLE_TEST_DATABASE_URL: __, NODE_OPTIONS: ___, ...others } = process.env
  const started = startProcess(process.execPath, [`--input-type=${type}`], { cwd: root, env: { ...others, ...env } })
  started.child.stdin?.end(text)
  return started
}

/** TypeScript as the JavaScript that it becomes. */
function compiled(text: string): string {
  const compilerOptions = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext }
  return ts.transpileModule(text, { compilerOptions }).outputText
}

const start = 'src/guides/start.md'

/** The one js block of a document that has this in it. */
function jsBlock(path: string, part: string): string {
  const found = blocks('js', path).filter((text) => text.includes(part))
  expect(found, `js blocks of ${path} with ${part}`).toHaveLength(1)
  return found[0] ?? ''
}

test('every js block is run by a test here', () => {
  const run = [
    jsBlock('README.md', 'createBugle'),
    jsBlock(start, "createBugle, reject } from 'bugle'"),
    jsBlock(start, 'console.log(`export DATABASE_URL'),
    jsBlock(start, "require('bugle')"),
    jsBlock(start, 'export const queues'),
    jsBlock('src/guides/testing.md', 'node:test'),
    jsBlock('src/guides/testing.md', 'export default async function setup'),
  ]
  expect(blocks('js')).toEqual(run)
})

test('the first programs run as they stand, in a database without our tables', async () => {
  const [output = ''] = blocks('text', 'README.md')
  for (const path of ['README.md', start]) {
    const program = jsBlock(path, "createBugle, reject } from 'bugle'")
    const { ended } = startModule(program, { DATABASE_URL: await documentsDatabase('empty') })
    expect(await ended, path).toEqual({ code: 0, stdout: output, stderr: '' })
  }
})

test('the CommonJS program migrates', async () => {
  const url = await documentsDatabase('empty')
  const { ended } = startModule(jsBlock(start, "require('bugle')"), { DATABASE_URL: url }, 'commonjs')
  const { code, stdout, stderr } = await ended
  // Some versions of Node say that this is new there.
  const others = stderr.replace(/^.*ExperimentalWarning.*\n.*--trace-warnings.*\n/, '')
  expect({ code, stdout, stderr: others }).toEqual({ code: 0, stdout: '', stderr: '' })
  const sql = postgres(url, { max: 1 })
  expect(await sql`select count(*)::int as jobs from bugle.job`).toEqual([{ jobs: 0 }])
  await sql.end()
})

test('the database for those who have none says how to use it, and ends by Ctrl-C', async () => {
  const program = jsBlock(start, 'export DATABASE_URL')
  const started = startProcess(process.execPath, ['--input-type=module', '--eval', program], { cwd: root })
  const [, url = ''] = await started.printed(/^export DATABASE_URL=(postgres:.*)\n/)
  const sql = postgres(url, { max: 1 })
  expect(await sql`select 1 as one`).toEqual([{ one: 1 }])
  await sql.end()
  started.child.kill('SIGINT')
  await started.ended
})

test("the module for `bugle work` runs by the commands beside it, which are all the command's", async ({ db }) => {
  const directory = mkdtempSync(join(tmpdir(), 'bugle-documents-'))
  onTestFinished(() => rmSync(directory, { recursive: true }))
  writeFileSync(join(directory, 'package.json'), '{ "type": "module" }')
  writeFileSync(join(directory, 'handlers.js'), jsBlock(start, 'export const queues'))
  const [script] = blocks('sh', start).filter((text) => text.includes('npx bugle put'))
  const database = { DATABASE_URL: await documentsDatabase('empty') }
  const env = { ...plainEnv(db), ...database, NODE: process.execPath, CLI: cliProgram }
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
  const program = jsBlock('src/guides/testing.md', 'node:test')
  const { ended } = startModule(program, { BUGLE_TEST_DATABASE_URL: db.connectionString })
  const { code, stdout, stderr } = await ended
  expect({ code, stderr }, stdout).toEqual({ code: 0, stderr: '' })
  expect(stdout).toMatch(/\bpass 3\b/)
})

test("the testing guide's global setup starts a server, and stops it", async () => {
  const setup = jsBlock('src/guides/testing.md', 'export default async function setup')
  const program = `${setup.replace('export default ', '')}
    import { startTestDatabase } from 'bugle/testing'
    const tearDown = await setup()
    const db = await startTestDatabase()
    console.log(db.connectionString === process.env.BUGLE_TEST_DATABASE_URL)
    await db.stop()
    await tearDown()`
  expect(await startModule(program, {}).ended).toEqual({ code: 0, stdout: 'true\n', stderr: '' })
})

for (const { path } of userDocuments().filter(({ path }) => blocks('ts', path).length > 0)) {
  test(`every TypeScript block of ${path} runs to its end`, { timeout: 120_000 }, async () => {
    const url = await documentsDatabase('migrated')
    const sql = postgres(url, { onnotice: () => {}, max: 1 })
    for (const text of blocks('ts', path)) {
      const source = text
        .replace('.listen(8080)', '.listen(0)')
        .replace(/^const .* = await consumer\.stopped\b/m, "console.log('it consumes')\n$&")
      const program = `${compiled(source)}\nconsole.log('the end')`
      const { child, ended, printed } = startModule(program, { DATABASE_URL: url, BUGLE_TEST_DATABASE_URL: url })
      // A block that waits for a signal gets it once it consumes.
      if (text.includes('handleSignals: true')) {
        await printed(/^it consumes$/m)
        child.kill('SIGTERM')
        expect(await ended, text).toMatchObject({ code: 0, stdout: expect.stringMatching(/the end\n$/), stderr: '' })
      } else {
        await Promise.race([printed(/^the end$/m), ended])
        child.kill('SIGKILL')
        expect(await ended, text).toMatchObject({ stdout: expect.stringMatching(/^the end$/m), stderr: '' })
      }
      // What ran here is nobody's any more, and the next block's queue may have the same name.
      await sql`delete from bugle.job`
      await sql`delete from bugle.worker`
    }
    await sql.end()
  })
}

test('the transaction that is recommended outlives its connection, wherever that is lost', async () => {
  const url = await documentsDatabase('migrated')
  const sql = postgres(url, { onnotice: () => {}, max: 1 })
  // The first insert ends its own backend. A sequence is not rolled back.
  await sql.unsafe(`
    create sequence inserts;
    create function die() returns trigger language plpgsql as $$
    begin
      if nextval('inserts') = 1 then
        perform pg_terminate_backend(pg_backend_pid());
      end if;
      return new;
    end $$;
    create trigger die before insert on account for each row execute function die()`)
  const [block = ''] = blocks('ts', 'src/guides/transactions.md').filter((text) => text.includes("pool.on('connect'"))
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
  expect(await startModule(compiled(program), { DATABASE_URL: url }).ended).toEqual({
    code: 0,
    stdout: 'in a statement: failed\nbetween two statements: failed\nafter one that was lost while idle: committed\n',
    stderr: '',
  })
  expect(await sql`select name from account`).toEqual([{ name: 'Ada' }])
  expect(await sql`select payload from bugle.job`).toEqual([{ payload: { to: 'ada@example.org' } }])
  await sql.end()
})
