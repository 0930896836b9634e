import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import { createEvents } from '../../../src/events.js'
import { createWorker } from '../../../src/worker/worker.js'
import { test } from '../../support/database.js'
import { heldProxy } from '../../support/held-proxy.js'
import { operator } from '../../support/operator.js'
import { workerRows } from '../../support/stopping.js'

/** A leave that is not shortened takes longer: its two statements wait for answers, by timers of two seconds each. */
const unhurriedMs = 3_000

for (const last of ['the last member’s', 'one behind another member’s'] as const) {
  test(`a leave is shortened from its call on, also before it has its turn: ${last}`, async ({ db }) => {
    const proxy = await heldProxy(db)
    const { database } = operator(db, proxy)
    const worker = createWorker({
      newId: () => '7001',
      name: 'hurry-test',
      version: '0',
      database,
      events: createEvents(),
      listen: false,
      sweepMs: 0,
      rescueAfterMs: 3_600_000,
      hungAfterMs: 3_600_000,
      maxCrashes: 3,
      giveBack: async () => {},
      collector: { start() {}, stop: async () => {} },
      random: () => 0.5,
    })
    const { signal } = new AbortController()
    await worker.join(signal)
    const isBehind = last === 'one behind another member’s'
    if (isBehind) await worker.join(signal)
    expect(await workerRows(db)).toMatchObject([{ id: '7001' }])
    proxy.silence()
    const farAt = performance.now() + 60_000
    const left = isBehind ? [worker.leave(farAt), worker.leave(farAt)] : [worker.leave(farAt)]
    // No turn of anything lies between the call and this one.
    worker.hurry(performance.now())
    const late = new AbortController()
    const all = Promise.all(left).finally(() => late.abort())
    // Both are timers of this process: which one comes first does not depend on how busy the machine is.
    await sleep(unhurriedMs, undefined, { signal: late.signal }).catch(() => {})
    expect(late.signal.aborted).toBe(true)
    await all
    expect(worker.isConfirmed).toBe(null)
    // What a leave in a hurry leaves behind others clear away.
    expect(await workerRows(db)).toMatchObject([{ id: '7001' }])
    proxy.release()
  })
}
