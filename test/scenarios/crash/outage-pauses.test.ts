import { expect, onTestFinished } from 'vitest'
import { signal, test } from '../../support/database.js'
import { startProxy } from '../../support/proxy.js'

test('a job that ended in an outage is settled when somebody gets through, whatever its own pause', async ({ db }) => {
  const { hostname, port, username, pathname } = new URL(db.connectionString)
  const proxy = await startProxy({ host: hostname, port: Number(port) })
  onTestFinished(() => proxy.close())
  // The parts of an instance take it when they are made. Who knocks draws for itself.
  const { random } = Math
  let pausesAreLong = false
  Math.random = () => (pausesAreLong ? 1e5 : random())
  const bugle = db.bugle({ connectionString: `postgres://${username}@127.0.0.1:${proxy.port}${pathname}` })
  Math.random = random
  const acked = db.collect(bugle, 'job:acked')
  const downs = db.collect(bugle, 'database:down')
  const [begun, go] = [signal(), signal()]
  await bugle.consume('q', async () => {
    begun.resolve()
    await go.promise
  })
  const id = await bugle.put('q', null)
  await begun.promise
  await proxy.refuse()
  pausesAreLong = true
  go.resolve()
  await downs.next()
  await proxy.heal()
  expect(await acked.next()).toMatchObject({ id })
  expect(await db.jobs()).toEqual([])
  pausesAreLong = false
})
