// The fault runs: processes and a server of their own in which something is broken, at random. At the end every job is
// accounted for. node test/faults/run.mjs --help
import { mkdirSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { runFailovers } from './failover.mjs'
import { runNotifyQueue } from './notify-queue/run.mjs'
import { runResets } from './resets/run.mjs'
import { runSeed } from './seed.mjs'
import { breaks, takeSnapshot } from './snapshot.mjs'

/**
 * @typedef {object} FaultRun
 * @property {(parts: import('./verdict.mjs').RunParts) => Promise<{ violations: string[], summary: string }>} run
 * @property {Amount} usual
 * @property {Amount} short
 *
 * @typedef {{ seeds: number, seconds?: number, rounds?: number }} Amount it is measured in seconds, or in rounds
 */

/** Everything that can break; and some things that the first does not reach, or not often enough. */
const faultRuns = /** @type {const} @satisfies {Record<string, FaultRun>} */ ({
  chaos: { run: runSeed, usual: { seeds: 1, seconds: 60 }, short: { seeds: 2, seconds: 30 } },
  'notify-queue': { run: runNotifyQueue, usual: { seeds: 1, seconds: 60 }, short: { seeds: 1, seconds: 12 } },
  resets: { run: runResets, usual: { seeds: 10, seconds: 120 }, short: { seeds: 1, seconds: 15 } },
  failover: { run: runFailovers, usual: { seeds: 1, rounds: 10 }, short: { seeds: 1, rounds: 2 } },
})

const help = `npm run test:faults -- [which] [options]
which, by default the first; with --short all of them:
  --chaos         workers, sessions, connections and the server die, hang and come back
  --notify-queue  the server's NOTIFY queue is full all the time, so no notification can be sent (PostgreSQL 17 up)
  --resets        connections are reset, with and without prepared statements, under 2,000 jobs
  --failover      a primary is killed and its standby promoted, again and again
options:
  --seeds N     so many runs, with seeds of their own (1; --resets 10)
  --seed S      the seed, of the first run if there are several; the same seed makes the same faults at the same times
  --seconds T   of faults in each run (60; --resets 120)
  --rate N      jobs put a second (40; not of --resets)
  --only KINDS  --chaos: only these faults: kill,pause,hang,stop,terminate,restart-fast,restart-immediate,freeze,cut
  --verbose     say everything that happens
  --rounds N    so many changes of primary (10); only of --failover, which has no seed, seconds, rate
  --short       what CI runs: --chaos two runs of 30 s, --notify-queue one of 12 s, --resets one of 15 s, --failover one
                of two rounds
BUGLE_FAULTS_BREAK=NAME takes a guard out: then --chaos must fail. Names: ${Object.keys(breaks).join(', ')}.
`

const { values } = parseArgs({
  options: {
    chaos: { type: 'boolean', default: false },
    'notify-queue': { type: 'boolean', default: false },
    resets: { type: 'boolean', default: false },
    failover: { type: 'boolean', default: false },
    seeds: { type: 'string' },
    seed: { type: 'string' },
    seconds: { type: 'string' },
    rate: { type: 'string' },
    only: { type: 'string' },
    verbose: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    short: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})
if (values.help) {
  process.stdout.write(help)
  process.exit()
}

/**
 * @param {string} name
 * @param {string | undefined} text
 * @param {number} otherwise
 */
function wholeNumber(name, text, otherwise) {
  const number = text === undefined ? otherwise : Number(text)
  if (Number.isInteger(number) && number > 0) return number
  throw new Error(`--${name} must be a whole number from 1 up; got ${text}`)
}

const names = /** @type {(keyof typeof faultRuns)[]} */ (Object.keys(faultRuns))
const asked = names.filter((name) => values[name])
const chosen = asked.length > 0 ? asked : values.short ? names : names.slice(0, 1)
const putsPerSecond = wholeNumber('rate', values.rate, 40)
const first = wholeNumber('seed', values.seed, 1 + Math.floor(Math.random() * 1_000_000))
const only = values.only?.split(',') ?? []

const snapshot = takeSnapshot(process.env.BUGLE_FAULTS_BREAK)
const logs = join(tmpdir(), 'bugle-faults')
mkdirSync(logs, { recursive: true })
let runs = 0
let failed = 0
try {
  for (const name of chosen) await runAll(name)
} finally {
  snapshot.remove()
}
process.stdout.write(
  failed === 0 ? `${runs} of ${runs} runs without a violation\n` : `${failed} of ${runs} runs failed\n`,
)
// Half-open sessions of the producer would keep the process for as long as their time-outs.
process.exit(failed === 0 ? 0 : 1)

/** @param {keyof typeof faultRuns} name */
async function runAll(name) {
  const { run, usual, short } = faultRuns[name]
  /** @type {Amount} */
  const otherwise = values.short ? short : usual
  const seeds = wholeNumber('seeds', values.seeds, otherwise.seeds)
  const seconds = wholeNumber('seconds', values.seconds, otherwise.seconds ?? 1)
  const rounds = wholeNumber('rounds', values.rounds, otherwise.rounds ?? 1)
  for (let seed = first; seed < first + seeds; seed += 1) {
    const title = `${name}, seed ${seed}`
    process.stdout.write(`${title}: ${otherwise.rounds === undefined ? `${seconds} s` : `${rounds} rounds`}\n`)
    /** @type {string[]} */
    const lines = []
    /** @param {string} text */
    const tell = (text) => {
      lines.push(text)
      if (values.verbose) process.stdout.write(`${text}\n`)
    }
    const { violations, summary } = await run({ seed, seconds, rounds, putsPerSecond, only, snapshot, tell })
    process.stdout.write(`${title}: ${violations.length} violations; ${summary}\n`)
    const path = join(logs, `${name}-${seed}.log`)
    writeFileSync(path, `${lines.join('\n')}\n`)
    runs += 1
    if (violations.length === 0) continue
    failed += 1
    for (const violation of violations.slice(0, 10)) process.stdout.write(`- ${violation}\n`)
    process.stdout.write(`all ${violations.length} of them, and everything that happened: ${path}\n`)
  }
}
