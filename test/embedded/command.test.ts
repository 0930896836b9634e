import { mkdir, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { freePort } from '../../src/embedded/postgres.js'
import { type CliProcess, cliProgram, jsonLines, plainEnv, startProcess } from '../support/cli.js'
import { inTemporaryDirectory, leftIn, select, tmp } from '../support/embedded-server.js'
import { until } from '../support/until.js'

inTemporaryDirectory()

function command(...args: string[]): CliProcess {
  return startProcess(process.execPath, [cliProgram, 'postgres', ...args], {
    env: { ...plainEnv({ connectionString: '' }), TMPDIR: tmp },
  })
}

describe('bugle postgres', () => {
  test('prints its URL, refuses a port that is taken, keeps its data, and ends by Ctrl-C', async () => {
    const data = join(tmp, 'kept')
    await mkdir(data, { mode: 0o755 })
    const port = String(await freePort())
    const start = (...args: string[]) => command('--json', '--port', port, ...args)
    const first = start('--data', data)
    await first.printed(/\}\n/)
    const url = `postgres://postgres@127.0.0.1:${port}/postgres`
    await select({ connectionString: url }, 'create table kept as select 1 as one')

    const second = await start().ended
    expect(second).toMatchObject({ code: 1, stdout: '' })
    expect(second.stderr).toContain(`--port must be free; ${port} is taken`)

    first.child.kill('SIGINT')
    const { code, stdout, stderr } = await first.ended
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(jsonLines(stdout)).toEqual([
      { url, port: Number(port), version: expect.stringMatching(/^18/), dataDir: join(data, 'data'), isKept: true },
    ])
    await expect(select({ connectionString: url }, 'select 1')).rejects.toThrow(/ECONNREFUSED/)
    expect(await leftIn(tmp)).toEqual(['kept'])

    const third = start('--data', data)
    await third.printed(/\}\n/)
    expect(await select({ connectionString: url }, 'select one from kept')).toEqual([{ one: 1 }])
    third.child.kill('SIGTERM')
    expect(await third.ended).toMatchObject({ code: 0 })
  })

  test('people read the line to set DATABASE_URL by; where its usual port is taken, it says so', async () => {
    // By us, or by somebody else on this machine already.
    const taken = createServer().on('error', () => {})
    taken.listen(54_320, '127.0.0.1')
    onTestFinished(() => void taken.close())
    const started = command()
    const [, url = ''] = await started.printed(/^ {2}export DATABASE_URL=(postgres:\S+)\n/m)
    expect(url).not.toContain(':54320/')
    expect(await select({ connectionString: url }, 'select 1 as one')).toEqual([{ one: 1 }])
    started.child.kill('SIGINT')
    const { code, stderr } = await started.ended
    expect(code).toBe(0)
    expect(stderr).toMatch(/port 54320 is taken, by another server perhaps; this one is on port \d+\n/)
  })

  test('Ctrl-C during its start ends it: no URL is printed, and nothing is left', async () => {
    const started = command()
    // Its data directory is there, and initdb takes a moment yet.
    await until(async () => (await leftIn(tmp)).length > 0)
    started.child.kill('SIGINT')
    expect(await started.ended).toEqual({ code: 0, stdout: '', stderr: '' })
    expect(await leftIn(tmp)).toEqual([])
  })

  test('data that cannot be used are named as the option of the command', async () => {
    const data = join(tmp, 'full')
    await mkdir(join(data, 'data'), { recursive: true, mode: 0o755 })
    await writeFile(join(data, 'data', 'mine'), '')
    expect(await command('--data', data).ended).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringMatching(/^bugle: --data /),
    })
  })

  test('a port that none can be is wrong usage', async () => {
    expect(await command('--port', '70000').ended).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('not a whole number from 1 to 65535.'),
    })
  })
})
