import { count, shown } from '../terminal/text.js'
import type { ServedQueue } from '../worker/heartbeat.js'
import type { Check, Diagnosis } from './check.js'
import { ok } from './check.js'
import type { Patient } from './patient.js'
import { readWorkers } from './worker-rows.js'

interface QueueRow {
  readonly queue: string
  readonly isPaused: boolean
  /** At most 1,001. */
  readonly jobs: number
}

/**
 * Ready jobs that no live worker serves: nobody consumes their queue, or nobody takes their kind. Paused queues have a
 * check of their own.
 */
export const unserved: Check = {
  name: 'unserved',
  needs: ['schema'],
  async look(patient) {
    const live = (await readWorkers(patient)).filter(({ state }) => state === 'live')
    const consumers = live.flatMap((worker) => worker.consumers)
    const queues = await patient.ask<QueueRow>('ready_queues')
    const found: Diagnosis[] = []
    for (const queue of queues.filter(({ isPaused }) => !isPaused)) {
      const own = consumers.filter((consumer) => consumer.queue === queue.queue)
      const active = own.filter(({ isPaused }) => !isPaused)
      if (active.length === 0) found.push(ofQueue(queue, own.length, patient))
      else found.push(...(await ofKinds(queue.queue, active, patient)))
    }
    return found.length > 0 ? found : [ok(`every queue with ready jobs is served: ${queues.length}`)]
  },
}

const start = (patient: Patient): string =>
  `${patient.command('work ./jobs.js')}   # with a handler for it; or look whether a name is misspelt`

function ofQueue({ queue, jobs }: QueueRow, paused: number, patient: Patient): Diagnosis {
  const number = jobs > 1000 ? 'more than 1,000' : count(jobs)
  return {
    status: 'trouble',
    message:
      `nobody serves queue ${shown(queue)}, which has ${number} ready ${jobs === 1 ? 'job' : 'jobs'}` +
      (paused > 0 ? ': its consumers have paused themselves (consumer.pause())' : ''),
    remedy: start(patient),
    details: { queue, jobs, isExact: jobs <= 1000, pausedConsumers: paused },
  }
}

async function ofKinds(queue: string, active: readonly ServedQueue[], patient: Patient): Promise<Diagnosis[]> {
  if (active.some(({ kinds }) => kinds === null)) return []
  const served = [...new Set(active.flatMap(({ kinds }) => kinds ?? []))]
  const rows = await patient.ask<{ kind: string | null }>('unserved_kinds', [queue, JSON.stringify(served)])
  return rows.map(({ kind }) => ({
    status: 'trouble',
    message:
      `nobody serves jobs ${kind === null ? 'without a kind' : `of kind ${shown(kind)}`} in queue ${shown(queue)}, ` +
      'and there are some',
    remedy: start(patient),
    details: { queue, kind },
  }))
}
