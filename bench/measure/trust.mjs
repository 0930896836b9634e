import { setTimeout as sleep } from 'node:timers/promises'

/**
 * For a minute after the server's start claims are durable, and no consumer opens an express lane
 * (src/worker/trust.ts). A server's life is longer than that, so this waits until it is over: once per run, since all
 * that is measured shares the server. A server that was there before (DATABASE_URL) is seldom waited for.
 *
 * @param {import('../server.mjs').Server} server
 * @param {(text: string) => void} tell
 */
export async function untilTrusted({ query }, tell) {
  const [{ ms }] = await query(`select date_part('epoch', clock_timestamp() - pg_postmaster_start_time()) * 1e3 as ms`)
  if (ms >= trustedMs) return
  tell(`waiting for ${Math.ceil((trustedMs - ms) / 1_000)} s: a server that has just begun is not what consumers trust`)
  await sleep(trustedMs - ms)
}

/** A moment more than it takes. */
const trustedMs = 61_000
