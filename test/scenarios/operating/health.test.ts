import { expect, onTestFinished } from 'vitest'
import { test } from '../../support/gates.js'
import { startProxy } from '../../support/proxy.js'
import { refusal } from '../../support/refusal.js'

test('health: a process that can work, consuming or not, paused or not', async ({ db }) => {
  const bugle = db.bugle()
  const { hostname, port } = new URL(db.connectionString)
  const server = { host: hostname, port: Number(port), system: expect.stringMatching(/^\d+$/), timeline: 1 }
  const up = { isUp: true, roundTripMs: expect.any(Number), server }
  const healthy = { isHealthy: true, problems: [], database: up }
  expect(await bugle.health()).toEqual({ ...healthy, listener: null, isPresent: null, consumers: [] })
  const consumer = await bugle.consume('q', () => {})
  const state = { queue: 'q', isRunning: true, isPaused: false, active: 0 }
  expect(await bugle.health()).toEqual({ ...healthy, listener: 'live', isPresent: true, consumers: [state] })
  await consumer.pause()
  expect(await bugle.health()).toMatchObject({ ...healthy, consumers: [{ ...state, isPaused: true }] })
  await bugle.close()
  expect(await refusal(() => bugle.health())).toMatchObject({ code: 'CLOSED' })
})

test('health: a database that is not there, not ours, or silent is a problem and no exception', async ({ db }) => {
  const nowhere = db.bugle({ connectionString: 'postgres://localhost:1/none' })
  const begun = nowhere.consume('q', () => {})
  begun.catch(() => {})
  expect(await nowhere.health()).toMatchObject({
    isHealthy: false,
    problems: [expect.stringContaining('cannot reach'), expect.stringContaining('has not begun yet')],
    database: { isUp: false, roundTripMs: null, server: null },
    isPresent: null,
    consumers: [{ queue: 'q', isRunning: false, isPaused: false, active: 0 }],
  })
  expect(await db.bugle({ schema: 'nowhere' }).health()).toMatchObject({
    isHealthy: false,
    problems: [expect.stringContaining('has no tables')],
    database: { isUp: true, roundTripMs: null },
  })
  const url = new URL(db.connectionString)
  const proxy = await startProxy({ host: url.hostname, port: Number(url.port) })
  onTestFinished(proxy.close)
  url.host = `127.0.0.1:${proxy.port}`
  const bugle = db.bugle({ connectionString: url.href })
  expect(await bugle.health()).toMatchObject({ isHealthy: true })
  proxy.freeze()
  expect(await bugle.health()).toMatchObject({
    isHealthy: false,
    problems: ['the database: no answer within 2000 ms'],
    database: { isUp: false, roundTripMs: null },
  })
  await proxy.heal()
})

test('health: one that is being closed is not ready any more', async ({ db, gate }) => {
  const bugle = db.bugle()
  const { promise: held, resolve: letGo } = gate()
  const begun = gate()
  await bugle.put('q', null)
  await bugle.consume('q', () => {
    begun.resolve()
    return held
  })
  await begun.promise
  const closed = bugle.close({ graceMs: 30_000 })
  expect(await bugle.health()).toMatchObject({
    isHealthy: false,
    problems: ['the instance is being closed'],
    consumers: [{ queue: 'q', isRunning: false, active: 1 }],
  })
  letGo()
  await closed
})
