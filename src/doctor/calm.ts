import { durationText, shown } from '../terminal/text.js'
import { type Check, ok } from './check.js'

/** Which queues have no express lane for some time, since a process that had one on them has died. */
export const calm: Check = {
  name: 'calm',
  needs: ['schema'],
  async look(patient) {
    const rows = await patient.ask<{ queue: string; sinceMs: number; leftMs: number }>('calm')
    if (rows.length === 0) return [ok('no queue is calm')]
    return rows.map(({ queue, sinceMs, leftMs }) => ({
      status: 'note',
      message:
        `queue ${shown(queue)} is calm since ${durationText(sinceMs)}, for ${durationText(leftMs)} more: a process ` +
        'with an express lane on it was found dead, so for now its jobs run without one, and each death is counted',
      details: { queue, sinceMs: Math.round(sinceMs), leftMs: Math.round(leftMs) },
    }))
  },
}
