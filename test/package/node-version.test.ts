import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { nodeTooOld } from '../../src/node-version.js'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** Loads a compiled module in a process that believes to be another Node. */
async function loaded(entry: string, version: string): Promise<string> {
  const disguise = `Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '${version}' } })`
  const args = ['--import', `data:text/javascript,${encodeURIComponent(disguise)}`]
  try {
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [...args, `${root}dist/${entry}.js`])
    return stdout + stderr
  } catch (error) {
    return (error as { stderr: string }).stderr
  }
}

test('the least version is that of package.json, and this one is new enough', async () => {
  const { engines } = JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as { engines: { node: string } }
  expect(engines.node).toBe('>=20.19')
  expect(nodeTooOld).toBeNull()
})

test('each entry refuses an older Node in words, and the command without a stack', async () => {
  const said = 'Bugle needs Node.js 20.19 or newer, and this is Node.js 18.20.4'
  const [command, ...library] = await Promise.all(
    ['cli/index', 'index', 'embedded/index', 'testing/index'].map((entry) => loaded(entry, '18.20.4')),
  )
  expect(command).toBe(`bugle: ${said}\n`)
  for (const text of library) expect(text).toContain(`Error: ${said}\n`)
})

test('20.18 is too old, and 20.19 and 22.0 are not', async () => {
  const answers = await Promise.all(['20.18.9', '20.19.0', '22.0.0'].map((version) => loaded('demand-node', version)))
  expect(answers).toEqual([expect.stringContaining('and this is Node.js 20.18.9'), '', ''])
})
