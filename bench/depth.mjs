/**
 * The time of a claim, and what else is in the table: nothing, 100,000 or a million ready, scheduled or failed jobs, or
 * as many of each.
 *
 * The claim statement is sent as the library sends it: prepared, by a session with its settings. Two claims are timed:
 * one that finds as many as it asks for, all put right before it, and settled after it; and one that finds nothing.
 */
import { lowestId } from '../dist/consume/statements.js'
import { loadStatements } from '../dist/database/statements.js'
import { rotated } from './contenders/run.mjs'
import { migrate } from './measure/consumers.mjs'
import { addValue } from './measure/figures.mjs'
import { fill } from './measure/fill.mjs'
import { openSession } from './measure/session.mjs'
import { median, quantile } from './statistics.mjs'

export const tries = 5

/** Each in a table of its own, so that the turns can be interleaved. */
const depths = /** @type {const} */ ({
  empty: [],
  ready: ['ready'],
  scheduled: ['scheduled'],
  failed: ['failed'],
  'each of all three': ['ready', 'scheduled', 'failed'],
})
/** @typedef {keyof typeof depths} Depth */
const names = /** @type {Depth[]} */ (Object.keys(depths))

const sizes = new Map([100_000, 1_000_000].map((size) => [`beside ${size.toLocaleString('en')}`, size]))
export const cases = [...sizes.keys()]
export const smokeCases = cases.slice(0, 1)

const slots = 24
const queue = 'depth'
/** Where the queue has ready jobs, a claim of this one finds none. */
const otherQueue = 'shallow'

/**
 * @param {import('./scenarios.mjs').RunOptions} options
 * @returns {AsyncIterable<import('./scenarios.mjs').Result>}
 */
export async function* run({ tries: wanted, cases: chosen, isSmoke, jobs: asked, tell, server: serverOf }) {
  const claims = isSmoke ? 20 : 300
  const server = await serverOf()
  for (const name of chosen) {
    const jobs = asked ?? (isSmoke ? 5_000 : (sizes.get(name) ?? 0))
    yield {
      case: name,
      settings: { jobs, slots, claimsATry: claims, session: 'as the library sets it', server: server.settings },
      figures: await measure(server, { jobs, claims, tries: wanted, tell }),
      ratios: ratios(),
    }
  }
}

/**
 * @param {import('./server.mjs').Server} server
 * @param {{ jobs: number, claims: number, tries: number, tell: (text: string) => void }} what
 */
async function measure(server, { jobs, claims, tries: wanted, tell }) {
  const database = await server.freshDatabase('depth')
  /** @type {Awaited<ReturnType<typeof openTable>>[]} */
  const tables = []
  for (const name of names) tables.push(await openTable(database, name, jobs, tell))
  await database.tidy()
  /** @type {import('./measure/figures.mjs').Figures} */
  const figures = {}
  for (let number = 0; number < wanted; number += 1) {
    for (const table of rotated(tables, number)) {
      const times = await table.timeClaims(claims)
      for (const [name, values] of Object.entries(times)) {
        addValue(figures, `${table.name}: ${name}, p50`, 'ms', median(values))
        addValue(figures, `${table.name}: ${name}, p99`, 'ms', quantile(values, 0.99))
      }
    }
    tell(`depth ${number + 1} of ${wanted}`)
  }
  for (const table of tables) await table.end()
  await database.drop()
  return figures
}

/** @returns {import('./scenarios.mjs').Ratio[]} */
function ratios() {
  return names
    .filter((name) => name !== 'empty')
    .flatMap((name) =>
      [`claim of ${slots}`, 'empty claim'].map((claim) => ({
        name: `${claim}, ${name} to empty`,
        of: `${name}: ${claim}, p50`,
        to: `empty: ${claim}, p50`,
        wanted: '<= 2',
      })),
    )
}

/**
 * @param {import('./server.mjs').Database} database
 * @param {Depth} name
 * @param {number} jobs
 * @param {(text: string) => void} tell
 */
async function openTable(database, name, jobs, tell) {
  const schema = `depth_${name.replaceAll(' ', '_')}`
  await migrate(database.url, schema)
  for (const state of depths[name]) {
    tell(`depth: ${jobs.toLocaleString('en')} ${state} jobs are written`)
    await fill(database, { schema, queue, jobs, state })
  }
  const statements = loadStatements(schema)
  const client = await openSession(database.url)
  const workerId = '1'
  await client.query(statements.worker_insert, [workerId, 'bench', 'here', process.pid, '0', 60_000, 300_000])
  // No flags, no acks; all ids; with the look for what was left behind; and committed durably.
  const rest = [null, null, null, lowestId, 'true', 'false']
  const isDeep = depths[name].some((state) => state === 'ready')

  /** @param {string} from @param {number} expected */
  async function timeClaim(from, expected) {
    const startedAt = performance.now()
    const { rows } = await prepared(client, 'claim', statements.claim, [from, slots, workerId, ...rest])
    const ms = performance.now() - startedAt
    const ids = rows.flatMap(({ id }) => (id === null ? [] : [id]))
    if (ids.length !== expected) throw new Error(`${name}: ${expected} jobs were to be claimed, not ${ids.length}`)
    return { ms, ids, leases: rows.flatMap(({ id, lease }) => (id === null ? [] : [lease])) }
  }

  return {
    name,
    /** @param {number} claims */
    async timeClaims(claims) {
      /** @type {number[]} */
      const full = []
      /** @type {number[]} */
      const empty = []
      for (let number = 0; number < claims; number += 1) {
        await prepared(client, 'put_many', statements.put_many, [
          queue,
          JSON.stringify(Array(slots).fill({ payload: number, priority: 0 })),
        ])
        const { ms, ids, leases } = await timeClaim(queue, slots)
        full.push(ms)
        const missed = await prepared(client, 'settle', statements.settle, [workerId, `{${ids}}`, `{${leases}}`])
        if (missed.rows.length > 0) throw new Error('a settled job was not ours')
        empty.push((await timeClaim(isDeep ? otherQueue : queue, 0)).ms)
      }
      return { [`claim of ${slots}`]: full, 'empty claim': empty }
    },
    end: () => client.end(),
  }
}

/**
 * @param {import('pg').Client} client
 * @param {string} name
 * @param {string} text
 * @param {readonly unknown[]} values
 */
function prepared(client, name, text, values) {
  return client.query({ name, text, values: [...values] })
}
