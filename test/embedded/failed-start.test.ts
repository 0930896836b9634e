import { chmod, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type EmbeddedOptions, startEmbedded } from '../../src/embedded/index.js'
import { inTemporaryDirectory, leftIn, tmp } from '../support/embedded-server.js'

inTemporaryDirectory()

describe('a failed start', () => {
  test('tells the last words of the server and leaves nothing', async () => {
    const binDir = await makePrograms(join(tmp, 'programs'), 'case $0 in */postgres) echo "no: $*" >&2; exit 1; esac')
    await expect(startEmbedded({ binDir, settings: { shared_buffers: 'much' } })).rejects.toMatchObject({
      code: 'DATABASE_DOWN',
      message: expect.stringMatching(/ended at its start \(exit code 1\):\nno: .* shared_buffers=much/),
    })
    expect(await leftIn(tmp)).toEqual(['programs'])
  })

  test('keeps its deadline and leaves nothing', async () => {
    // These programs never end, so the deadline passes on a fast machine as well.
    const binDir = await makePrograms(join(tmp, 'programs'), 'exec sleep 1000')
    await expect(startEmbedded({ binDir, startTimeoutMs: 500 })).rejects.toMatchObject({
      code: 'DATABASE_DOWN',
      message: expect.stringMatching(/did not start within 500 ms/),
    })
    expect(await leftIn(tmp)).toEqual(['programs'])
  })

  test('says what to install when the package is missing', async () => {
    await expect(startEmbedded({ package: 'embedded-postgres-0' })).rejects.toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringMatching(/npm install --save-dev embedded-postgres-0/),
    })
  })

  test.each<[unknown, RegExp]>([
    [{ dir: 'x' }, /there is no option "dir"/],
    [{ dataDir: '' }, /dataDir must be/],
    [{ binDir: '/nowhere' }, /binDir must be a directory with initdb and postgres; \/nowhere\/initdb is missing/],
    [{ durability: true }, /durability must be/],
    [{ startTimeoutMs: 0 }, /startTimeoutMs must be/],
    [{ settings: { port: 1 } }, /settings must leave port/],
    [{ settings: { 'a b': 1 } }, /settings must have names/],
    [{ settings: { jit: null } }, /settings\.jit must be/],
  ])('refuses %j', async (options, message) => {
    await expect(startEmbedded(options as EmbeddedOptions)).rejects.toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringMatching(message),
    })
  })
})

/** Makes a directory like that of an installed server. Both of its programs are the script. @returns its path */
async function makePrograms(directory: string, script: string): Promise<string> {
  await mkdir(directory)
  const lines = ['#!/bin/sh', '[ "$1" = --version ] && exec echo "postgres (PostgreSQL) 18.0"', script, '']
  for (const name of ['initdb', 'postgres']) {
    await writeFile(join(directory, name), lines.join('\n'))
    await chmod(join(directory, name), 0o755)
  }
  return directory
}
