import { Socket } from 'node:net'
import { expect, vi } from 'vitest'
import { test } from '../../support/database.js'
import { refusal } from '../../support/refusal.js'
import { until } from '../../support/until.js'

for (const code of ['EHOSTUNREACH', 'ENETUNREACH', 'ECONNRESET']) {
  test(`input: a put whose connection ends with ${code} after it was sent is RESULT_UNKNOWN`, async ({ db }) => {
    const sockets: Socket[] = []
    const { connect } = Socket.prototype
    const spy = vi.spyOn(Socket.prototype, 'connect').mockImplementation(function (this: Socket, ...args: unknown[]) {
      sockets.push(this)
      return Reflect.apply(connect, this, args)
    })
    const bugle = db.bugle({ poolSize: 2 })
    await bugle.put('q', 'before')
    spy.mockRestore()
    const blocker = db.connect()
    await blocker.unsafe(`begin; lock table ${db.s}.job in share mode`).simple()
    const failed = refusal(() => bugle.put('q', 'sent'))
    await until(() => waitsForLock('put'))
    for (const socket of sockets) socket.destroy(Object.assign(new Error('no way'), { code }))
    expect(await failed).toMatchObject({ code: 'RESULT_UNKNOWN', cause: { cause: { code } } })
    // Its session does not know yet that nobody waits for it, and writes.
    await blocker.unsafe('commit').simple()
    await until(async () => (await db.jobs()).length === 2)

    async function waitsForLock(statement: string): Promise<boolean> {
      const rows = await db.sql`
        select from pg_stat_activity
        where wait_event_type = 'Lock'
          and strpos(query, ${`bugle ${statement} `}) > 0
          and strpos(query, ${db.schema}) > 0`
      return rows.length > 0
    }
  })
}
