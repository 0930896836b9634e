import { execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import ts from 'typescript'

const root = fileURLToPath(new URL('../..', import.meta.url))

const inlineSql = 'src/database/inline-sql.mjs'

/**
 * A piece of a file of the build or of `sql/`, and what takes its place there.
 *
 * @typedef {{ file: string, find: string, put: string }} Change
 */

/** @param {string} name */
const statement = (name) => `sql/statements/${name}.sql`

/**
 * Guards that can be taken out, so that a run must fail: `BUGLE_FAULTS_BREAK=fence`.
 *
 * @type {Readonly<Record<string, readonly Change[]>>}
 */
export const breaks = {
  /** An outcome counts, whoever sends it and under whichever lease. */
  fence: [
    { file: statement('settle'), find: 'and worker_id = $1::bigint', put: 'and $1::bigint is not null' },
    {
      file: statement('settle'),
      find: 'and lease = ((select $3::text::bigint[]))',
      put: 'and 0 < ((select $3::text::bigint[]))',
    },
    { file: statement('settle_other'), find: 'and worker_id = $1::bigint', put: 'and $1::bigint is not null' },
    { file: statement('settle_other'), find: 'and job.worker_id = $1::bigint', put: '' },
    {
      file: statement('settle_other'),
      find: 'and lease = (select lease from given where given.id = job.id limit 1)',
      put: '',
    },
    { file: statement('settle_other'), find: 'and job.lease = given.lease', put: '' },
  ],
  /** Jobs are rescued from workers that are there, too. */
  rescue: [{ file: statement('rescue'), find: 'where present.id is null', put: '' }],
  /** Presence locks are not seen: a process that is only slow counts as dead. */
  presence: [{ file: statement('presence_holders'), find: 'and granted', put: 'and not granted' }],
  /** After a loss a lane's acks are sent again as they were, by place, as on a connection that was made anew. */
  'express-autocommit-delete': [
    {
      file: statement('express_ack'),
      find: 'and pg_current_xact_id_if_assigned() = $2::text::xid8',
      put: 'and $2::text is not null',
    },
    {
      file: statement('express_ack'),
      find: 'when (select count(*) from acked) = cardinality($1::tid[])',
      put: 'when (select count(*) from acked) >= 0',
    },
    {
      file: 'dist/consume/express/recover.js',
      find: '...acked.map((job) => ackAlone(job, parts))',
      put: `new Promise((resolve) => setTimeout(resolve, 4_000))
        .then(() => parts.query('express_ack', [\`{\${acked.map(({ place }) => \`"\${place}"\`)}}\`, '0']))
        .catch(() => {})
        .then(() => acked.forEach((job) => parts.acked(job, { is: 'durable', runAt: null })))`,
    },
  ],
  /** A commit that was answered counts, whatever the answer says, and whatever became of the statements before it. */
  'express-tag': [
    { file: 'dist/consume/express/lane.js', find: "tag !== 'COMMIT'", put: 'tag === undefined' },
    {
      file: 'dist/consume/express/lane.js',
      find: 'await Promise.all(answers.slice(0, writes))',
      put: '[await answers[writes - 1]]',
    },
    {
      file: 'dist/consume/express/lane-session.js',
      find: 'lose(toError(error));\n                reject(lost);',
      put: 'if (error.code?.length !== 5) lose(toError(error));\n                reject(lost ?? error);',
    },
  ],
  /** An ack that goes alone deletes the row of its id and lease, whatever was made of it. */
  'express-alone-fence': [
    {
      file: statement('settle_express'),
      find: '= ((select $3::text::bigint[]))',
      put: '<> -1 - ((select $3::text::bigint[]))',
    },
    {
      file: statement('settle_express'),
      find: 'and xmin::text::bigint = ((select $5::text::bigint[]))',
      put: 'and 0 < ((select $5::text::bigint[]))',
    },
  ],
  /** A kept job is made a running one of ours, whatever was made of it. */
  'express-keep-fence': [
    { file: statement('keep_express'), find: "state not in ('scheduled', 'running', 'failed')", put: 'true' },
    {
      file: statement('keep_express'),
      find: 'and lease = ((select $3::text::bigint[]))',
      put: 'and 0 <= ((select $3::text::bigint[]))',
    },
    {
      file: statement('keep_express'),
      find: '= ((select $5::text::bigint[]))',
      put: '<> -1 - ((select $5::text::bigint[]))',
    },
    {
      file: statement('keep_express'),
      find: 'and xmin::text::bigint = ((select $6::text::bigint[]))',
      put: 'and 0 < ((select $6::text::bigint[]))',
    },
  ],
  /** A job that a lane has let go of is run all the same. */
  'express-late-begin': [
    {
      file: 'dist/consume/run/run-job.js',
      find: 'express !== null && !express.begin()',
      put: 'express?.begin() === null',
    },
    { file: 'dist/consume/express/express.js', find: "express?.part === 'free'", put: "express?.part === 'none'" },
  ],
}

/**
 * What comes once per minute or stays for a minute comes soon: claims are durable after each start of the server and
 * each fault, lanes are closed after each loss, queues are calm after each death. No run would have anything else. And
 * the ledger's own trigger, which looks on and changes nothing, keeps no lane away.
 *
 * @type {readonly Change[]}
 */
export const soon = [
  { file: 'dist/worker/trust.js', find: 'durableMs = 60_000', put: 'durableMs = 300' },
  { file: 'dist/consume/express/when.js', find: 'least: 1_000, most: 60_000', put: 'least: 100, most: 400' },
  { file: statement('worker_bury'), find: '60000', put: '1000' },
  { file: statement('worker_bury'), find: '30000', put: '500' },
  { file: statement('worker_bury'), find: '1800000', put: '500' },
  { file: statement('worker_bury'), find: "interval '1 min'", put: "interval '1 s'" },
  {
    file: statement('express_table'),
    find: "where tgenabled <> 'D'",
    put: "where tgenabled <> 'D' and tgname <> 'fault_job'",
  },
]

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
  for (const one of soon) change(directory, one)
  if (broken !== undefined) breakIt(directory, broken)
  // The build holds the texts of sql/, and reads no file.
  execFileSync(process.execPath, [join(directory, inlineSql)])

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
 * @param {string} directory
 * @param {string} broken
 */
function breakIt(directory, broken) {
  const guards = breaks[broken]
  if (guards === undefined) throw new Error(`BUGLE_FAULTS_BREAK is one of ${Object.keys(breaks)}; got ${broken}`)
  for (const guard of guards) change(directory, guard)
}

/**
 * @param {string} directory
 * @param {Change} change
 */
function change(directory, { file, find, put }) {
  const path = join(directory, file)
  const text = readFileSync(path, 'utf8')
  if (!text.includes(find)) throw new Error(`${file}: this is not there any more: ${find}`)
  writeFileSync(path, text.split(find).join(put))
}
