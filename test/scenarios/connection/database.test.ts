import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { expect, onTestFinished } from 'vitest'
import { resolveConnection } from '../../../src/database/connection.js'
import { createDatabase, type Database } from '../../../src/database/database.js'
import { createOutage } from '../../../src/database/outage.js'
import { loadStatements } from '../../../src/database/statements.js'
import { type TestDatabase, test } from '../../support/database.js'
import { startProxy } from '../../support/proxy.js'
import { until } from '../../support/until.js'
import { untoldPrimary } from '../../support/untold.js'

/** The way to the database, through a proxy, with what it tells of outages. */
async function databaseUnderTest(db: TestDatabase) {
  const { hostname, port } = new URL(db.connectionString)
  const proxy = await startProxy({ host: hostname, port: Number(port) })
  onTestFinished(() => proxy.close())
  const url = new URL(db.connectionString)
  url.port = String(proxy.port)
  const connection = resolveConnection({ connectionString: url.href }, {})
  const events: string[] = []
  const outage = createOutage({ emit: (name) => events.push(name) }, () => performance.now())
  const database = createDatabase({
    connection,
    listenConnection: connection,
    statements: loadStatements(db.schema),
    schema: db.schema,
    name: 'database-test',
    poolSize: 4,
    prepare: true,
    outage,
    primary: untoldPrimary(),
  })
  return { database, proxy, events }
}

const queues = JSON.stringify([])
const ask = (database: Database): Promise<unknown> => database.query('sweep', [queues])

test('after the end a statement is refused as CLOSED, and nothing is left open', async ({ db }) => {
  const { database, proxy, events } = await databaseUnderTest(db)
  await database.ready()
  await ask(database)
  expect(proxy.open).toBeGreaterThan(0)
  await database.end()
  await expect(ask(database)).rejects.toMatchObject({ code: 'CLOSED' })
  await expect(database.ready()).rejects.toMatchObject({ code: 'CLOSED' })
  await until(() => proxy.open === 0)
  // Presence may outlast it.
  const session = await database.openSession('late')
  await session.end()
  expect(events).toEqual([])
})

for (const phase of ['looks', 'opens a session', 'waits for a connection', 'asks'] as const) {
  test(`an end with a deadline comes by it while the other side is silent and somebody ${phase}`, async ({ db }) => {
    const { database, proxy, events } = await databaseUnderTest(db)
    if (phase !== 'looks') await database.ready()
    if (phase === 'asks') await ask(database)
    proxy.freeze()
    const { connections } = proxy
    const doing =
      phase === 'looks' ? database.ready() : phase === 'opens a session' ? database.openSession('x') : ask(database)
    const failed = doing.then(
      () => 'done',
      (error) => error.code,
    )
    if (phase !== 'asks') await until(() => proxy.connections !== connections)
    const endedAt = performance.now()
    await database.end(endedAt + 200)
    expect(performance.now() - endedAt).toBeLessThan(500)
    expect(await failed).toBe(phase === 'asks' ? 'CONNECTION_CLOSED' : 'CLOSED')
    expect(performance.now() - endedAt).toBeLessThan(500)
    await until(() => proxy.open === 0)
    expect(events).toEqual([])
  })
}

// Two processes: the one whose session is unref'd must end by itself, and the other must not.
test("a session that is unref'd does not keep the process alive", async ({ db }) => {
  const script = (end: string): string => `
    import { openSession } from './dist/database/session.js'
    import { resolveConnection } from './dist/database/connection.js'
    import { loadStatements } from './dist/database/statements.js'
    const connection = resolveConnection({ connectionString: ${JSON.stringify(db.connectionString)} }, {})
    const stateStatement = loadStatements('x').state
    const session = await openSession({ connection, stateStatement, name: 'unref', settings: {} })
    process.stdout.write('open')
    ${end}`
  const start = (end: string) => {
    const child = spawn(process.execPath, ['--input-type=module', '-e', script(end)])
    onTestFinished(() => void child.kill('SIGKILL'))
    return { child, open: once(child.stdout, 'data'), exit: once(child, 'exit') }
  }
  const kept = start('')
  const freed = start('session.unref()')
  await Promise.all([kept.open, freed.open])
  expect(await freed.exit).toEqual([0, null])
  expect(kept.child.exitCode).toBe(null)
})
