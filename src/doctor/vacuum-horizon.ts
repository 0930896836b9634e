import { count, durationText, plural } from '../terminal/text.js'
import type { Check, Diagnosis } from './check.js'
import { ok } from './check.js'
import { shellWord } from './patient.js'

interface Row {
  /** null: nothing holds it back. */
  readonly kind: 'session' | 'prepared' | 'slot' | 'standby' | null
  readonly name: string | null
  readonly pid: number | null
  readonly ageMs: number | null
  readonly ageXids: number | null
  readonly state: string | null
  readonly application: string | null
  readonly hidden: number
}

/** An active slot or standby may lag by what its own queries take; of a busy database this is some minutes. */
const mostXids = 1_000_000

/**
 * What keeps vacuum from removing dead rows: an old transaction, a prepared one, a slot, a standby's query. Each job
 * leaves two dead rows; while they stay, tables and indexes grow, and claims walk over the dead. Five minutes of a
 * thousand jobs a second are half a million.
 */
export const vacuumHorizon: Check = {
  name: 'vacuum-horizon',
  needs: ['connection'],
  async look(patient) {
    const rows = await patient.ask<Row>('horizon', [patient.thresholds.transactionOlderThanMs, mostXids])
    const hidden = rows[0]?.hidden ?? 0
    const found = rows.flatMap((row) => (row.kind === null ? [] : [diagnosis(row)]))
    if (hidden > 0) {
      found.push({
        status: 'skipped',
        message:
          `${plural(hidden, 'session')} of other roles cannot be looked at: ` +
          'this role is not shown how old their transactions are',
        remedy: `grant pg_monitor to ${JSON.stringify(patient.connection.user)};`,
        details: { hidden },
      })
    }
    if (found.length > 0) return found
    const limit = durationText(patient.thresholds.transactionOlderThanMs)
    return [ok(`no transaction older than ${limit}, and no slot, holds vacuum back`)]
  },
}

function diagnosis(row: Row): Diagnosis {
  const { kind, name, pid, ageMs, ageXids, state, application } = row
  const details = { kind, name, pid, ageMs: ageMs === null ? null : Math.round(ageMs), ageXids, state, application }
  const age = ageMs === null ? `${count(ageXids ?? 0)} transactions` : durationText(ageMs)
  const so = 'dead rows stay in the tables of jobs, and claims walk over them'
  const what = {
    session: `a transaction of pid ${pid} (${name}, ${application || 'without a name'}, ${state}) is open since ${age}`,
    prepared: `the prepared transaction ${name} waits since ${age}`,
    slot: `the ${state} replication slot ${name} is behind by ${age}`,
    standby: `a query on the standby ${application || name} (hot_standby_feedback) is behind by ${age}`,
  }
  const literal = `'${(name ?? '').replaceAll("'", "''")}'`
  const remedy = {
    session: `select pg_terminate_backend(${pid});`,
    prepared: `rollback prepared ${literal};   -- or commit prepared`,
    slot: `select pg_drop_replication_slot(${literal});   -- if nobody will use it any more`,
    standby: `-- on the standby ${shellWord(application ?? '')}: end its old query, or set max_standby_streaming_delay`,
  }
  return kind === null ? ok('') : { status: 'trouble', message: `${what[kind]}: ${so}`, remedy: remedy[kind], details }
}
