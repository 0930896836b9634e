// One check of one model: spin makes a program of it, gcc compiles that, and the program searches all states.
import { execFile } from 'node:child_process'
import { copyFileSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'

/**
 * @typedef {'sleep' | 'lease' | 'stop' | 'express'} Model
 * @typedef {'safety' | 'liveness'} Mode
 *
 * @typedef {object} Question
 * @property {Model} model
 * @property {Mode} mode
 * @property {string} defines names, or NAME=number, with a space between; as -D for spin
 *
 * @typedef {object} Answer
 * @property {'holds' | 'fails' | 'undecided'} verdict `undecided` proves neither: a limit was met, or a tool failed
 * @property {string} detail what was violated, or why nothing was decided
 * @property {number} states stored
 * @property {number} depth of the longest path, in steps
 * @property {number} seconds of the search alone
 * @property {string} trail the counterexample, step by step, when it was asked for
 */

/** For the assertion of safety, and the formula of liveness. What else spin reports is no counterexample to them. */
const violations = { safety: 'assertion violated', liveness: 'acceptance cycle' }

const timeIsOver = 'the time is over'

/** For spin and for gcc: seconds do, but the machine may be busy with the search of another check. */
const toolLimitMs = 300_000

/** A deeper search says so, and then it proves nothing. */
const mostSteps = 200_000

/**
 * A counterexample of safety is looked for breadth first: that one is the shortest, and short enough to be read.
 * Liveness cannot be searched so. It is searched with weak fairness: a process that can always move does move at last.
 *
 * @param {Question} question
 * @param {boolean} isToFail
 */
function compilerOptions({ mode }, isToFail) {
  if (mode === 'liveness') return ['-DNFAIR=4']
  return ['-DSAFETY', '-DNOCLAIM', ...(isToFail ? ['-DBFS'] : [])]
}

/**
 * lease.pml and express.pml end wherever their job is settled, or its process dead: their safety is the assertion alone
 * (-E: any end is valid).
 *
 * @param {Question} question
 */
function searchOptions({ model, mode }) {
  if (mode === 'liveness') return ['-a', '-f']
  return model === 'lease' || model === 'express' ? ['-E'] : []
}

/**
 * @param {Question} question
 * @param {object} surroundings
 * @param {string} surroundings.sources the folder of the models
 * @param {string} surroundings.folder an own one, which need not be there yet
 * @param {number} surroundings.limitMs for the search
 * @param {boolean} surroundings.isToFail a counterexample is expected
 * @param {boolean} surroundings.wantsTrail
 * @param {AbortSignal} surroundings.signal ends the program that runs
 * @returns {Promise<Answer>}
 */
export async function ask(question, { sources, folder, limitMs, isToFail, wantsTrail, signal }) {
  const file = `${question.model}.pml`
  /** @type {(command: string, parameters: readonly string[], limitMs?: number) => Promise<Ran>} */
  const run = (command, parameters, ms = toolLimitMs) => runIn(folder, command, parameters, ms, signal)
  mkdirSync(folder)
  // Spin writes all that it makes, the counterexample too, into the folder where it runs.
  copyFileSync(join(sources, file), join(folder, file))
  const defines = definesOf(question).map((define) => `-D${define}`)

  const translated = await run('spin', [...defines, '-a', file])
  if (translated.code !== 0) return undecided('spin', translated)
  // -O1: most checks search for less time than -O2 compiles, and a counterexample is found before -O1 has compiled.
  // -w: the program is spin's, and so are its warnings.
  const options = [
    isToFail ? '-O0' : '-O1',
    '-w',
    '-DVECTORSZ=4096',
    '-DCOLLAPSE',
    ...compilerOptions(question, isToFail),
  ]
  const compiled = await run('gcc', [...options, '-o', 'pan', 'pan.c'])
  if (compiled.code !== 0) return undecided('gcc', compiled)
  const searched = await run('./pan', [...searchOptions(question), `-m${mostSteps}`], limitMs)

  const answer = judge(question.mode, searched)
  if (answer.verdict === 'fails' && wantsTrail) {
    const told = await run('spin', [...defines, '-t', '-p', file])
    answer.trail = told.output.split('\n').filter(isTold).join('\n')
  }
  return answer
}

/**
 * Not the beginning, loop counters, mere jumps and choices within a step, nor the formula's own automaton; and at the
 * end, no variable that is 0.
 *
 * @param {string} line
 */
function isTold(line) {
  const isMere = /\[(\.?\(?goto.*|DO|IF|break|else|sub-sequence|\(1\)|[bcij] = .*|\(+[cij]<.*)\]|^\t\t.* = 0$/
  return !isMere.test(line) && !/\(:init:|proc\s+- |^(ltl|Never claim|MSC|Starting|starting|spin:)|processes/.test(line)
}

/** @param {Question} question */
export function definesOf({ defines }) {
  return defines.split(' ').filter((define) => define !== '')
}

/**
 * @param {Mode} mode
 * @param {Ran} searched
 * @returns {Answer}
 */
function judge(mode, { output, code, isCutShort }) {
  const figures = {
    states: numberIn(/([\d.e+]+) states, stored/, output),
    depth: numberIn(/depth reached (\d+)/, output),
    seconds: numberIn(/elapsed time ([\d.e+]+) seconds/, output),
    trail: '',
  }
  const errors = /errors: (\d+)/.exec(output)?.[1]
  const reported = /^pan:1: (.*?)(?: \(at depth \d+\))?$/m.exec(output)?.[1] ?? ''
  const isTooDeep = output.includes('max search depth too small')
  if (isCutShort) return { ...figures, verdict: 'undecided', detail: timeIsOver }
  if (isTooDeep) return { ...figures, verdict: 'undecided', detail: `more than ${mostSteps} steps deep` }
  if (errors === '1' && reported.startsWith(violations[mode])) {
    return { ...figures, verdict: 'fails', detail: violations[mode] }
  }
  if (errors === '0' && code === 0 && !/search not completed/i.test(output)) {
    return { ...figures, verdict: 'holds', detail: '' }
  }
  return { ...figures, verdict: 'undecided', detail: reported || lastLine(output) }
}

/**
 * @param {string} program
 * @param {Ran} ran
 * @returns {Answer}
 */
function undecided(program, { output, isCutShort }) {
  const detail = `${program}: ${isCutShort ? timeIsOver : lastLine(output)}`
  return { verdict: 'undecided', detail, states: 0, depth: 0, seconds: 0, trail: '' }
}

/**
 * @param {RegExp} pattern with one group
 * @param {string} text
 */
function numberIn(pattern, text) {
  return Number(pattern.exec(text)?.[1] ?? 0)
}

/** @param {string} text */
function lastLine(text) {
  return text.trim().split('\n').at(-1) ?? ''
}

/**
 * @typedef {object} Ran
 * @property {string} output of both streams
 * @property {number | null} code null: it was ended by a signal, or did not start
 * @property {boolean} isCutShort by the limit
 */

/**
 * @param {string} folder
 * @param {string} command
 * @param {readonly string[]} parameters
 * @param {number} limitMs
 * @param {AbortSignal} signal
 * @returns {Promise<Ran>}
 */
function runIn(folder, command, parameters, limitMs, signal) {
  return new Promise((resolve) => {
    const limits = { timeout: limitMs, killSignal: /** @type {const} */ ('SIGKILL'), maxBuffer: 2 ** 28 }
    execFile(command, parameters, { cwd: folder, signal, ...limits }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : null
      const isCutShort = error?.killed === true
      resolve({ output: `${stdout}${stderr}${code === null ? `\n${error?.message}` : ''}`, code, isCutShort })
    })
  })
}
