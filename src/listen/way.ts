import { demandApart } from '../database/apart.js'
import { type ControlSession, controlSettings } from '../database/control.js'
import type { Database } from '../database/database.js'
import { namedAsByPool, type Session } from '../database/session.js'
import { deadline } from '../deadline.js'
import type { Channels, ListenWay } from './listener.js'

/**
 * The way by which a worker listens, and the session that shows where it leads. LISTEN and the locks of the control
 * session live as long as a session: it must be a direct way, or a pooler's that keeps sessions apart.
 *
 * Each connection costs the server a process, and us some round trips. So the session that looks at the way first is
 * the control session later, once an echo has proven that the way is direct; and from then on the control session is
 * what the listener goes by.
 *
 * Until the proof it is kept idle, and has taken no lock. It ends with the listener's try: a way that goes through a
 * pooler in transaction mode must not hold one of its connections.
 */
interface Way {
  /**
   * @param leave - called when the server that takes our jobs is another one
   * @throws SharedSessionsError; what opening a session throws
   */
  find(leave: (error: Error) => void): Promise<ListenWay>
  /** Asked by what `find` has gone by. */
  channels(): Promise<Channels>
  /** The session that has looked, for the control session to be; null: there is none. Whoever takes it ends it. */
  take(): Session | null
}

interface WayParts {
  readonly database: Database
  /** null: the way is not proven direct. */
  readonly control: () => ControlSession | null
  /** application_name of the listener. */
  readonly name: string
}

const answerMs = 5_000

export function createWay({ database, control, name }: WayParts): Way {
  let looked: Session | null = null

  async function look(): Promise<Session> {
    const session = await database.openSession('control', controlSettings)
    try {
      // A way that takes no settings is a pooler's. In transaction mode a LISTEN would stay there with others.
      if (!session.hasSettings) await demandApartFromOthers(database, session)
      return session
    } catch (error) {
      await session.end()
      throw error
    }
  }

  function wayBy(session: Session, leave: (error: Error) => void): ListenWay {
    const left = session.admitAnother(leave)
    return {
      config: { ...session.config, application_name: name },
      left() {
        left()
        if (looked === session) end()
      },
    }
  }

  function end(): void {
    void looked?.end()
    looked = null
  }

  async function ask(session: Session): Promise<Channels[]> {
    const asked = session.client.query<Record<string, unknown>>(database.statements.channel)
    const { rows } = await deadline(asked, database.link.patienceMs(answerMs), 'the channels')
    return namedAsByPool<Channels>(rows)
  }

  function askAnother(): Promise<Channels[]> {
    return control()?.query<Channels>('channel', []) ?? database.query<Channels>('channel', [])
  }

  return {
    async find(leave) {
      const known = control()
      if (known !== null) return wayBy(await known.opened(), leave)
      end()
      const session = await look()
      // Two tries at once: the former one is over.
      end()
      looked = session
      try {
        return wayBy(session, leave)
      } catch (error) {
        end()
        throw error
      }
    },
    async channels() {
      const [row] = looked === null ? await askAnother() : await ask(looked)
      if (row === undefined) throw new Error('the channels have no names')
      return row
    },
    take() {
      const taken = looked
      looked = null
      // What the start of the session could not have is set only where a session is known to be ours.
      if (taken === null || taken.hasSettings) return taken
      void taken.end()
      return null
    },
  }
}

/**
 * The proof of such a way where no echo can be had.
 *
 * @throws SharedSessionsError; what opening a session throws
 */
export async function demandApartWithoutEcho(database: Database): Promise<void> {
  const session = await database.openSession('listener')
  try {
    await demandApartFromOthers(database, session)
  } finally {
    await session.end()
  }
}

function demandApartFromOthers(database: Database, session: Session): Promise<void> {
  return demandApart(session, () => database.openSession('listener'), database.statements.own_process)
}
