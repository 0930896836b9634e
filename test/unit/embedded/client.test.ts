import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import { supervisorProgram } from '../../../src/embedded/client.js'

test("the supervisor's program lies where the build puts it, whether src or dist asks", () => {
  const root = mkdtempSync(join(tmpdir(), 'bugle-client-'))
  onTestFinished(() => rmSync(root, { recursive: true }))
  mkdirSync(join(root, 'dist/embedded'), { recursive: true })
  const program = join(root, 'dist/embedded/supervisor.js')
  writeFileSync(program, '')
  for (const asking of ['src/embedded/client.ts', 'dist/embedded/client.js']) {
    expect(supervisorProgram(pathToFileURL(join(root, asking)).href)).toBe(program)
  }
})

const nowhere = 'file:///nowhere/app/main.mjs'

test('where it is missing, the error says what to do: in a checkout, and in a bundle', () => {
  for (const here of [nowhere, undefined]) {
    expect(() => supervisorProgram(here)).toThrow(
      expect.objectContaining({
        code: 'DATABASE_DOWN',
        message: expect.stringMatching(/missing .*: in a checkout npm run build makes it; in a bundle, leave .* out/),
      }),
    )
  }
})

test('where it lies in an archive of Yarn (PnP), the error names the setting that helps', () => {
  const here = 'file:///app/.yarn/cache/bugle-npm-0.1.0-0123456789.zip/node_modules/bugle/dist/embedded/client.js'
  expect(() => supervisorProgram(here)).toThrow(
    expect.objectContaining({ code: 'INVALID_OPTION', message: expect.stringContaining('nodeLinker: node-modules') }),
  )
})
