/**
 * Clients that insert one row after the other, each by the library's own statement, prepared, in a transaction of its
 * own.
 *
 * By pgbench where it is installed, since it takes little of the processor that the server needs; else by a process of
 * Node.
 */
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadStatements } from '../../dist/database/statements.js'
import { spawnChild } from '../processes.mjs'

/**
 * @typedef {object} Order
 * @property {string} url
 * @property {string} schema
 * @property {string} queue
 * @property {number} clients
 * @property {number} seconds
 *
 * @typedef {{ inserted: number, perSecond: number }} Written
 */

const payload = '{"to": "somebody@example.org", "number": 17}'

/** So long they write before the clock starts: plans are made and pages are written whole for the first time. */
const secondsBefore = 1

/** @returns {{ name: string, secondsBefore: number, write: (order: Order) => Promise<Written> }} */
export function createWriters() {
  const { stdout } = spawnSync('pgbench', ['--version'], { encoding: 'utf8' })
  if (stdout) return { name: stdout.trim(), secondsBefore, write: writeByPgbench }
  return { name: `pg, one process of Node ${process.version}`, secondsBefore, write: writeByNode }
}

/** @param {Order} order @returns {Promise<Written>} */
async function writeByPgbench({ url, schema, queue, clients, seconds }) {
  const folder = mkdtempSync(join(tmpdir(), 'bugle-bench-'))
  try {
    const script = join(folder, 'put.sql')
    const text = loadStatements(schema)
      .put.replace('$1', ':queue')
      .replace('$2', ':payload')
      .replace('$3', ':priority')
      // It cannot send a null as a parameter.
      .replace('$4', 'null')
    writeFileSync(script, `${text};\n`)
    const variables = { queue, payload, priority: 0 }
    // In one run: between two of them consumers would fall asleep.
    const output = await outputOf('pgbench', [
      ...['--no-vacuum', '--protocol=prepared', `--file=${script}`, `--client=${clients}`],
      ...[`--time=${secondsBefore + seconds}`, '--progress=1'],
      ...Object.entries(variables).map(([name, value]) => `--define=${name}=${value}`),
      url,
    ])
    const rates = [...output.matchAll(/^progress: [\d.]+ s, ([\d.]+) tps/gm)].map(([, rate]) => Number(rate))
    const timed = rates.slice(secondsBefore)
    if (timed.length === 0) throw new Error(`no progress in the output of pgbench: ${output}`)
    return {
      inserted: found(output, /transactions actually processed: (\d+)/),
      perSecond: timed.reduce((sum, rate) => sum + rate, 0) / timed.length,
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** @param {Written} before @param {Written} timed @returns {Written} */
function both(before, timed) {
  return { inserted: before.inserted + timed.inserted, perSecond: timed.perSecond }
}

/** @param {string} program @param {readonly string[]} args @returns {Promise<string>} */
function outputOf(program, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    let errors = ''
    child.stdout.on('data', (data) => {
      output += data
    })
    child.stderr.on('data', (data) => {
      errors += data
    })
    child.on('error', reject)
    child.on('close', (code) => {
      if (code === 0) resolve(output + errors)
      else reject(new Error(`${program} ended with ${code}: ${errors}`))
    })
  })
}

/** @param {string} output @param {RegExp} pattern */
function found(output, pattern) {
  const text = pattern.exec(output)?.[1]
  if (text === undefined) throw new Error(`no ${pattern} in the output of pgbench: ${output}`)
  return Number(text)
}

/** @param {Order} order @returns {Promise<Written>} */
async function writeByNode({ url, schema, queue, clients, seconds }) {
  const text = loadStatements(schema).put
  const child = spawnChild(new URL('./writer.mjs', import.meta.url), { url, clients })
  await child.next('ready')
  const writeFor = (/** @type {number} */ time) =>
    child.ask('write', { text, values: [queue, payload, 0, null], seconds: time })
  const written = both(await writeFor(secondsBefore), await writeFor(seconds))
  await child.end('stop')
  return written
}
