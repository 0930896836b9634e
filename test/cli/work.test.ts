import type { SpawnOptions } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished } from 'vitest'
import { type CliProcess, cliProgram, jsonLines, plainEnv, spawnCli, startCli, startProcess } from '../support/cli.js'
import { type TestDatabase, test } from '../support/database.js'

/** Whether a terminal would be told more than text and line ends. */
function unsafe(text: string): boolean {
  return /[\p{Cc}\p{Cf}]/u.test(text.replaceAll('\n', ''))
}

/** A folder with the module in it, to be the working directory. */
function folderWith(text: string, name = 'work.mjs'): string {
  const folder = mkdtempSync(join(tmpdir(), 'bugle-work-test-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  writeFileSync(join(folder, name), text)
  return folder
}

/** `bugle work work.mjs` as npx starts it: with a shell between, which ends at SIGTERM and tells nobody. */
function startUnderShell(db: TestDatabase, cwd: string, options: SpawnOptions = {}): CliProcess {
  const command = `"${process.execPath}" "${cliProgram}" work work.mjs --schema "${db.schema}"; :`
  const env = { ...plainEnv(db), npm_command: 'exec' }
  return startProcess('/bin/sh', ['-c', command], { cwd, env, ...options })
}

/** What a module says, and what is made of it: its queues with their options, or a refusal. */
const modules: readonly (readonly [text: string, answer: RegExp | readonly unknown[]])[] = [
  ['export const version = 3', /^Refusal m\d.mjs: it exports no queues; give them as: export const queues = /],
  [
    'export const a = () => {}; export function b() {}',
    /: it exports no queues; .* \(it exports the functions a, b\)$/,
  ],
  ['export default () => {}', /it exports no queues; .* \(it exports the functions default\)$/],
  ['export const queues = { a: 3 }', /^Refusal m\d.mjs: queues: "a": handler must be a function/],
  ['export const queues = () => {}', /^Refusal m\d.mjs: queues must be an object; /],
  ['export const queues = {}', /^Refusal m\d.mjs: queues is empty; /],
  ['export const queues = { a() {} }; export default { queues: { a() {} } }', /queues is exported twice/],
  ['export const queues = { a() {} }; export const options = { b: {} }', /^Refusal m\d+.mjs: .*"b"/],
  ['export const queues = { a() {} }; export const options = { a: { concurrency: 0 } }', /options of "a": concurrency/],
  ['export const queues = { a() {} }; export const bugle = { nope: 1 }', /^Refusal m\d+.mjs: bugle: .*"nope"/],
  // Its own mistake, and not a path that the user has mistyped.
  [`import './gone.mjs'`, /^Refusal m\d+.mjs threw when it was imported: Cannot find module .*gone\.mjs/],
  // Helpers are left alone, whatever they are.
  [
    'export const queues = { a() {}, "b c": { k() {} } }; export const options = { a: { concurrency: 2 } }; ' +
      'export function helper() {}; export class Mailer {}; export const version = 3; export default helper',
    [
      ['a', { concurrency: 2 }],
      ['b c', {}],
    ],
  ],
  ['export default { queues: { a() {} }, options: { a: { timeoutMs: "5m" } } }', [['a', { timeoutMs: '5m' }]]],
  [
    'export default { queues: { a() {} }, option: { a: { concurrency: 1 } } }',
    /it exports "option"; did you mean options\?$/,
  ],
  ['export const queue = { a() {} }', /it exports "queue"; did you mean queues\?$/],
  ['export default { emails: async () => {} }', /it exports no queues; .* \(it exports the functions emails\)$/],
  [
    'export const queues = { a() {} }; export const options = { concurrency: 5 }',
    /: options are by queue, as { "a": { concurrency: … } }; got "concurrency"$/,
  ],
  // What may have been left out is as if it were not there; a handler may not.
  ['export default { queues: { a() {} }, options: { a: undefined }, bugle: undefined }', [['a', {}]]],
  ['export const queues = { a: undefined }', /queues: "a": handler must be a function/],
  // What every object has is nobody's options.
  ['export const queues = { toString() {} }; export const options = {}', [['toString', {}]]],
]

const none = { completed: 0, failed: 0, interrupted: 0, released: 0, abandoned: [] }

describe('bugle work', () => {
  test('a first connection that is refused for good ends it with what is wrong; it does not wait', async ({ db }) => {
    const cwd = folderWith('export const queues = { emails() {} }')
    const connectionString = Object.assign(new URL(db.connectionString), { pathname: '/nothing-here' }).href
    const { code, stdout, stderr } = await spawnCli({ ...db, connectionString }, ['work', 'work.mjs'], { cwd })
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toMatch(
      /bugle: cannot reach database "nothing-here" at .*: database "nothing-here" does not exist\n/,
    )
  })

  test('--drain runs what is there, by queue and by kind, and reports; a failed job is trouble', async ({ db }) => {
    const cwd = folderWith(`
      export const queues = {
        emails(job) { if (job.payload === 'bad') throw new Error('bad\\u001b[2J one\\n and more') },
        'order \u001b[2J\u202eevents': {
          made(job, { context }) { if (context !== 'seen') throw new Error('no context') }
        },
      }
      export const options = { emails: { retryStrategy: false } }
      export const bugle = { context: 'seen' }`)
    const bugle = db.bugle()
    await bugle.putMany('emails', ['good', 'bad', 'good'])
    const orders = 'order \u001b[2J\u202eevents'
    await bugle.put(orders, 1, { kind: 'made' })
    const human = await spawnCli(db, ['work', 'work.mjs', '--drain', '--verbose'], { cwd })
    expect(human.code).toBe(1)
    expect(human.stdout).toContain('emails: 2 completed, 1 failed, 0 interrupted, 0 released, 0 abandoned\n')
    expect(human.stdout).toContain('order \\x1b[2J\\u{202e}events: 1 completed, 0 failed')
    expect(human.stderr).toMatch(
      /job \d+ of "emails" failed for good at attempt 1 \(exhausted\): Error: bad\\x1b\[2J one and more \(.*:3:\d+\)\n/,
    )
    expect(human.stderr).toMatch(/job \d+ of "order .*events", kind "made", attempt 1: acked after \d+ ms\n/)
    expect(unsafe(human.stdout + human.stderr)).toBe(false)
    await bugle.put('emails', 'good')
    await bugle.put(orders, 1, { kind: 'made' })
    const json = await spawnCli(db, ['work', './work.mjs', '--drain', '--json', '--queue', 'emails'], { cwd })
    expect(json.code).toBe(0)
    expect(jsonLines(json.stdout)).toEqual([{ queue: 'emails', ...none, completed: 1 }])
    // Of runs that went well only --verbose tells.
    expect((jsonLines(json.stderr) as { message: string }[]).filter(({ message }) => /job \d/.test(message))).toEqual(
      [],
    )
  })

  test('runs until it is told to stop, lets running jobs end, and leaves with what the module still does', async ({
    db,
  }) => {
    const cwd = folderWith(`
      setInterval(() => {}, 1000)
      export const bugle = { handleSignals: false } // It is the command's, whatever a module says.
      export const options = { q: { concurrency: 2 } }
      export const queues = { async q(job, { signal }) {
        console.error('runs', job.payload)
        await new Promise((resolve) => process.once('SIGTERM', resolve))
      } }`)
    const bugle = db.bugle()
    await bugle.putMany('q', [1, 2])
    const work = startCli(db, ['work', 'work.mjs', '--json', '--concurrency', '1'], { cwd })
    await work.printed(/runs 1/)
    work.child.kill('SIGTERM')
    const { code, stdout, stderr } = await work.ended
    expect(code).toBe(0)
    expect(jsonLines(stdout)).toMatchObject([{ queue: 'q', completed: 1, failed: 0, abandoned: [] }])
    expect(stderr).toContain('stopping once running jobs have ended')
    expect(await db.jobs()).toMatchObject([{ payload: 2, state: 'ready', attempt: 0 }])
  })

  test('a second signal aborts running jobs, a third gives up on them: exit code 1, and the process is gone', async ({
    db,
  }) => {
    const cwd = folderWith(`
      setInterval(() => {}, 1000)
      export const bugle = { graceMs: Infinity, abortMs: Infinity }
      export const queues = { async q(job, { signal }) {
        console.error('runs')
        signal.addEventListener('abort', () => console.error('told'))
        await new Promise(() => {})
      } }`)
    const id = await db.bugle().put('q', 1)
    const work = startCli(db, ['work', 'work.mjs', '--json'], { cwd })
    await work.printed(/runs/)
    work.child.kill('SIGINT')
    await work.printed(/stopping once/)
    work.child.kill('SIGINT')
    await work.printed(/told/)
    work.child.kill('SIGINT')
    const { code, stdout } = await work.ended
    expect(code).toBe(1)
    expect(jsonLines(stdout)).toEqual([{ queue: 'q', ...none, abandoned: [{ id, ageMs: expect.any(Number) }] }])
  })

  test('a drain that a signal ended was not done', async ({ db }) => {
    const cwd = folderWith(`
      export const queues = { async q() {
        console.error('runs')
        await new Promise((resolve) => process.once('SIGINT', resolve))
      } }`)
    await db.bugle().put('q', 1)
    const work = startCli(db, ['work', 'work.mjs', '--drain', '--json'], { cwd })
    await work.printed(/runs/)
    work.child.kill('SIGINT')
    expect(await work.ended).toMatchObject({ code: 130, stdout: expect.stringContaining('"completed":1') })
  })

  test('a worker whose package manager was told to stop by way of a shell is no orphan', async ({ db }) => {
    const cwd = folderWith(`
      setInterval(() => {}, 1000)
      export const queues = { async q() { console.error('runs in', process.pid) } }`)
    await db.bugle().put('q', 1)
    const shell = startUnderShell(db, cwd)
    await shell.printed(/runs in \d+\n/)
    shell.child.kill('SIGTERM')
    // Its output ends with the last process that has it open.
    const { stderr, stdout } = await shell.ended
    expect(stderr).toContain('the package manager that has started this process is gone')
    expect(stderr).toContain('stopping once running jobs have ended')
    expect(stdout).toMatch(/^q: 1 completed/)
  })

  test('a package manager that is gone while the module loads is noticed', async ({ db }) => {
    const cwd = folderWith(`
      setTimeout(() => process.exit(3), 20_000).unref()
      const parent = process.ppid
      console.error('loads')
      while (process.ppid === parent) await new Promise((resolve) => setTimeout(resolve, 5))
      export const queues = { q() {} }`)
    const shell = startUnderShell(db, cwd)
    await shell.printed(/loads\n/)
    shell.child.kill('SIGTERM')
    expect((await shell.ended).stdout).toMatch(/^q: 0 completed/)
  })

  test('a signal to a whole group, package manager and all, counts once, though the event loop is blocked', async ({
    db,
  }) => {
    // The loop is blocked until the watch of the parent is due: it looks before the signal is heard.
    const cwd = folderWith(`
      import { setTimeout as sleep } from 'node:timers/promises'
      export const queues = { async q(_, { signal }) {
        process.on('SIGTERM', () => console.error('heard'))
        const parent = process.ppid
        console.error('runs')
        while (process.ppid === parent);
        const goneAt = Date.now()
        while (Date.now() < goneAt + 600);
        await sleep(1100, undefined, { signal })
      } }`)
    await db.bugle().put('q', 1)
    const shell = startUnderShell(db, cwd, { detached: true })
    await shell.printed(/runs\n/)
    process.kill(-(shell.child.pid ?? Number.NaN), 'SIGTERM')
    const { stderr, stdout } = await shell.ended
    expect(stderr.match(/heard/g)).toHaveLength(1)
    expect(stderr).not.toContain('is gone')
    expect(stdout).toMatch(/^q: 1 completed, 0 failed, 0 interrupted/)
  })

  test('waits for a database that is down, says so, and can be stopped meanwhile', async ({ db }) => {
    const cwd = folderWith('export const queues = { q() {} }')
    const work = startCli(db, ['work', 'work.mjs'], { cwd, env: { DATABASE_URL: 'postgres://127.0.0.1:1/none' } })
    await work.printed(/the database cannot be reached/)
    work.child.kill('SIGTERM')
    expect(await work.ended).toMatchObject({ code: 0, stdout: expect.stringContaining('q: 0 completed') })
  })

  test('a module that throws is told with its stack, in which nothing foreign can act; as JSON in a line', async ({
    db,
  }) => {
    const cwd = folderWith(`throw new Error('at \\u001b[2J\\n import')`)
    const [told, json] = await Promise.all(
      [[], ['--json']].map((more) => spawnCli(db, ['work', 'work.mjs', ...more], { cwd })),
    )
    expect(told).toMatchObject({ code: 1, stdout: '' })
    expect(told?.stderr).toMatch(
      new RegExp(
        String.raw`^bugle: work.mjs threw when it was imported: at \\x1b\[2J import\n` +
          String.raw`Error: at \\x1b\[2J\n import\n {4}at .*work\.mjs`,
      ),
    )
    expect(unsafe(told?.stderr ?? '')).toBe(false)
    expect(json).toMatchObject({ code: 1, stdout: '' })
    expect(jsonLines(json?.stderr ?? '')).toMatchObject([{ error: { code: 'FAILED' } }])
  })

  test.for([
    ['ends the process', 'process.exit(0)', /^bugle: work.mjs ended the process, .*\n$/],
    ['awaits what never comes', 'await new Promise(() => {})', /bugle: work.mjs .* waited for nothing, .*\n/],
  ] as const)('a module that %s is refused', async ([, text, told], { db }) => {
    const ended = await spawnCli(db, ['work', 'work.mjs'], { cwd: folderWith(text) })
    expect(ended).toMatchObject({ code: 1, stdout: '', stderr: expect.stringMatching(told) })
  })

  test('a module that is not there, or in TypeScript where Node does not read it, is told in a line', async ({
    db,
  }) => {
    const cwd = folderWith('export const queues = { q(): void {} }', 'work.ts')
    expect(await spawnCli(db, ['work', 'none.mjs'], { cwd })).toMatchObject({
      code: 1,
      stderr: 'bugle: there is no module none.mjs\n',
    })
    const typed = await spawnCli(db, ['work', 'work.ts', '--drain'], { cwd })
    if (Reflect.get(process.features, 'typescript')) expect(typed.code).toBe(0)
    else expect(typed.stderr).toMatch(/^bugle: work.ts: Node [\d.]+ does not read TypeScript; .*\n$/)
  })

  test('what a module exports is understood, or refused', async () => {
    const cwd = folderWith('', 'empty.mjs')
    for (const [index, [text]] of modules.entries()) writeFileSync(join(cwd, `m${index}.mjs`), text)
    const paths = ['empty.mjs', '.', ...Array.from(modules, (_, index) => `m${index}.mjs`)]
    const module = new URL('../../dist/cli/module.js', import.meta.url).href
    // Node's own import, and one process for all.
    const { ended } = startProcess(
      process.execPath,
      [
        '--input-type=module',
        '--eval',
        `const { loadModule } = await import(${JSON.stringify(module)})
         for (const path of ${JSON.stringify(paths)}) {
           const { queues, name, message } = await loadModule(path).catch((error) => error)
           const answer = queues ? [...queues].map(([queue, { options }]) => [queue, options]) : name + ' ' + message
           console.log(JSON.stringify(answer))
         }`,
      ],
      { cwd },
    )
    const { stdout, stderr } = await ended
    expect(stderr).toBe('')
    const [empty, folder, ...answers] = jsonLines(stdout)
    expect(empty).toMatch(/^Refusal empty.mjs: it exports no queues; /)
    expect(folder).toBe('Refusal . is a directory; give a file')
    for (const [index, [text, answer]] of modules.entries()) {
      if (answer instanceof RegExp) expect(answers[index], text).toMatch(answer)
      else expect(answers[index], text).toEqual(answer)
    }
  })

  test('a CommonJS module is read, though Node gives its exports twice', async ({ db }) => {
    const whole = 'module.exports = { queues: { a() {} }, helper() {} }'
    const named = 'exports.queues = { a() {} }; exports.options = { a: { concurrency: 2 } }; exports.help = () => {}'
    // As TypeScript, SWC and esbuild make it of an ES module.
    const compiled = 'exports.__esModule = true; exports.default = { queues: { a() {} } }; exports.help = () => {}'
    // Node does not foresee the names of these exports.
    const both = 'Object.assign(exports, { __esModule: true, queues: { a() {} }, default: { help() {} } })'
    for (const one of [named, whole, compiled, both]) {
      const ended = await spawnCli(db, ['work', 'work.cjs', '--drain'], { cwd: folderWith(one, 'work.cjs') })
      expect(ended).toMatchObject({ code: 0, stdout: expect.stringMatching(/^a: 0 completed.*\n$/) })
    }
  })

  test('a queue that the module has not is wrong usage', async ({ db }) => {
    const ended = await spawnCli(db, ['work', 'work.mjs', '--queue', 'b'], {
      cwd: folderWith('export const queues = { a() {} }'),
    })
    expect(ended).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/^bugle: the module has no queue "b"; it has "a" .*\n$/),
    })
  })
})
