import { demandApart } from '../database/apart.js'
import type { Database } from '../database/database.js'
import type { ListenWay } from './listener.js'

/**
 * The way to the server for what lives as long as a session: LISTEN, and the locks of the control session. It must be a
 * direct one, or a pooler's that keeps sessions apart.
 */
type WayToServer = Pick<Database, 'openSession' | 'statements'>

/**
 * The way by which to listen.
 *
 * @param leave - called when the server that takes our jobs is another one
 * @throws SharedSessionsError; what opening a session throws
 */
export async function findListenWay(database: WayToServer, leave: (error: Error) => void): Promise<ListenWay> {
  const open = () => database.openSession('listener')
  const session = await open()
  try {
    // A way that takes no settings is a pooler's. In transaction mode a LISTEN would stay there with others.
    if (!session.hasSettings) await demandApart(session, open, database.statements.own_process)
    return { config: session.config, left: session.admitAnother(leave) }
  } finally {
    await session.end()
  }
}

/**
 * The proof of such a way where no echo can be had.
 *
 * @throws SharedSessionsError; what opening a session throws
 */
export async function demandApartWithoutEcho(database: WayToServer): Promise<void> {
  const open = () => database.openSession('listener')
  const session = await open()
  try {
    await demandApart(session, open, database.statements.own_process)
  } finally {
    await session.end()
  }
}
