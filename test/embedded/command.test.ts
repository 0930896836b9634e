import { existsSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { freePort } from '../../src/embedded/postgres.js'
import { cliProgram, jsonLines, plainEnv, startProcess } from '../support/cli.js'
import { inTemporaryDirectory, leftIn, select, tmp } from '../support/embedded-server.js'

inTemporaryDirectory()

describe('bugle postgres', () => {
  test('prints its URL, refuses a port that is taken, keeps its data, and ends by Ctrl-C', async () => {
    const data = join(tmp, 'kept')
    await mkdir(data, { mode: 0o755 })
    const port = String(await freePort())
    const start = (...args: string[]) =>
      startProcess(process.execPath, [cliProgram, 'postgres', '--json', '--port', port, ...args], {
        env: { ...plainEnv({ connectionString: '' }), TMPDIR: tmp },
      })
    const first = start('--data', data)
    await first.printed(/\}\n/)
    const url = `postgres://postgres@127.0.0.1:${port}/postgres`
    expect(await select({ connectionString: url }, 'select 1 as one')).toEqual([{ one: 1 }])

    const second = await start().ended
    expect(second).toMatchObject({ code: 1, stdout: '' })
    expect(second.stderr).toContain(`port must be free; ${port} is taken`)

    first.child.kill('SIGINT')
    const { code, stdout, stderr } = await first.ended
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(jsonLines(stdout)).toEqual([
      { url, port: Number(port), version: expect.stringMatching(/^18/), dataDir: join(data, 'data'), isKept: true },
    ])
    expect(existsSync(join(data, 'data', 'PG_VERSION'))).toBe(true)
    await expect(select({ connectionString: url }, 'select 1')).rejects.toThrow(/ECONNREFUSED/)
    expect(await leftIn(tmp)).toEqual(['kept'])
  })
})
