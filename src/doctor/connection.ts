import { describeConnection } from '../database/connection.js'
import { databaseFault } from '../database/verdict.js'
import { type Check, ok } from './check.js'
import { reason } from './patient.js'

const oldestVersion = 130_000

/** Is the database reached, is it PostgreSQL 13 or later, and can it be written to? */
export const connection: Check = {
  name: 'connection',
  needs: [],
  async look(patient) {
    const where = describeConnection(patient.connection)
    try {
      const { serverVersion, standby } = await patient.connect()
      const details = { serverVersion, where }
      const major = Math.floor(serverVersion / 10_000)
      if (serverVersion < oldestVersion) {
        const message = `${where} is PostgreSQL ${major}, and Bugle needs 13 or later`
        return [{ status: 'trouble', message, remedy: 'upgrade the server', details }]
      }
      if (standby) {
        const message = `${where} is a standby: it can neither be written to nor listened to`
        return [{ status: 'trouble', message, remedy: 'let DATABASE_URL name the primary', details }]
      }
      return [ok(`PostgreSQL ${major} at ${where}`, details)]
    } catch (error) {
      const isDown = ['down', 'unknown', 'passing'].includes(databaseFault(error))
      return [
        {
          status: 'trouble',
          message: `${isDown ? 'cannot reach' : 'cannot use'} ${where}: ${reason(error)}`,
          remedy: 'psql "$DATABASE_URL" -c \'select version()\'',
          details: { where },
        },
      ]
    }
  },
}
