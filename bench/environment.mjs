import { execFileSync } from 'node:child_process'
import { cpus, loadavg, release, totalmem, type } from 'node:os'

/** Where and of what a figure was taken. */
export function environment() {
  return {
    at: new Date().toISOString(),
    commit: git('rev-parse', '--short', 'HEAD'),
    isDirty: git('status', '--porcelain') !== '',
    machine: {
      cpus: cpus().length,
      model: cpus()[0]?.model.trim() ?? 'unknown',
      memoryGb: Math.round(totalmem() / 2 ** 30),
      os: `${type()} ${release()}`,
      load: loadavg()[0]?.toFixed(1),
    },
    node: process.version,
  }
}

/** @param {string[]} args */
function git(...args) {
  try {
    const cwd = new URL('..', import.meta.url)
    return execFileSync('git', args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  } catch {
    // Not a clone.
    return 'unknown'
  }
}
