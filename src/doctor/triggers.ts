import { quoteIdentifier } from '../database/sql-files.js'
import type { Check, Diagnosis } from './check.js'
import { ok } from './check.js'

/** O: fires, but for sessions whose role is replica; A: fires always. */
const firing = ['O', 'A']

/**
 * Do our triggers fire? Without them jobs are inserted and nobody is woken: they wait for the next sweep, and rows due
 * ahead run at once.
 */
export const triggers: Check = {
  name: 'triggers',
  needs: ['schema'],
  async look(patient) {
    const rows = await patient.ask<{ tableName: string; name: string; enabled: string }>('triggers')
    const found: Diagnosis[] = rows
      .filter(({ enabled }) => !firing.includes(enabled))
      .map(({ tableName, name, enabled }) => ({
        status: 'trouble',
        message:
          `trigger ${name} of table ${tableName} ${enabled === 'D' ? 'is disabled' : 'fires on replicas only'}: ` +
          'jobs that are written meanwhile wake nobody, and wait for a sweep',
        remedy: `alter table ${patient.qualified(tableName)} enable trigger ${quoteIdentifier(name)};`,
        details: { table: tableName, trigger: name, enabled },
      }))
    for (const row of await patient.ask<{ role: string | null; database: string | null; isHere: boolean }>(
      'replica_roles',
    )) {
      const { role, database, isHere } = row
      const whose = isHere ? 'this session' : `${role === null ? 'every role' : `role ${role}`}`
      const who = role === null ? 'role all' : `role ${quoteIdentifier(role)}`
      const where = database === null ? '' : ` in database ${quoteIdentifier(database)}`
      found.push({
        status: 'trouble',
        message: `session_replication_role is replica for ${whose}: its inserts fire no trigger, and wake nobody`,
        remedy: isHere
          ? "select setting, source, sourcefile from pg_settings where name = 'session_replication_role';"
          : role === null && database !== null
            ? `alter database ${quoteIdentifier(database)} reset session_replication_role;`
            : `alter ${who}${where} reset session_replication_role;`,
        details: { role, database, isHere },
      })
    }
    return found.length > 0 ? found : [ok(`all ${rows.length} triggers are enabled`)]
  },
}
