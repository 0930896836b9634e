import { type Check, ok } from './check.js'
import type { Patient } from './patient.js'

/**
 * Are new ids larger than all that are there? The sequence that gives them out stays behind its tables where rows were
 * copied without it, as logical replication and some restores do, and where it was restarted. Then puts are refused one
 * after the other, each for an id that is taken, until the sequence has passed them all; and an id may be given to a
 * second job while the first one is in the archive.
 */
export const ids: Check = {
  name: 'ids',
  needs: ['schema'],
  async look(patient) {
    const [row] = await patient.ask<{ lastId: string; largest: string }>('ids')
    const { lastId = '0', largest = '0' } = row ?? {}
    const details = { lastId, largest }
    if (BigInt(lastId) >= BigInt(largest)) return [ok('new ids are larger than all that are there', details)]
    return [
      {
        status: 'trouble',
        message:
          `the sequence of ids is at ${lastId}, and there is a job with the id ${largest}: ` +
          'puts are refused where the next id is taken, and ids of archived jobs come a second time',
        remedy: remedy(patient, largest),
        details,
      },
    ]
  },
}

function remedy(patient: Patient, largest: string): string {
  const sequence = patient.qualified('job_id_seq').replaceAll("'", "''")
  return `select setval('${sequence}', ${largest});`
}
