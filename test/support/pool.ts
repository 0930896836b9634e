import { Socket } from 'node:net'
import tls, { type TLSSocket } from 'node:tls'
import { inject, onTestFinished, vi } from 'vitest'
import { resolveConnection } from '../../src/database/connection.js'
import { createPool, type Pool, type PoolOptions } from '../../src/database/pool.js'
import { startProxy, type Proxy as TestProxy } from './proxy.js'
import { signal } from './signal.js'
import { until } from './until.js'
import { untoldPrimary } from './untold.js'

/** A pool through a proxy of its own, with three connections. Both end with the test. */
export async function poolUnderTest(
  own: Partial<PoolOptions> & {
    through?: Pick<TestProxy, 'port' | 'close'>[]
    user?: string
    parameters?: string
    sslmode?: string
  } = {},
) {
  const { hostname, port } = new URL(inject('connectionString'))
  const proxy = await startProxy({ host: hostname, port: Number(port) }, { tls: own.sslmode === 'require' })
  const {
    through = [proxy],
    user = 'postgres',
    parameters = 'connect_timeout=1',
    sslmode = 'disable',
    ...options
  } = own
  if (sslmode === 'require') watchTls()
  const hosts = through.map((each) => `127.0.0.1:${each.port}`).join(',')
  const connection = resolveConnection(
    { connectionString: `postgres://${user}@${hosts}/postgres?${parameters}&sslmode=${sslmode}` },
    {},
  )
  const doubts = signal()
  const pool = createPool({
    connection,
    name: 'pool-test',
    poolSize: 3,
    prepare: true,
    settings: {},
    primary: untoldPrimary(),
    stateStatement: 'select pg_is_in_recovery() as standby',
    onDoubt: doubts.resolve,
    onAnswered: () => {},
    now: () => performance.now(),
    random: () => 0.5,
    ...options,
  })
  onTestFinished(async () => {
    await pool.end(0)
    for (const each of new Set([proxy, ...through])) await each.close()
  })
  return { pool, proxy, doubted: doubts.promise }
}

/** The backend that answers. */
export async function pidOf(pool: Pool, ms = 5_000): Promise<number> {
  return (await pool.query<{ pid: number }>('select pg_backend_pid() as pid', [], ms, 'pid'))[0]?.pid ?? 0
}

/** The backends of so many connections, which are all open then. */
export function openAll(pool: Pool, count: number): Promise<number[]> {
  const ask = () => pool.query<{ pid: number }>('select pg_backend_pid() as pid, pg_sleep(0.01)', [], 5_000, 'pid')
  return until(async () => {
    const rows = await Promise.all(Array.from({ length: count }, ask))
    const pids = new Set(rows.flat().map(({ pid }) => pid))
    return pids.size === count && [...pids]
  })
}

/** Ask until there is an answer. How often that takes is not asserted on. */
export function untilAnswered(pool: Pool): Promise<number> {
  return until(() => pidOf(pool, 1_000).catch(() => null))
}

/** This process's sockets to a port. */
export function socketsTo(port: number): Socket[] {
  const { _getActiveHandles: handles } = process as unknown as { _getActiveHandles(): unknown[] }
  return handles.call(process).filter((each): each is Socket => each instanceof Socket && each.remotePort === port)
}

/** What a reset by the other side looks like from here, in the very turn in which it comes. */
export function resetNow(port: number): void {
  for (const socket of socketsTo(port)) {
    const hit = tlsOn.get(socket) ?? socket
    // Its owner may be gone.
    hit.on('error', () => {})
    hit.destroy(Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' }))
  }
}

/** What the driver has put on a socket. */
const tlsOn = new WeakMap<Socket, TLSSocket>()

function watchTls(): void {
  const { connect } = tls
  const spy = vi.spyOn(tls, 'connect').mockImplementation(((options: tls.ConnectionOptions) => {
    const made = connect(options)
    if (options.socket instanceof Socket) tlsOn.set(options.socket, made)
    return made
  }) as typeof connect)
  onTestFinished(() => spy.mockRestore())
}
