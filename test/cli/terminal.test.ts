import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished } from 'vitest'
import { cliProgram, plainEnv, runCli, startProcess } from '../support/cli.js'
import { type TestDatabase, test } from '../support/database.js'

const hasScript = spawnSync('script', ['--version']).stdout?.toString().includes('util-linux') === true
if (!hasScript) console.warn('SKIPPED: the command in a real terminal, since util-linux script is not installed')

const colour = '\u001b['

/** The command in a terminal: what is written to its standard input is typed there. */
function inTerminal(db: TestDatabase, args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const words = [process.execPath, cliProgram, ...args, '--schema', db.schema]
  // exec: a shell between them would hear Ctrl-C as well.
  const command = `exec ${words.map((word) => `'${word}'`).join(' ')}`
  return startProcess('script', ['-qec', command, '/dev/null'], {
    env: { ...plainEnv(db), TERM: 'xterm-256color', SHELL: '/bin/sh', ...env },
  })
}

describe.skipIf(!hasScript)('in a real terminal', () => {
  test('there are colours, but not with NO_COLOR, nor in a pipe', async ({ db }) => {
    const id = await db.bugle().put('q', 1)
    await db.bugle().cancel(id)
    const painted = await inTerminal(db, ['jobs']).ended
    expect(painted.code).toBe(0)
    expect(painted.stdout).toContain(`${colour}31mfailed`)
    const plain = await inTerminal(db, ['jobs'], { NO_COLOR: '1' }).ended
    expect(plain.stdout).not.toContain(colour)
    expect((await runCli(db, ['jobs'])).stdout).not.toContain(colour)
  })

  test('a bar shows how far it is', async ({ db }) => {
    await db.bugle().putMany(
      'q',
      Array.from({ length: 1_200 }, () => 1),
    )
    await db.sql.unsafe(`update ${db.s}.job set state = 'failed'`)
    const { code, stdout } = await inTerminal(db, ['requeue', '--all']).ended
    expect(code).toBe(0)
    expect(stdout).toMatch(/requeued 1,200 jobs, [\d,]+ a second/)
    expect(stdout).toContain('1,200 jobs requeued')
  })

  test('Ctrl-C twice aborts what runs', async ({ db }) => {
    const folder = mkdtempSync(join(tmpdir(), 'bugle-terminal-test-'))
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
    writeFileSync(
      join(folder, 'work.mjs'),
      `export const bugle = { graceMs: Infinity }
       export async function q(job, { signal }) {
         console.log('it runs')
         await new Promise((_, fail) => signal.addEventListener('abort', () => fail(signal.reason)))
       }`,
    )
    await db.bugle().put('q', 1)
    const work = inTerminal(db, ['work', join(folder, 'work.mjs')])
    await work.printed(/it runs/)
    work.child.stdin?.write('\x03')
    await work.printed(/stopping once running jobs have ended/)
    work.child.stdin?.write('\x03')
    const { code, stdout } = await work.ended
    expect(code).toBe(0)
    expect(stdout).toMatch(/q: .*0 completed.*, 0 failed, 1 interrupted/)
    expect(await db.jobs()).toMatchObject([{ state: 'ready', attempt: 0 }])
  })
})
