import { plural, shown } from '../terminal/text.js'
import type { Check, Diagnosis } from './check.js'
import { ok } from './check.js'
import { readWorkers, type WorkerRow } from './worker-rows.js'

/**
 * How many live workers are woken by notifications.
 *
 * No catalog says who listens to what. But a worker takes its presence lock only after an echo has proven that
 * notifications reach it, and its listener's last statement is the LISTEN on a channel that is named after it: the
 * first is seen by every role, the second by those that are shown other sessions.
 */
export const listeners: Check = {
  name: 'listeners',
  needs: ['schema'],
  async look(patient) {
    const live = (await readWorkers(patient)).filter(({ state }) => state === 'live')
    if (live.length === 0) {
      return [
        { status: 'note', message: 'no worker is there: nobody consumes', remedy: patient.command('work ./jobs.js') },
      ]
    }
    const [row] = await patient.ask<{ seesAll: boolean }>('sees_all')
    const seesAll = row?.seesAll ?? false
    const details = {
      workers: live.length,
      present: live.filter(({ isHeld }) => isHeld).length,
      listening: live.filter(({ isListening }) => isListening).length,
    }
    const found: Diagnosis[] = []
    for (const worker of live) {
      if (!worker.isHeld)
        found.push(deaf(worker, 'holds no presence lock: it was started with listen: false, or a pooler is in its way'))
      else if (!worker.isListening && seesAll) found.push(deaf(worker, 'has no session that listens at the moment'))
    }
    if (found.length > 0) return found
    const how = seesAll ? 'listen' : 'have proven that they hear (their sessions are not shown to this role)'
    return [ok(`${plural(live.length, 'worker')} of ${live.length} ${how}`, details)]
  },
}

function deaf({ id, name, host, pid }: WorkerRow, why: string): Diagnosis {
  const who = `worker ${id} (${shown(name)}, pid ${pid} on ${shown(host)})`
  return {
    status: 'note',
    message: `${who} ${why}; it finds jobs by sweeps, every second`,
    remedy: 'createBugle({ connectionString, listenConnectionString: process.env.BUGLE_LISTEN_URL })',
    details: { workerId: id, name, host, pid },
  }
}
