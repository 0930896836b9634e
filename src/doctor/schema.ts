import { newestMigration } from '../database/statements.js'
import { whyUnusable } from '../database/unusable.js'
import { sqlState } from '../database/verdict.js'
import { type Check, ok } from './check.js'
import { reason } from './patient.js'

/** Are our tables there, to be seen by this role, and of the step that this version knows? */
export const schema: Check = {
  name: 'schema',
  needs: ['connection'],
  async look(patient) {
    const name = JSON.stringify(patient.schema)
    const details = { schema: patient.schema, newest: newestMigration }
    const unusable = whyUnusable(patient.schema, patient.server, patient.connection.user)
    if (unusable !== null) return [{ status: 'trouble', ...unusable, details: { ...details, step: null } }]
    if (!patient.server.migrated) {
      const message = `schema ${name} has no tables of Bugle's`
      return [{ status: 'trouble', message, remedy: patient.command('migrate'), details: { ...details, step: 0 } }]
    }
    try {
      const rows = await patient.askLibrary<{ number: number }>(patient.statements.migration_applied)
      const step = rows.at(-1)?.number ?? 0
      if (step > newestMigration) {
        const message =
          `schema ${name} was migrated to step ${step} by a newer version of Bugle; ` +
          `this one knows ${newestMigration}: programs of this version refuse to start`
        return [{ status: 'trouble', message, remedy: 'npm install bugle@latest', details: { ...details, step } }]
      }
      if (step < newestMigration) {
        const message = `schema ${name} is at step ${step}, and this version needs ${newestMigration}`
        return [{ status: 'trouble', message, remedy: patient.command('migrate'), details: { ...details, step } }]
      }
      return [ok(`schema ${name} is at step ${step}, the newest`, { ...details, step })]
    } catch (error) {
      if (sqlState(error) !== '42501') throw error
      const message = `${JSON.stringify(patient.connection.user)} may not read schema ${name}: ${reason(error)}`
      return [{ status: 'trouble', message, remedy: patient.command('grants --observer ROLE'), details }]
    }
  },
}
