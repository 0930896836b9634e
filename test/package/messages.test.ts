import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, onTestFinished, test } from 'vitest'
import { root } from '../support/install.js'

const given = `
import { type Bugle, createBugle, type Handler, type Kinds } from 'bugle'
type Queues = {
  emails: { to: string }
  counts: number
  media: Kinds<{ thumb: { file: string }; probe: { url: string } }>
}
declare const bugle: Bugle<Queues>
`

/** One statement each. */
const mistakes: readonly (readonly [what: string, ...statements: string[]])[] = [
  [
    'a queue that there is not',
    "bugle.put('email', { to: 'a@example.org' })",
    "bugle.putMany('email', [])",
    "bugle.consume('email', () => {})",
    "bugle.jobs({ queue: 'email' })",
  ],
  [
    'a kind that there is not, or none',
    "bugle.put('media', { file: 'a.png' }, { kind: 'thumbs' })",
    "bugle.put('media', { file: 'a.png' })",
    "bugle.consume('media', { thumbs: () => {} })",
  ],
  [
    'another payload',
    "bugle.put('emails', { to: 5 })",
    "bugle.put('emails', {})",
    "bugle.put('emails', { to: 'a@example.org', cc: [] })",
    "bugle.put('media', { file: 'a.png' }, { kind: 'probe' })",
    "bugle.putMany('counts', [1, '2'])",
    "createBugle<{ tags: Map<string, string> }>().put('tags', new Map())",
  ],
  [
    'an option that there is not',
    'createBugle({ poolsize: 5 })',
    'createBugle<Queues>({ poolsize: 5 })',
    "bugle.put('counts', 5, { delay: 5 })",
    "bugle.consume('emails', () => {}, { concurency: 5 })",
    'createBugle<Queues>({ codec: { encode: (value: unknown) => value, decode: (stored: unknown) => stored } })',
  ],
  [
    'another handler',
    "bugle.consume('emails', (job) => job.payload.subject)",
    "bugle.consume('emails', { welcome: () => {} })",
    "bugle.consume('emails', ((job) => job.payload.toFixed()) satisfies Handler<number>)",
    "bugle.consume('emails', 'welcome')",
    "bugle.consume('emails', (job, ctx) => ctx.context.mailer)",
  ],
]

test('what the compiler says of the commonest mistakes', { timeout: 60_000 }, async () => {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'bugle-messages-')))
  onTestFinished(() => rmSync(directory, { recursive: true }))
  mkdirSync(join(directory, 'node_modules/@types'), { recursive: true })
  symlinkSync(root, join(directory, 'node_modules/bugle'))
  symlinkSync(join(root, 'node_modules/@types/node'), join(directory, 'node_modules/@types/node'))
  const statements = mistakes.flatMap(([, ...all]) => all)
  writeFileSync(join(directory, 'mistakes.mts'), [...given.split('\n'), ...statements].join('\n'))
  const said = messagesByLine(await compile(directory))
  const firstLine = given.split('\n').length + 1
  const shown = mistakes.map(([what, ...all]) => {
    const each = all.map((statement) => {
      const messages = said.get(firstLine + statements.indexOf(statement)) ?? ['nothing']
      return `    ${statement}\n${messages.map((message) => `${message}\n`).join('')}`
    })
    return `${what}\n${'-'.repeat(what.length)}\n\n${each.join('\n')}`
  })
  await expect(shown.join('\n')).toMatchFileSnapshot('messages.txt')
})

/** @returns what the compiler prints about `mistakes.mts` there */
async function compile(directory: string): Promise<string> {
  const tsc = join(root, 'node_modules/typescript-7/bin/tsc')
  const options = ['--noEmit', '--strict', '--target', 'es2023', '--module', 'nodenext', '--types', 'node']
  const ran = promisify(execFile)(process.execPath, [tsc, ...options, '--pretty', 'false', 'mistakes.mts'], {
    cwd: directory,
  })
  return ran.then(
    ({ stdout }) => stdout,
    ({ stdout }: { stdout: string }) => stdout,
  )
}

/** Each message of a line of the program, with the lines that are indented beneath it. */
function messagesByLine(printed: string): Map<number, string[]> {
  const found = new Map<number, string[]>()
  let current: string[] = []
  for (const text of printed.split('\n')) {
    const [, line, message] = /^mistakes\.mts\((\d+),\d+\): error TS\d+: (.*)$/.exec(text) ?? []
    if (line !== undefined && message !== undefined) {
      current = found.get(Number(line)) ?? []
      found.set(Number(line), current)
      current.push(message)
    } else if (text !== '') current.push(text)
  }
  return found
}
