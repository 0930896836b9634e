/** The packages of bench/package.json, which a checkout need not have installed. */
import { existsSync, readFileSync } from 'node:fs'

/** By contender: the package that it is measured with. */
const packages = /** @type {const} */ ({
  'graphile-default': 'graphile-worker',
  'graphile-recommended': 'graphile-worker',
  'graphile-record': 'graphile-worker',
  'graphile-0.17-default': 'graphile-worker-0.17',
  'graphile-0.17-recommended': 'graphile-worker-0.17',
  'graphile-0.17-record': 'graphile-worker-0.17',
  'pg-boss': 'pg-boss',
  'pg-boss-heartbeat': 'pg-boss',
  'bullmq-pg': 'bullmq',
})

/** @param {string} contender */
function packageOf(contender) {
  return contender in packages ? packages[/** @type {keyof typeof packages} */ (contender)] : undefined
}

/** @param {string} contender */
export function isPeer(contender) {
  return packageOf(contender) !== undefined
}

/** @param {readonly string[]} contenders */
export function missingPeers(contenders) {
  const wanted = new Set(contenders.map(packageOf).filter((name) => name !== undefined))
  return [...wanted].filter((name) => !existsSync(manifestOf(name)))
}

/**
 * By package, as they are installed.
 *
 * @param {readonly string[]} contenders
 */
export function versionsOf(contenders) {
  const names = new Set(contenders.map(packageOf).filter((name) => name !== undefined))
  return Object.fromEntries([...names].map((name) => [name, versionOf(name)]))
}

/** @param {string} name */
function versionOf(name) {
  return String(JSON.parse(readFileSync(manifestOf(name), 'utf8')).version)
}

/** @param {string} name */
function manifestOf(name) {
  return new URL(`node_modules/${name}/package.json`, import.meta.url)
}
