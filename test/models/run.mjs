// The models' checks: what must hold does hold, and without one of its guards a protocol fails.
// README.md here says what a model is. node test/models/run.mjs --help
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { ask, definesOf } from './spin.mjs'

const help = `npm run test:models -- [MODEL...] [options]
  MODEL     only this model: sleep, lease, stop or express; all of them by default
  --all     the long checks too; together they take some minutes and some gigabytes
  --trail   print each counterexample, step by step
It needs spin and gcc (apt-get install spin gcc). Without them all checks are skipped.
`

/**
 * @typedef {import('./spin.mjs').Model} Model
 * @typedef {import('./spin.mjs').Mode} Mode
 * @typedef {import('./spin.mjs').Answer} Answer
 *
 * @typedef {object} Check
 * @property {Model} model
 * @property {Mode} mode
 * @property {string} defines the headers of the models explain each
 * @property {'holds' | 'fails'} expected
 * @property {string} note of a check that must fail, the guard that is taken out, or the fault of the code
 * @property {boolean} isLong left out by default
 */

/**
 * @param {Model} model
 * @param {Mode} mode
 * @param {string} defines
 * @returns {Check}
 */
function holds(model, mode, defines) {
  return { model, mode, defines, expected: 'holds', note: '', isLong: false }
}

/** @type {(...check: Parameters<typeof holds>) => Check} */
const holdsLong = (...check) => ({ ...holds(...check), isLong: true })

/**
 * The guard is missed: without it there is a counterexample.
 *
 * @param {Model} model
 * @param {Mode} mode
 * @param {string} defines
 * @param {string} guard
 * @returns {Check}
 */
function failsWithout(model, mode, defines, guard) {
  return { ...holds(model, mode, defines), expected: 'fails', note: `without ${guard}` }
}

/**
 * The guard is not missed within these faults: what it is for is not modelled, or another guard finds what it leaves.
 * A model that comes to miss it says more than before; then this check becomes one of those that fail.
 *
 * @type {typeof failsWithout}
 */
const holdsWithout = (model, mode, defines, guard) => ({
  ...failsWithout(model, mode, defines, guard),
  expected: 'holds',
})

/** @type {readonly Check[]} */
const checks = [
  holds('sleep', 'safety', ''),
  holds('sleep', 'safety', 'LOCKERS=1 OLD'),
  holds('sleep', 'safety', 'LOCKERS=2'),
  holds('sleep', 'safety', 'CONTROL_LOSS LISTENER_LOSS'),
  holds('sleep', 'safety', 'LINGER OLD'),
  holds('sleep', 'safety', 'CONSUMERS=2 WRITERS=1'),
  holdsLong('sleep', 'safety', 'CONSUMERS=2'),
  holdsLong('sleep', 'safety', 'CONSUMERS=2 WRITERS=1 LOCKERS=1 OLD'),
  holds('sleep', 'liveness', ''),
  holds('sleep', 'liveness', 'WRITERS=1 OLD'),
  holds('sleep', 'liveness', 'WRITERS=1 LOCKERS=1'),
  holds('sleep', 'liveness', 'WRITERS=1 LINGER'),
  failsWithout('sleep', 'safety', 'WRITERS=1 NO_DEBT', 'the debt'),
  failsWithout('sleep', 'safety', 'WRITERS=1 XMAX_TARGET', 'the next id as the target of the debt'),
  failsWithout('sleep', 'safety', 'WRITERS=1 LOCKERS=1 NO_LEFT_BEHIND', 'left_behind in the answer to a claim'),
  failsWithout('sleep', 'safety', 'WRITERS=1 LATE_FLAG', 'clearing the flag before the claim'),
  failsWithout('sleep', 'safety', 'WRITERS=1 LISTENER_LOSS NO_CATCH_UP', 'raising all when the listener is back'),
  failsWithout('sleep', 'safety', 'DEBT_ONCE', 'a new debt with each taking of the sleep lock'),
  failsWithout('sleep', 'safety', 'WRITERS=1 CONTROL_LOSS DEBT_ONCE', 'a new debt after a loss of the sleep lock'),
  failsWithout('sleep', 'safety', 'WRITERS=1 NO_LAST_CLAIM', 'one more claim after two clear looks'),
  failsWithout('sleep', 'safety', 'WRITERS=1 LISTENER_LOSS DEBT_ONCE', 'a new debt after a loss of the listener'),
  failsWithout('sleep', 'liveness', 'WRITERS=1 NOISE ANY_WRITER', 'the target in the look for writers'),
  holds('sleep', 'liveness', 'WRITERS=1 NOISE'),
  holds('sleep', 'liveness', 'NOISE OLD'),
  holdsWithout('sleep', 'safety', 'ONE_LOOK', 'the second clear look'),
  holdsWithout('sleep', 'safety', 'LISTENER_LOSS NO_SECOND_ASK', 'giving up what a taking brings too late'),
  holdsWithout('sleep', 'safety', 'CONTROL_LOSS QUIET_LOSS', 'raising all when the control session is lost'),

  holds('lease', 'safety', 'CLAIMED_ONCE'),
  holds('lease', 'safety', 'SOLO LOST=1 BURY=1'),
  holdsLong('lease', 'safety', 'CRASH'),
  holdsLong('lease', 'safety', 'CLAIMED_ONCE BESIDE'),
  holds('lease', 'liveness', 'TICK'),
  holds('lease', 'liveness', 'TICK SOLO LOST=1'),
  holds('lease', 'liveness', 'TICK SOLO LOST=1 BURY=1'),
  holdsLong('lease', 'liveness', 'TICK LOST=1'),
  holdsLong('lease', 'liveness', 'TICK CRASH'),
  holdsLong('lease', 'liveness', 'TICK BURY=1'),
  failsWithout('lease', 'safety', 'SOLO CLAIMED_ONCE ONE_BEAT', 'the second heartbeat in a row'),
  failsWithout('lease', 'safety', 'SOLO CLAIMED_ONCE NO_CLAIM_CHECK', 'asking for a claim in flight'),
  failsWithout('lease', 'safety', 'BURY=1 NO_FENCE', 'the fence of a settle'),
  failsWithout('lease', 'liveness', 'TICK SOLO LOST=1 NO_RECONCILE', "the heartbeat's comparison"),
  failsWithout('lease', 'liveness', 'TICK SOLO LOST=1 BURY=1 NO_COLLECT', 'the collects after the one of the burial'),
  holdsWithout('lease', 'safety', 'SOLO LOST=1 BURY=1 REUSE_ID', 'a new id after a burial'),
  holdsWithout('lease', 'liveness', 'TICK SOLO LOST=1 FUSED_AGAIN', 'an ack that goes alone after a lost answer'),

  holds('stop', 'safety', ''),
  holds('stop', 'safety', 'LOST=2 NEVER EXIT'),
  holds('stop', 'liveness', ''),
  holds('stop', 'liveness', 'LOST=2 NEVER'),
  holds('stop', 'liveness', 'LOST=2 EXIT'),
  holds('stop', 'liveness', 'LOST=2 NEVER EXIT'),
  failsWithout('stop', 'safety', 'NO_CLAIM_CHECK', 'asking for a claim in flight'),
  failsWithout('stop', 'liveness', 'NO_GIVE_BACK', 'giving back what a claim brings after the stop'),
  failsWithout('stop', 'liveness', 'LOST=1 NO_COLLECT', 'collects, and an answer is lost'),
  failsWithout('stop', 'liveness', 'EXIT NO_COLLECT', 'collects, and the process ends'),
  holdsWithout('stop', 'liveness', 'NO_COLLECT', 'collects, when there is no fault'),
  failsWithout('stop', 'liveness', 'EARLY_LEAVE NO_COLLECT', 'waiting for the claim, and without collects'),
  holdsWithout('stop', 'liveness', 'EARLY_LEAVE', 'waiting for the claim before the leave'),
  holdsWithout('stop', 'liveness', 'LOST=1 ROW_GOES', "keeping the worker's row while a job names it"),
  holdsWithout('stop', 'liveness', 'LOST=1 NO_REST', 'giving back the rest at the leave'),
  holdsWithout('stop', 'liveness', 'LOST=1 NO_RECONCILE', "the heartbeat's comparison"),

  holds('express', 'safety', 'RUN_ONCE FREES=1 VACUUM CANCEL=1 EDIT=1'),
  holds('express', 'safety', 'RUN_ONCE BURY=1 QUICK'),
  holds('express', 'safety', 'LOST=1 ABORT=1'),
  holds('express', 'safety', 'SOLO LOST=1 ABORT=1 BURY=1 CRASH'),
  holds('express', 'safety', 'SOLO LOST=1 RECONNECT=1 SECOND'),
  holds('express', 'safety', 'SOLO LOST=1 DOWN=1 VACUUM AGAIN'),
  holds('express', 'safety', 'SOLO LOST=2 EDIT=2 CANCEL=1'),
  holds('express', 'safety', 'POISON MOST=3'),
  holds('express', 'safety', 'SOLO POISON VACUUM BURY=1 LATER MOST=3'),
  holds('express', 'safety', 'SOLO POISON KILLS_SERVER MOST=3'),
  holdsLong('express', 'safety', 'SOLO LOST=2 ABORT=1 BURY=1 CRASH'),
  holdsLong('express', 'safety', 'LOST=1 DOWN=1 VACUUM AGAIN'),
  holdsLong('express', 'safety', 'LOST=2 ABORT=1'),
  holdsLong('express', 'safety', 'POISON VACUUM MOST=4'),
  holdsLong('express', 'safety', 'POISON VACUUM BURY=1 LATER MOST=4'),
  holds('express', 'liveness', 'TICK'),
  holds('express', 'liveness', 'TICK SOLO LOST=1 BURY=1'),
  holds('express', 'liveness', 'TICK SOLO LOST=1 AGAIN'),
  holds('express', 'liveness', 'TICK SOLO DOWN=1 BURY=1'),
  holds('express', 'liveness', 'TICK SOLO POISON VACUUM'),
  holdsLong('express', 'liveness', 'TICK CRASH'),
  holdsLong('express', 'liveness', 'TICK SOLO LOST=1 ABORT=1 BURY=1'),
  holdsLong('express', 'liveness', 'TICK SOLO LOST=1 RECONNECT=1 SECOND'),
  failsWithout('express', 'safety', 'RUN_ONCE NO_LOCK', 'the lock of the row'),
  failsWithout('express', 'safety', 'SOLO ABORT=1 NO_TAG', 'the tag of the answer to commit'),
  failsWithout('express', 'safety', 'SOLO LOST=1 AGAIN NO_CREATED', 'created_at in the fence'),
  failsWithout('express', 'safety', 'SOLO LOST=1 EDIT=1 NO_VERSION', "the row's version in the fence"),
  failsWithout('express', 'safety', 'SOLO LOST=1 EDIT=2 BY_PLACE', 'a version that never comes again'),
  failsWithout('express', 'safety', 'SOLO RECONNECT=1 SECOND NO_XID', "the transaction's id in the delete"),
  failsWithout('express', 'safety', 'SOLO RECONNECT=1 NO_COUNT', 'counting what is deleted'),
  failsWithout('express', 'safety', 'SOLO RUN_ONCE LATE_LEASE', 'drawing the lease before it is written'),
  failsWithout('express', 'safety', 'POISON MOST=3 NO_MARK', 'leaving marked rows to durable claims'),
  failsWithout('express', 'safety', 'POISON MOST=3 APART', 'an abort where a run cannot be kept'),
  failsWithout('express', 'safety', 'SOLO POISON VACUUM MOST=3 NO_CALM', 'the calm after a burial'),
  failsWithout('express', 'safety', 'SOLO POISON VACUUM MOST=3 NO_TELL', "lanes in the worker's row"),
  failsWithout('express', 'safety', 'SOLO POISON VACUUM BURY=1 LATER MOST=3 TELL_ONCE', 'lanes in each row it has'),
  failsWithout('express', 'safety', 'SOLO POISON KILLS_SERVER MOST=3 NO_TRUST', 'durable claims after a crash'),
  failsWithout('express', 'liveness', 'TICK SOLO LOST=1 NO_TERMINATE', 'terminating before acks go alone'),
  failsWithout(
    'express',
    'liveness',
    'TICK SOLO CRASH BURY=1 NO_COLLECT NO_KEEP_ROW',
    "the worker's row as a condition of keep, and later collects",
  ),
  holdsWithout('express', 'liveness', 'TICK SOLO CRASH BURY=1 NO_COLLECT', 'later collects'),
  holdsWithout('express', 'liveness', 'TICK SOLO CRASH BURY=1 NO_KEEP_ROW', "the worker's row as a condition of keep"),
  holdsWithout('express', 'liveness', 'TICK SOLO LOST=1 NO_TERMINATE IDLE_LIMIT', 'terminating, with a limit'),
  holdsWithout('express', 'safety', 'SOLO LOST=1 EDIT=2 BY_PLACE EDIT_RAISES', 'the version, if edits raise the lease'),
  holdsWithout('express', 'safety', 'SOLO LOST=1 CANCEL=1 NO_STATE', 'the state in the fence, beside the version'),
  holdsWithout('express', 'safety', 'LOST=1 NO_RECOGNISE', "knowing the lane's own lease again"),
]

/** One per core of a small machine; each search is one thread. */
const lanes = 2
const limitMs = { short: 100_000, long: 1_200_000 }
const sources = import.meta.dirname

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    all: { type: 'boolean', default: false },
    trail: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})
if (values.help) {
  process.stdout.write(help)
  process.exit()
}

const chosen = choose(positionals, values.all)
const missing = ['spin', 'gcc'].filter((program) => !isInstalled(program))
if (missing.length > 0) {
  for (const program of missing) {
    tell(`*** ${program} is not installed: the models are SKIPPED: apt-get install spin gcc ***`)
  }
  tell(`0 passed, 0 failed, ${chosen.length} skipped`)
} else {
  const failed = await runAll(chosen)
  tell(`${chosen.length - failed} passed, ${failed} failed, 0 skipped`)
  process.exitCode = failed === 0 ? 0 : 1
}

/**
 * @param {readonly string[]} names of models; none: all
 * @param {boolean} withLong
 */
function choose(names, withLong) {
  const models = new Set(checks.map(({ model }) => model))
  for (const name of names) {
    if (![...models].some((model) => model === name)) {
      throw new Error(`a model must be one of ${[...models].join(', ')}; got ${name}`)
    }
  }
  for (const check of checks) requireDefines(check)
  return checks.filter(({ model, isLong }) => (names.length === 0 || names.includes(model)) && (withLong || !isLong))
}

/**
 * A name that the model does not ask for changes nothing: the check would hold, and say nothing.
 *
 * @param {Check} check
 */
function requireDefines(check) {
  const text = readFileSync(join(sources, `${check.model}.pml`), 'utf8')
  for (const define of definesOf(check)) {
    const [name = ''] = define.split('=')
    const isKnown = new RegExp(`^#(el)?if.*\\b${name}\\b`, 'm').test(text)
    if (!isKnown) throw new Error(`${check.model}.pml does not know ${name}`)
  }
}

/**
 * Spin must be this one: there are other programs of that name. A compiler alone is not enough: it needs the headers of
 * the C library.
 *
 * @param {string} program
 */
function isInstalled(program) {
  if (program === 'spin') return spawnSync('spin', ['-V'], { encoding: 'utf8' }).stdout?.includes('Spin Version')
  return spawnSync('gcc', ['-fsyntax-only', '-x', 'c', '-'], { input: '#include <stdio.h>' }).status === 0
}

/**
 * @param {readonly Check[]} list
 * @returns {Promise<number>} how many had another verdict than the expected one
 */
async function runAll(list) {
  const folder = mkdtempSync(join(tmpdir(), 'bugle-models-'))
  const ending = new AbortController()
  process.once('exit', () => {
    ending.abort()
    rmSync(folder, { recursive: true, force: true })
  })
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1))

  /** @type {Answer[]} */
  const answers = []
  let told = 0
  let failed = 0
  const width = Math.max(...list.map(({ defines }) => defines.length))
  // The lanes share one iterator, so each check is taken once.
  const queue = list.entries()
  await Promise.all(Array.from({ length: lanes }, lane))
  return failed

  async function lane() {
    for (const [index, check] of queue) {
      answers[index] = await ask(check, {
        sources,
        folder: join(folder, String(index)),
        limitMs: check.isLong ? limitMs.long : limitMs.short,
        isToFail: check.expected === 'fails',
        wantsTrail: values.trail,
        signal: ending.signal,
      })
      tellInOrder()
    }
  }

  function tellInOrder() {
    for (let check = list[told], answer = answers[told]; check && answer; check = list[told], answer = answers[told]) {
      const isRight = answer.verdict === check.expected
      if (!isRight) failed += 1
      tell(lineOf(check, answer, isRight, width))
      if (values.trail && answer.verdict === 'fails') tell(answer.trail)
      told += 1
    }
  }
}

/**
 * @param {Check} check
 * @param {Answer} answer
 * @param {boolean} isRight
 * @param {number} width of the defines
 */
function lineOf({ model, mode, defines, expected, note }, answer, isRight, width) {
  const columns = [
    isRight ? 'ok    ' : 'FAILED',
    model.padEnd(7),
    mode.padEnd(8),
    defines.padEnd(width),
    answer.verdict.padEnd(9),
    `${answer.states.toLocaleString('en')} states`.padStart(17),
    `depth ${answer.depth}`.padStart(10),
    `${answer.seconds.toFixed(1)} s`.padStart(7),
  ]
  const remarks = [isRight ? '' : `must be: ${expected}`, answer.detail, note === '' ? '' : `(${note})`].filter(
    (remark) => remark !== '',
  )
  return `${columns.join('  ')}  ${remarks.join(' ')}`.trimEnd()
}

/** @param {string} line */
function tell(line) {
  process.stdout.write(`${line}\n`)
}
