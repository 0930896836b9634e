/** A producer process of a scenario, at a steady rate. */
import { spawnChild } from '../processes.mjs'

/** A rate that was not kept up is another scenario. */
const mostBehindMs = 2_000

/**
 * @param {string} url
 * @param {string} queue
 */
export function startProducer(url, queue) {
  return spawnChild(new URL('../children/producer.mjs', import.meta.url), { url, queue, poolSize: 20 })
}

/**
 * @param {import('../processes.mjs').Child} producer
 * @param {{ perSecond: number, seconds: number }} order
 * @returns {Promise<{ put: number, behindMs: number }>} once all are committed; and how late the latest was sent
 */
export async function putAtPace(producer, order) {
  const { put, behindMs } = await producer.ask('pace', order)
  if (behindMs > mostBehindMs) throw new Error(`the producer was ${Math.round(behindMs)} ms behind its pace`)
  return { put, behindMs }
}
