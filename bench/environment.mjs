import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { cpus, loadavg, release, totalmem, type } from 'node:os'

/** Where and of what a figure was taken. */
export function environment() {
  return {
    commit: git('rev-parse', '--short', 'HEAD'),
    // What the bench itself writes is no other program.
    isDirty: git('status', '--porcelain', '--', '.', ':!bench/results', ':!bench/charts') !== '',
    machine: {
      cpus: cpus().length,
      model: cpus()[0]?.model.trim() ?? 'unknown',
      memoryGb: Math.round(totalmem() / 2 ** 30),
      os: `${type()} ${release()}`,
      load: loadavg()[0]?.toFixed(1),
    },
    node: process.version,
    versions: {
      bugle: versionOf('../package.json'),
      postgres: versionOf('../node_modules/postgres/package.json'),
      pg: versionOf('../node_modules/pg/package.json'),
    },
  }
}

/** @param {string} manifest */
function versionOf(manifest) {
  return String(JSON.parse(readFileSync(new URL(manifest, import.meta.url), 'utf8')).version)
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
