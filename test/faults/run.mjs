// The fault run: worker processes, producers and a server of its own, and everything that can break is broken at
// random. At the end every job is accounted for. Or failovers, one after the other. node test/faults/run.mjs --help
import { mkdirSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { runFailovers } from './failover.mjs'
import { runSeed } from './seed.mjs'
import { takeSnapshot } from './snapshot.mjs'

const help = `npm run test:faults -- [options]
  --seeds N     so many runs, with seeds of their own (1)
  --seed S      the seed, of the first run if there are several; the same seed makes the same faults at the same times
  --seconds T   of faults in each run (60)
  --rate N      jobs put a second (40)
  --only KINDS  only these faults: kill,pause,hang,stop,terminate,restart-fast,restart-immediate,freeze,cut
  --verbose     say everything that happens
  --short       what CI runs: two runs of 30 s; of failovers two rounds
  --failover    instead of all that: a primary is killed and its standby promoted, again and again
  --rounds N    so many failovers (10)
BUGLE_FAULTS_BREAK=fence|rescue|presence takes a guard out of the SQL: then the run must fail.
`

const { values } = parseArgs({
  options: {
    seeds: { type: 'string' },
    seed: { type: 'string' },
    seconds: { type: 'string' },
    rate: { type: 'string' },
    only: { type: 'string' },
    verbose: { type: 'boolean', default: false },
    short: { type: 'boolean', default: false },
    failover: { type: 'boolean', default: false },
    rounds: { type: 'string' },
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

const rounds = wholeNumber('rounds', values.rounds, values.short ? 2 : 10)
const seeds = wholeNumber('seeds', values.seeds, values.short ? 2 : 1)
const seconds = wholeNumber('seconds', values.seconds, values.short ? 30 : 60)
const putsPerSecond = wholeNumber('rate', values.rate, 40)
const first = wholeNumber('seed', values.seed, 1 + Math.floor(Math.random() * 1_000_000))
const only = values.only?.split(',') ?? []

const snapshot = takeSnapshot(process.env.BUGLE_FAULTS_BREAK)
const logs = join(tmpdir(), 'bugle-faults')
mkdirSync(logs, { recursive: true })
let failed = 0

/**
 * @param {string} name
 * @param {(tell: (text: string) => void) => Promise<{ violations: readonly string[], summary: string }>} run
 */
async function told(name, run) {
  /** @type {string[]} */
  const lines = []
  const { violations, summary } = await run((text) => {
    lines.push(text)
    if (values.verbose) process.stdout.write(`${text}\n`)
  })
  process.stdout.write(`${name}: ${violations.length} violations; ${summary}\n`)
  const path = join(logs, `${name.replace(' ', '-')}.log`)
  writeFileSync(path, `${lines.join('\n')}\n`)
  if (violations.length === 0) return
  failed += 1
  for (const violation of violations.slice(0, 10)) process.stdout.write(`- ${violation}\n`)
  process.stdout.write(`all ${violations.length} of them, and everything that happened: ${path}\n`)
}

try {
  if (values.failover) {
    await told('failovers', (tell) => runFailovers({ rounds, snapshot, tell }))
  } else {
    for (let seed = first; seed < first + seeds; seed += 1) {
      process.stdout.write(`seed ${seed}: ${seconds} s\n`)
      await told(`seed ${seed}`, (tell) => runSeed({ seed, seconds, putsPerSecond, only, snapshot, tell }))
    }
  }
} finally {
  snapshot.remove()
}
if (!values.failover) {
  process.stdout.write(
    failed === 0 ? `${seeds} of ${seeds} seeds without a violation\n` : `${failed} of ${seeds} seeds failed\n`,
  )
}
// Half-open sessions of the producer would keep the process for as long as their time-outs.
process.exit(failed === 0 ? 0 : 1)
