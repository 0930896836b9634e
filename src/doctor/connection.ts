import { describeConnection } from '../database/connection.js'
import { quoteIdentifier } from '../database/sql-files.js'
import { databaseFault } from '../database/verdict.js'
import { type Check, type Diagnosis, ok } from './check.js'
import { type Patient, reason } from './patient.js'

const oldestVersion = 130_000

/** Is the database reached, is it a server of PostgreSQL 13 or later, and can it be written to? */
export const connection: Check = {
  name: 'connection',
  needs: [],
  async look(patient) {
    const where = describeConnection(patient.connection)
    try {
      const { serverVersion, standby, readOnly, isPglite } = await patient.connect()
      const details = { serverVersion, where }
      const major = Math.floor(serverVersion / 10_000)
      if (serverVersion < oldestVersion) {
        const message = `${where} is PostgreSQL ${major}, and Bugle needs 13 or later`
        return [{ status: 'trouble', message, remedy: 'upgrade the server', details }]
      }
      if (isPglite) {
        const message = `${where} is PGlite, which has one session for all connections: Bugle needs sessions of its own`
        return [{ status: 'trouble', message, remedy: 'let DATABASE_URL name a PostgreSQL server', details }]
      }
      if (standby) {
        const message = `${where} is a standby: it can neither be written to nor listened to`
        return [{ status: 'trouble', message, remedy: 'let DATABASE_URL name the primary', details }]
      }
      if (readOnly) return [await readOnlyTrouble(patient, where)]
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

/**
 * A role, database or server whose transactions are read only by default is not to be written to: Bugle keeps to that.
 * A provider sets it where a disk is nearly full.
 */
async function readOnlyTrouble(patient: Patient, where: string): Promise<Diagnosis> {
  const [row] = await patient.ask<{ source: string }>('read_only')
  const role = `role ${quoteIdentifier(patient.connection.user)}`
  const database = `database ${quoteIdentifier(patient.connection.database)}`
  const whose: Readonly<Record<string, string>> = {
    user: `alter ${role} reset default_transaction_read_only;`,
    database: `alter ${database} reset default_transaction_read_only;`,
    'database user': `alter ${role} in ${database} reset default_transaction_read_only;`,
  }
  const source = row?.source ?? ''
  return {
    status: 'trouble',
    message:
      `transactions are read only by default at ${where} (default_transaction_read_only, set by: ${source}): ` +
      'Bugle neither puts nor runs jobs there',
    remedy: whose[source] ?? 'alter system reset default_transaction_read_only; select pg_reload_conf();',
    details: { where, source },
  }
}
