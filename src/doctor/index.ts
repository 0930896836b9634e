import { sqlState } from '../database/verdict.js'
import { autovacuum } from './autovacuum.js'
import { bloat } from './bloat.js'
import { calm } from './calm.js'
import type { Check, CheckName, Diagnosis, Finding } from './check.js'
import { clock } from './clock.js'
import { connection } from './connection.js'
import { connections } from './connections.js'
import { drift } from './drift.js'
import { express } from './express.js'
import { ids } from './ids.js'
import { listen } from './listen.js'
import { listeners } from './listeners.js'
import { longRunning } from './long-running.js'
import { notificationQueue } from './notification-queue.js'
import { openPatient, type Patient, type PatientOptions, reason } from './patient.js'
import { paused } from './paused.js'
import { pooler } from './pooler.js'
import { schema } from './schema.js'
import { triggers } from './triggers.js'
import { unserved } from './unserved.js'
import { vacuumHorizon } from './vacuum-horizon.js'
import { workers } from './workers.js'

export type { CheckName, Finding, FindingStatus } from './check.js'

/** From the way to the database, over the server and our tables, to the jobs. */
export const checks: readonly Check[] = [
  connection,
  pooler,
  listen,
  clock,
  connections,
  notificationQueue,
  vacuumHorizon,
  schema,
  drift,
  triggers,
  ids,
  autovacuum,
  bloat,
  express,
  workers,
  listeners,
  longRunning,
  unserved,
  paused,
  calm,
]

/**
 * Look at a database in every way we know, one check after the other. Nothing is changed in it; no check can end the
 * others.
 *
 * @param onFinding - called with each finding at once, in order
 * @returns all of them: one or more a check
 */
export async function examine(
  options: PatientOptions,
  onFinding: (finding: Finding) => void = () => {},
): Promise<readonly Finding[]> {
  const patient = openPatient(options)
  const found: Finding[] = []
  const failed = new Set<CheckName>()
  try {
    for (const check of checks) {
      for (const diagnosis of await diagnose(check, patient, failed)) {
        const finding: Finding = { remedy: null, details: {}, ...diagnosis, check: check.name }
        // What could not be looked at cannot be built upon either.
        if (finding.status === 'trouble' || finding.status === 'skipped') failed.add(check.name)
        found.push(finding)
        onFinding(finding)
      }
    }
  } finally {
    await patient.end()
  }
  return found
}

async function diagnose(check: Check, patient: Patient, failed: ReadonlySet<CheckName>): Promise<readonly Diagnosis[]> {
  const missing = check.needs.find((name) => failed.has(name))
  if (missing !== undefined) return [{ status: 'skipped', message: `left out: see ${missing}` }]
  try {
    return await check.look(patient)
  } catch (error) {
    const isRight = sqlState(error) === '42501'
    return [
      {
        status: 'skipped',
        message: `could not be looked at: ${reason(error)}`,
        remedy: isRight ? patient.command('grants --observer ROLE') : null,
        details: { code: sqlState(error) },
      },
    ]
  }
}
