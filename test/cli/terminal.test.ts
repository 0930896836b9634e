import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { stripVTControlCharacters } from 'node:util'
import { describe, expect, onTestFinished } from 'vitest'
import { cliProgram, plainEnv, spawnCli, startProcess } from '../support/cli.js'
import { type TestDatabase, test } from '../support/database.js'
import { gate } from '../support/held-rows.js'

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

/** What stands on a terminal in the end, line by line: of a line that was drawn again, the last drawing. */
function linesOf(written: string): string[] {
  return written
    .split(/\r?\n/)
    .map((line) => stripVTControlCharacters(line.replace('^C', '').split(`${colour}1G`).at(-1) ?? '').trim())
    .filter((line) => line !== '')
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
    expect((await spawnCli(db, ['jobs'])).stdout).not.toContain(colour)
  })

  test('a bar shows how far it is; Ctrl-C ends it after the batch in flight; what is said has its own line', async ({
    db,
  }) => {
    await db.bugle().putMany(
      'q',
      Array.from({ length: 3_500 }, (_, index) => ({ n: index + 1 })),
    )
    await db.sql.unsafe(`update ${db.s}.job set state = 'failed'`)
    const held = await gate(db, 'update', 'new.payload = \'{"n":1500}\'')
    const requeue = inTerminal(db, ['requeue', '--all'])
    await held.isWaitedFor()
    await requeue.printed(/requeued 1,000 jobs, [\d,]+ a second/)
    requeue.child.stdin?.write('\x03')
    await requeue.printed(/stopping after the batch in flight/)
    await held.open()
    const { code, stdout } = await requeue.ended
    expect(code).toBe(130)
    expect(linesOf(stdout)).toEqual([
      expect.stringMatching(/requeued 1,000 jobs, [\d,]+ a second$/),
      'stopping after the batch in flight',
      expect.stringMatching(/requeued 2,000 jobs, [\d,]+ a second$/),
      '2,000 jobs requeued; then it was stopped',
      'bugle: interrupted by SIGINT',
    ])
  })

  test('stats --watch is drawn over and over, not higher than the terminal, and nothing foreign acts in it', async ({
    db,
  }) => {
    const names = Array.from({ length: 30 }, (_, index) => `q${index + 10}`)
    for (const name of names) await db.bugle().pause(name)
    await db.bugle().put('q10', 1)
    // Of this terminal nobody has set the size: 24 lines.
    const watch = inTerminal(db, ['stats', '--watch', '1'])
    await watch.printed(/q29/)
    await db.sql.unsafe(`
      alter table ${db.s}.job rename to away;
      create function ${db.s}.refuse() returns boolean language plpgsql as $$
        begin raise exception E'not\\x1b[2J now'; end
      $$;
      create view ${db.s}.job as select * from ${db.s}.away where ${db.s}.refuse()`)
    await watch.printed(/not\\x1b\[2J now/)
    watch.child.stdin?.write('\x03')
    const { code, stdout } = await watch.ended
    expect(code).toBe(0)
    expect(stdout.startsWith(`${colour}H`)).toBe(true)
    expect(stdout).not.toContain('q30')
  })

  test('stats --watch --json is lines there too; a pause longer than timers can be is a long one', async ({ db }) => {
    const watch = inTerminal(db, ['stats', '--json', '--watch', '9999999'])
    await watch.printed(/"workers":\[\]}\r?\n/)
    watch.child.stdin?.write('\x03')
    const { code, stdout } = await watch.ended
    expect(code).toBe(0)
    expect(linesOf(stdout)).toEqual([expect.stringMatching(/^\{"at":.*"workers":\[\]\}$/)])
  })

  test('Ctrl-C twice aborts what runs', async ({ db }) => {
    const folder = mkdtempSync(join(tmpdir(), 'bugle-terminal-test-'))
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
    writeFileSync(
      join(folder, 'work.mjs'),
      `export const bugle = { graceMs: Infinity }
       export const queues = { async q(job, { signal }) {
         console.log('it runs')
         await new Promise((_, fail) => signal.addEventListener('abort', () => fail(signal.reason)))
       } }`,
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
