import { randomUUID } from 'node:crypto'
import { sessionSettings } from '../database/session.js'
import { deadline } from '../deadline.js'
import { createListener } from '../listen/listener.js'
import { type Check, type Diagnosis, ok } from './check.js'
import { reason } from './patient.js'

/** Longer than the listener gives its connection, its LISTENs and its ping. */
const proofMs = 20_000
const statementMs = 8_000

/**
 * Do notifications arrive? The very listener of an instance listens, on channels of the doctor's own, and must hear the
 * echo of a NOTIFY that goes by the other way.
 */
export const listen: Check = {
  name: 'listen',
  // A LISTEN through a pooler would be left on one of its connections.
  needs: ['connection', 'pooler'],
  async look(patient) {
    const id = randomUUID()
    const sender = await patient.open('connection')
    let why: string | null = null
    const listener = createListener({
      connect: async () => {
        try {
          const settings = sessionSettings(patient.server.serverVersion, statementMs)
          const session = await patient.open('listenConnection', settings)
          await session.end()
          return { config: session.config, left: () => {} }
        } catch (error) {
          why ??= reason(error)
          throw error
        }
      },
      channel: async () => ({ channel: `bugle_doctor_${id}`, cancelChannel: `bugle_doctor_${id}_cancel` }),
      pingChannel: () => `bugle_doctor_${id}_ping`,
      sendPing: async (channel, mark) => {
        try {
          await sender.client.query(patient.statements.ping, [channel, mark])
          // It listens for no tables.
          return null
        } catch (error) {
          why ??= reason(error)
          throw error
        }
      },
      onUp: () => () => {},
      onNotification: () => {},
      onCancel: () => {},
      onLive: () => {},
      onDeaf: (told) => {
        why = told
      },
      onHealth: () => {},
      random: Math.random,
    })
    try {
      await deadline(listener.start(), proofMs, 'the echo')
      if (listener.health === 'live') return [ok('notifications arrive: an echo came back')]
      return [deaf(why)]
    } finally {
      listener.stop()
    }
  },
}

function deaf(why: string | null): Diagnosis {
  return {
    status: 'trouble',
    message: `notifications do not arrive: ${why ?? 'no echo came back'}`,
    remedy:
      "createBugle({ connectionString, listenConnectionString: 'postgres://user@the-server-itself:5432/database' })",
  }
}
