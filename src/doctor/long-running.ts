import { durationText, shown } from '../terminal/text.js'
import { type Check, ok } from './check.js'

interface Row {
  readonly id: string
  readonly queue: string
  readonly kind: string | null
  readonly attempt: number
  readonly workerId: string
  readonly runningMs: number
  readonly total: number
}

/** Jobs that have been running for longer than an hour, or than was asked for. The ten that run longest are named. */
export const longRunning: Check = {
  name: 'long-running',
  needs: ['schema'],
  async look(patient) {
    const limitMs = patient.thresholds.runningLongerThanMs
    const rows = await patient.ask<Row>('running', [limitMs])
    if (rows.length === 0) return [ok(`no job has been running for longer than ${durationText(limitMs)}`)]
    return rows.map(({ total, runningMs, ...row }, index) => {
      const kind = row.kind === null ? '' : ` (${shown(row.kind)})`
      const others = index === 0 && total > rows.length ? `; ${total} jobs have` : ''
      return {
        status: 'trouble',
        message:
          `job ${row.id} of queue ${shown(row.queue)}${kind} has been running for ${durationText(runningMs)}, ` +
          `attempt ${row.attempt}${others}`,
        remedy: `${patient.command(`cancel ${row.id}`)}   # aborts its signal; timeoutMs does so by itself`,
        details: { ...row, runningMs: Math.round(runningMs), total },
      }
    })
  },
}
