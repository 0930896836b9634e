// The driver: scenarios by name, one JSON line a case on stdout, a table for people on stderr. Needs a build (dist/).
import { appendFileSync, mkdirSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { environment } from './environment.mjs'
import { isPeer, missingPeers } from './peers.mjs'
import { killChildren } from './processes.mjs'
import { summarized, table } from './results.mjs'
import { loadScenario, scenarioNames } from './scenarios.mjs'
import { startServer } from './server.mjs'

const usage =
  'npm run bench -- <scenario|all|charts> [--tries N] [--case NAME …] [--contender NAME …] [--jobs N] [--seconds N] ' +
  '[--smoke] [--save]'

/** A call that cannot be carried out: one line says why. */
class Refusal extends Error {}

const { values, positionals } = argumentsOrEnd()

/** @type {Promise<import('./server.mjs').Server> | undefined} */
let shared
// Before anything is measured: what is changed meanwhile is not what was.
const where = environment()
try {
  await main(positionals[0] ?? '')
} catch (error) {
  tell(error instanceof Refusal ? error.message : String(error instanceof Error ? error.stack : error))
  process.exitCode = error instanceof Refusal ? 2 : 1
} finally {
  await killChildren()
  await (await shared?.catch(() => undefined))?.stop()
  // Whatever a failure has left open.
  process.exit()
}

/** Prints the usage, or what is wrong with the call, and ends the process, where there is nothing to run. */
function argumentsOrEnd() {
  try {
    const parsed = parseArgs({
      options: {
        tries: { type: 'string' },
        case: { type: 'string', multiple: true },
        contender: { type: 'string', multiple: true },
        jobs: { type: 'string' },
        seconds: { type: 'string' },
        smoke: { type: 'boolean', default: false },
        save: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
      allowPositionals: true,
    })
    if (!parsed.values.help) return parsed
    process.stdout.write(`${usage}\nscenarios: ${scenarioNames.join(', ')}\n`)
    process.exit(0)
  } catch (error) {
    tell(`${error instanceof Error ? error.message.split('\n', 1)[0] : error}; ${usage}`)
    process.exit(2)
  }
}

/** @param {string} wanted */
async function main(wanted) {
  if (wanted === 'charts') {
    const charts = './charts.mjs'
    return (await import(charts)).drawCharts({ tell })
  }
  const names = wanted === 'all' ? scenarioNames : scenarioNames.filter((name) => name === wanted)
  if (values.smoke && values.save) refuse('--save is not for --smoke: its figures say nothing')
  if (names.length === 0) refuse(`a scenario is one of ${scenarioNames.join(', ')}, all, charts; got '${wanted}'`)
  for (const name of names) await runScenario(name)
}

/** @param {string} name */
async function runScenario(name) {
  const scenario = await loadScenario(name)
  const triesAsked = wholeNumber('--tries', values.tries)
  const usual = triesAsked ?? (values.smoke ? 1 : scenario.tries)
  const options = {
    tries: usual,
    areTriesAsked: triesAsked !== undefined,
    cases:
      chosen('--case', values.case, scenario.cases) ??
      (values.smoke ? scenario.smokeCases : undefined) ??
      scenario.defaultCases ??
      scenario.cases,
    contenders: contendersOf(scenario),
    isSmoke: values.smoke,
    jobs: wholeNumber('--jobs', values.jobs),
    seconds: wholeNumber('--seconds', values.seconds),
    tell,
    server: () => {
      shared ??= startServer()
      return shared
    },
  }
  for await (const result of scenario.run(options)) {
    const { figures, ratios, versions, tries = usual, ...rest } = summarized(result)
    tell(table(`${name}, ${result.case}, ${tries} ${tries === 1 ? 'try' : 'tries'}`, { figures, ratios, ...rest }))
    const line = JSON.stringify({
      scenario: name,
      ...rest,
      isSmoke: values.smoke,
      tries,
      figures,
      ratios,
      at: new Date().toISOString(),
      ...where,
      versions: { ...where.versions, ...versions },
    })
    process.stdout.write(`${line}\n`)
    if (values.save) save(name, line)
  }
}

/**
 * Those asked for; else the usual ones, but in a smoke run for the peers: it is about our own code, and needs no second
 * install.
 *
 * @param {import('./scenarios.mjs').Scenario} scenario
 */
function contendersOf({ contenders: known = [], defaultContenders = known }) {
  const asked = chosen('--contender', values.contender, known)
  const contenders = asked ?? (values.smoke ? defaultContenders.filter((name) => !isPeer(name)) : defaultContenders)
  const missing = missingPeers(contenders)
  if (missing.length > 0) {
    refuse(`${missing.join(', ')}: not installed; run npm --prefix bench ci, or choose others by --contender`)
  }
  return contenders
}

/**
 * @param {string} option
 * @param {readonly string[] | undefined} asked
 * @param {readonly string[]} known
 */
function chosen(option, asked, known) {
  for (const one of asked ?? []) {
    if (!known.includes(one)) refuse(`${option} is one of ${known.map((name) => `'${name}'`).join(', ')}; got '${one}'`)
  }
  return asked
}

/** @param {string} option @param {string | undefined} text */
function wholeNumber(option, text) {
  if (text === undefined) return undefined
  const number = Number(text)
  if (!Number.isInteger(number) || number < 1) refuse(`${option} must be a whole number from 1 up; got ${text}`)
  return number
}

/** @param {string} name @param {string} line */
function save(name, line) {
  mkdirSync(new URL('results/', import.meta.url), { recursive: true })
  appendFileSync(new URL(`results/${name}.jsonl`, import.meta.url), `${line}\n`)
}

/**
 * @param {string} why
 * @returns {never}
 */
function refuse(why) {
  throw new Refusal(why)
}

/** @param {string} text */
function tell(text) {
  process.stderr.write(`${text}\n`)
}
