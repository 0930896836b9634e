import { durationText, plural, shown } from '../terminal/text.js'
import type { Check, Diagnosis } from './check.js'
import { ok } from './check.js'
import type { Patient } from './patient.js'
import { readWorkers, type WorkerRow } from './worker-rows.js'

/** Workers that have died and whose jobs nobody has given back; workers that hang; running jobs that nobody owns. */
export const workers: Check = {
  name: 'workers',
  needs: ['schema'],
  async look(patient) {
    const all = await readWorkers(patient)
    const live = all.filter(({ state }) => state === 'live')
    const found = all.flatMap((worker) => ofWorker(worker, live.length, patient))
    found.push(...(await orphans(live.length, patient)))
    return found.length > 0 ? found : [ok(`${plural(live.length, 'worker')}, all alive`, { workers: live.length })]
  },
}

const rescuers = (patient: Patient): string =>
  `${patient.command('work ./jobs.js')}   # or any process that consumes: each gives back the jobs of dead ones`

function ofWorker(worker: WorkerRow, live: number, patient: Patient): Diagnosis[] {
  const { id, name, host, pid, seenMs, state } = worker
  const details = { workerId: id, name, host, pid, seenMsAgo: Math.round(seenMs), state }
  const who = `worker ${id} (${shown(name)}, pid ${pid} on ${shown(host)})`
  const silence = `${durationText(seenMs)} without a heartbeat`
  if (state === 'dead') {
    const rescue =
      live > 0 ? 'the live ones should give its jobs back any moment' : 'no other is there to give its jobs back'
    return [
      {
        status: 'trouble',
        message: `${who} is dead: ${silence}, not connected; ${rescue}`,
        remedy: rescuers(patient),
        details,
      },
    ]
  }
  if (state === 'hung') {
    const hangs = `${who} hangs: connected, but ${silence}`
    const message = `${hangs}; others will take its jobs while its handlers may still run`
    return [{ status: 'trouble', message, remedy: `kill -9 ${pid}   # on ${shown(host)}`, details }]
  }
  return []
}

interface OrphanRow {
  /** null: they name none. */
  readonly workerId: string | null
  readonly jobs: number
  readonly oldestMs: number | null
}

/** Live workers look for these every fifteen seconds or so. */
async function orphans(live: number, patient: Patient): Promise<Diagnosis[]> {
  const rows = await patient.ask<OrphanRow>('orphans')
  const left = rows.filter(({ oldestMs }) => live === 0 || oldestMs === null || oldestMs > patient.thresholds.orphanMs)
  const owner = (workerId: string | null) =>
    workerId === null ? 'without a worker' : `of worker ${workerId}, which is gone,`
  return left.map(({ workerId, jobs, oldestMs }) => ({
    status: 'trouble',
    message:
      `${plural(jobs, 'running job')} ${owner(workerId)} ` +
      `${jobs === 1 ? 'was' : 'were'} not given back` +
      (live === 0 ? ': no worker is there to do it' : ''),
    remedy: rescuers(patient),
    details: { workerId, jobs, oldestMs: oldestMs === null ? null : Math.round(oldestMs) },
  }))
}
