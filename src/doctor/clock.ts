import { type Check, ok } from './check.js'

const samples = 3
const mostMs = 1_000

/**
 * How far this machine's clock is from the database's. All times of jobs come from the database, so nothing breaks; but
 * a `runAt` or a `since` that a program computes from its own clock is that much off.
 */
export const clock: Check = {
  name: 'clock',
  needs: ['connection'],
  async look(patient) {
    let best = { offsetMs: 0, roundTripMs: Number.POSITIVE_INFINITY }
    for (let sample = 0; sample < samples; sample += 1) {
      const sentAt = patient.now()
      const [row] = await patient.ask<{ atMs: number }>('clock')
      const roundTripMs = patient.now() - sentAt
      // The answer is of some moment between: of the shortest round trip we know best of which.
      if (roundTripMs < best.roundTripMs) {
        best = { offsetMs: sentAt + roundTripMs / 2 - (row?.atMs ?? Number.NaN), roundTripMs }
      }
    }
    const details = { offsetMs: Math.round(best.offsetMs), roundTripMs: Math.round(best.roundTripMs) }
    const isFar = Math.abs(best.offsetMs) - best.roundTripMs / 2 > mostMs
    if (!isFar) return [ok('this machine and the database agree on the time within a second', details)]
    const by = `${(Math.abs(best.offsetMs) / 1000).toFixed(1)} s ${best.offsetMs > 0 ? 'ahead of' : 'behind'}`
    return [
      {
        status: 'note',
        message:
          `this machine's clock is ${by} the database's, from which all times of jobs come: a runAt or since that is ` +
          'computed here is that much off (delayMs is not)',
        remedy: 'timedatectl set-ntp true   # on the machine whose clock is wrong',
        details,
      },
    ]
  },
}
