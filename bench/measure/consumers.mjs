/** Consumer processes of a scenario, started and ended together. */
import { createBugle } from '../../dist/index.js'
import { spawnChild } from '../processes.mjs'

/**
 * @typedef {object} ConsumerArgs
 * @property {string} url
 * @property {string} [schema]
 * @property {string} [name]
 * @property {readonly string[]} queues
 * @property {number} [concurrency] default: the library's
 * @property {number | null} [handlerMs] null: until they are let go
 */

/**
 * Resolves when it consumes and listens.
 *
 * @param {ConsumerArgs} args
 * @param {Parameters<typeof spawnChild>[2]} [options]
 */
export async function startConsumer(args, options) {
  const file = new URL('../children/consumer.mjs', import.meta.url)
  const consumer = spawnChild(file, { name: 'bench consumer', ...args }, options)
  await consumer.ask('consume')
  return consumer
}

/**
 * @param {number} processes
 * @param {ConsumerArgs} args
 */
export function startConsumers(processes, args) {
  return Promise.all(Array.from({ length: processes }, () => startConsumer(args)))
}

/** @param {import('../processes.mjs').Child} consumer @returns {Promise<import('./once.mjs').Runs>} */
export function runsOf(consumer) {
  return consumer.ask('runs')
}

/**
 * In order: what is running is settled.
 *
 * @param {readonly import('../processes.mjs').Child[]} children
 */
export async function stopAll(children) {
  await Promise.all(children.map((child) => child.end('stop')))
}

/**
 * @param {string} url
 * @param {string} [schema]
 */
export async function migrate(url, schema = 'bugle') {
  const bugle = createBugle({ connectionString: url, schema })
  try {
    await bugle.migrate()
  } finally {
    await bugle.close()
  }
}
