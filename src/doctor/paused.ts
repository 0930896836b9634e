import { durationText, shown } from '../terminal/text.js'
import { type Check, ok } from './check.js'
import { shellWord } from './patient.js'

/** Which queues are paused: as somebody has asked, and perhaps forgotten. */
export const paused: Check = {
  name: 'paused',
  needs: ['schema'],
  async look(patient) {
    const rows = await patient.ask<{ queue: string; pausedMs: number }>('paused')
    if (rows.length === 0) return [ok('no queue is paused')]
    return rows.map(({ queue, pausedMs }) => ({
      status: 'note',
      message: `queue ${shown(queue)} is paused since ${durationText(pausedMs)}: nothing of it is claimed`,
      remedy: patient.command(`resume ${shellWord(queue)}`),
      details: { queue, pausedMs: Math.round(pausedMs) },
    }))
  },
}
