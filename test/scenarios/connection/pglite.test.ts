import { expect } from 'vitest'
import { test } from '../../support/database.js'
import { refusal } from '../../support/refusal.js'

/** What comes with another package of the tests; its types are no concern of ours. */
interface Pglite {
  PGlite: { create(): Promise<{ close(): Promise<void> }> }
}
interface PgliteSocket {
  PGLiteSocketServer: new (
    options: object,
  ) => { start(): Promise<void>; stop(): Promise<void>; getServerConn(): string }
}

const load = async <Module>(name: string): Promise<Module | null> => import(name).catch(() => null)
const pglite = await load<Pglite>('@electric-sql/pglite')
const socket = await load<PgliteSocket>('@electric-sql/pglite-socket')

test.skipIf(pglite === null || socket === null)(
  'PGlite by its socket is refused by every call, with what to use instead',
  // It compiles 10 MB of WebAssembly.
  { timeout: 180_000 },
  async ({ db }) => {
    const engine = await pglite?.PGlite.create()
    const server = new (socket as PgliteSocket).PGLiteSocketServer({ db: engine, host: '127.0.0.1', port: 0 })
    await server.start()
    try {
      const [host, port] = server.getServerConn().split(':')
      const bugle = db.bugle({ connectionString: `postgres://postgres@${host}:${port}/postgres?sslmode=disable` })
      const refused = {
        code: 'INVALID_OPTION',
        message: expect.stringMatching(/must lead to a PostgreSQL server; got PGlite.*bugle\/embedded/),
      }
      expect(await refusal(() => bugle.migrate())).toMatchObject(refused)
      expect(await refusal(() => bugle.put('q', 1))).toMatchObject(refused)
      expect(await refusal(() => bugle.consume('q', () => {}))).toMatchObject(refused)
      await bugle.close()
    } finally {
      await server.stop()
      await engine?.close()
    }
  },
)
