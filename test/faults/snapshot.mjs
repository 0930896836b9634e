import { execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import ts from 'typescript'

const root = fileURLToPath(new URL('../..', import.meta.url))

const inlineSql = 'src/database/inline-sql.mjs'

/**
 * Guards that can be taken out of the SQL, so that a run must fail: `BUGLE_FAULTS_BREAK=fence|rescue|presence`.
 *
 * @type {Readonly<Record<string, readonly { file: string, find: string, put: string }[]>>}
 */
export const breaks = {
  /** An outcome counts, whoever sends it and under whichever lease. */
  fence: [
    { file: 'settle', find: 'and worker_id = $1::bigint', put: 'and $1::bigint is not null' },
    { file: 'settle', find: 'and lease = ((select $3::text::bigint[]))', put: 'and 0 < ((select $3::text::bigint[]))' },
    { file: 'settle_other', find: 'and worker_id = $1::bigint', put: 'and $1::bigint is not null' },
    { file: 'settle_other', find: 'and job.worker_id = $1::bigint', put: '' },
    { file: 'settle_other', find: 'and lease = (select lease from given where given.id = job.id limit 1)', put: '' },
    { file: 'settle_other', find: 'and job.lease = given.lease', put: '' },
  ],
  /** Jobs are rescued from workers that are there, too. */
  rescue: [{ file: 'rescue', find: 'where present.id is null', put: '' }],
  /** Presence locks are not seen: a process that is only slow counts as dead. */
  presence: [{ file: 'presence_holders', find: 'and granted', put: 'and not granted' }],
}

/**
 * A copy of the build, which stays as it is while others build, and in which SQL can be broken.
 *
 * @param {string | undefined} broken - a name in `breaks`
 */
export function takeSnapshot(broken) {
  const directory = mkdtempSync(join(tmpdir(), 'bugle-faults-'))
  for (const part of ['dist', 'sql', 'package.json', inlineSql]) {
    cpSync(join(root, part), join(directory, part), { recursive: true })
  }
  symlinkSync(join(root, 'node_modules'), join(directory, 'node_modules'))
  // The tests' own proxy is TypeScript, which Node 20 does not read.
  for (const name of ['proxy', 'tls-end']) {
    const { outputText } = ts.transpileModule(readFileSync(join(root, `test/support/${name}.ts`), 'utf8'), {
      compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2023 },
    })
    writeFileSync(join(directory, `${name}.js`), outputText)
  }
  trustSoon(directory)
  if (broken !== undefined) breakIt(directory, broken)

  /** @param {string} path */
  const url = (path) => pathToFileURL(join(directory, path)).href
  return {
    bugleUrl: url('dist/index.js'),
    embeddedUrl: url('dist/embedded/index.js'),
    proxyUrl: url('proxy.js'),
    remove: () => rmSync(directory, { recursive: true, force: true }),
  }
}

/** @typedef {ReturnType<typeof takeSnapshot>} Snapshot */

/**
 * Claims are durable for a minute after each start of the server, and each fault: then no run would have any other.
 *
 * @param {string} directory
 */
function trustSoon(directory) {
  const path = join(directory, 'dist/worker/trust.js')
  const text = readFileSync(path, 'utf8')
  if (!text.includes(trustAfter.find)) throw new Error(`it is not there any more: ${trustAfter.find}`)
  writeFileSync(path, text.replace(trustAfter.find, trustAfter.put))
}

const trustAfter = { find: 'durableMs = 60_000', put: 'durableMs = 300' }

/**
 * @param {string} directory
 * @param {string} broken
 */
function breakIt(directory, broken) {
  const guards = breaks[broken]
  if (guards === undefined) throw new Error(`BUGLE_FAULTS_BREAK is one of ${Object.keys(breaks)}; got ${broken}`)
  for (const { file, find, put } of guards) {
    const path = join(directory, 'sql/statements', `${file}.sql`)
    const text = readFileSync(path, 'utf8')
    if (!text.includes(find)) throw new Error(`${broken}: the guard is not there any more: ${file}: ${find}`)
    writeFileSync(path, text.replaceAll(find, put))
  }
  // The build holds the texts of sql/, and reads no file.
  execFileSync(process.execPath, [join(directory, inlineSql)])
}
