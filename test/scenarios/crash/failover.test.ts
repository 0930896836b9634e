import { afterAll, beforeAll, expect, test } from 'vitest'
import { type EmbeddedPostgres, startEmbedded } from '../../../src/embedded/index.js'
import { type Bugle, createBugle } from '../../../src/index.js'
import { killServer, promote, replicate, startPrimary, startStandby, withClient } from '../../faults/cluster.mjs'
import { startProxy, type Proxy as TestProxy } from '../../support/proxy.js'
import { signal } from '../../support/signal.js'
import { until } from '../../support/until.js'

let primary: EmbeddedPostgres
let standby: EmbeddedPostgres
let address: TestProxy
let replication: TestProxy
let bugle: Bugle

beforeAll(async () => {
  primary = await startPrimary(startEmbedded)
  address = await startProxy({ host: '127.0.0.1', port: primary.port })
  bugle = createBugle({
    connectionString: `postgres://postgres@127.0.0.1:${address.port}/postgres`,
    logger: false,
    sweepMs: 0,
  })
  await bugle.migrate()
  replication = await startProxy({ host: '127.0.0.1', port: primary.port })
  standby = await startStandby(startEmbedded, primary, replication.port)
})

afterAll(async () => {
  await bugle?.close({ graceMs: 0 })
  await address?.close()
  await replication?.close()
  await standby?.stop()
  await primary?.stop()
})

test('F10 what a failover takes back runs again, and nothing is settled under a former lease', async () => {
  const gate = signal()
  const runs: string[] = []
  const acked: string[] = []
  const stale: string[] = []
  const payloads = new Map<string, string>()
  bugle.on('job:acked', ({ id }) => acked.push(payloads.get(id) ?? ''))
  bugle.on('job:stale', ({ id }) => stale.push(payloads.get(id) ?? ''))
  await bugle.consume('q', async ({ payload }) => {
    runs.push(payload as string)
    if (payload === 'running' && runs.filter((run) => run === 'running').length === 1) await gate.promise
  })
  const put = async (payload: string): Promise<void> => void payloads.set(await bugle.put('q', payload), payload)

  await bugle.pause('q')
  await put('running')
  await put('acked')
  await replicate(primary, false)
  await replication.refuse()
  // From here on the standby knows of nothing more: two jobs are ready there, and the queue is paused.
  await bugle.resume('q')
  await put('put')
  await until(() => acked.length === 2 && runs.includes('running'))
  expect(acked.toSorted()).toEqual(['acked', 'put'])

  await killServer(primary)
  await promote(standby)
  address.moveTo({ host: '127.0.0.1', port: standby.port })
  await until(async () => (await bugle.health()).database.server?.timeline === 2)
  await until(() => bugle.resume('q').catch(() => false))
  await until(() => acked.length === 4)
  gate.resolve()
  await until(() => stale.length === 1)
  expect({ runs: runs.toSorted(), acked: acked.toSorted(), stale }).toEqual({
    runs: ['acked', 'acked', 'put', 'running', 'running'],
    acked: ['acked', 'acked', 'put', 'running'],
    stale: ['running'],
  })
  const left = await withClient(standby, async (client) => (await client.query('select from bugle.job')).rowCount)
  expect(left).toBe(0)
})
