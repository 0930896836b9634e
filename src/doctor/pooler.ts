import { randomInt } from 'node:crypto'
import { isKept } from '../database/apart.js'
import { namedAsByPool, type Session } from '../database/session.js'
import { DeadlineError, deadline } from '../deadline.js'
import type { Check } from './check.js'
import { ok } from './check.js'
import type { Patient, Way } from './patient.js'

/**
 * Whether something stands between us and the server that hands its connections around.
 *
 * - **direct**: each session is a process of the server's.
 * - **session**: something relays, and keeps sessions apart: LISTEN and locks work.
 * - **transaction**: a session's statements go to one server process, then to another. LISTEN is left on whichever it
 *   met, and a session's lock on one that others use next.
 */
type WayKind = 'direct' | 'session' | 'transaction'

/** A pooler whose connections are all taken lets us wait. */
const answerMs = 3_000

const names: Readonly<Record<Way, string>> = {
  connection: 'DATABASE_URL',
  listenConnection: 'the listen URL',
}

/** Are sessions our own, so that LISTEN and locks stay where they were made? */
export const pooler: Check = {
  name: 'pooler',
  needs: ['connection'],
  async look(patient) {
    const isTwoWays = patient.listenConnection !== patient.connection
    const main = await probe(patient, 'connection')
    const listen = isTwoWays ? await probe(patient, 'listenConnection') : main
    const details = { connection: main, listenConnection: listen }
    if (isTwoWays && !(await leadToOneDatabase(patient))) {
      const message =
        'DATABASE_URL and the listen URL lead to different databases: ' +
        'notifications of the one are not heard in the other'
      return [{ status: 'trouble', message, remedy: sample(main), details }]
    }
    if (listen === 'transaction') {
      const message =
        `${isTwoWays ? names.listenConnection : names.connection} leads through a pooler that hands connections ` +
        'around: neither LISTEN nor session locks work there; jobs are found by sweeps, every second'
      return [{ status: 'trouble', message, remedy: sample(main), details }]
    }
    if (main === 'transaction') {
      return [
        {
          ...ok('DATABASE_URL leads through a pooler, the listen URL past it: nothing is prepared there', details),
          remedy: sample(main),
        },
      ]
    }
    return [ok(told(main), details)]
  },
}

function told(kind: WayKind): string {
  return kind === 'direct'
    ? 'sessions are our own: no pooler is in the way'
    : 'sessions are relayed, and kept apart: locks stay where they were taken'
}

function sample(main: WayKind): string {
  const prepare = main === 'transaction' ? ', prepare: false' : ''
  const direct = 'postgres://user@the-server-itself:5432/database'
  return `createBugle({ connectionString, listenConnectionString: '${direct}'${prepare} })`
}

/**
 * Two sessions, of which one is in a transaction while the other asks: a pooler that shares connections must give the
 * other one another connection. Only then a lock is taken, lest it stays on a connection of others.
 */
async function probe(patient: Patient, way: Way): Promise<WayKind> {
  const own = await patient.open(way)
  const other = await patient.open(way)
  try {
    const { pid } = await backend(patient, own, 0)
    if (!(await isKeptWith(patient, own, other, pid, 0))) return 'transaction'
    const number = randomInt(1, 2 ** 47)
    await ask(patient, own, 'lock_take', [number])
    if (!(await isKeptWith(patient, own, other, pid, number))) return 'transaction'
    await ask(patient, own, 'lock_release', [number])
    // What the server said of itself at the start; a relay has numbers of its own.
    const { processID } = own.client as { processID?: number }
    return processID === pid ? 'direct' : 'session'
  } catch (error) {
    // A session of our own would have answered.
    if (error instanceof DeadlineError) return 'transaction'
    throw error
  }
}

/** Whether the session stays with its process, and the lock with it. */
function isKeptWith(patient: Patient, own: Session, other: Session, pid: number, lock: number): Promise<boolean> {
  return isKept(own, other, pid, async (session) => {
    if (session === other || lock === 0) return (await backend(patient, session, 0)).pid
    const found = await backend(patient, session, lock)
    return found.holds && !found.heldElsewhere ? found.pid : null
  })
}

interface Backend {
  readonly pid: number
  readonly holds: boolean
  readonly heldElsewhere: boolean
}

async function backend(patient: Patient, session: Session, lock: number): Promise<Backend> {
  const [row] = await ask<Backend>(patient, session, 'backend', [lock])
  if (row === undefined) throw new Error('the server does not say which process answers')
  return row
}

async function leadToOneDatabase(patient: Patient): Promise<boolean> {
  const [here] = await patient.ask<{ server: string }>('place')
  const session = await patient.open('listenConnection')
  const [there] = await ask<{ server: string }>(patient, session, 'place', [])
  return here?.server === there?.server
}

async function ask<Row extends object>(
  { doctorStatements }: Patient,
  { client }: Session,
  name: string,
  parameters: readonly number[],
): Promise<Row[]> {
  const text = doctorStatements.get(name) ?? ''
  const asked = client.query<Record<string, unknown>>(text, [...parameters])
  const { rows } = await deadline(asked, answerMs, 'the doctor')
  return namedAsByPool<Row>(rows)
}
