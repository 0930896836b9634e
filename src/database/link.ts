/**
 * How long an answer may take on the way to the server: what is patience on a link of 1 ms is a mistake on one of 3 s.
 *
 * **By round trips.** Whoever waits for an answer names the time that is enough on any good link. Where a few round
 * trips take longer than that, these count. A round trip is what the first statement of the session that was opened
 * last has taken; a quicker answer afterwards counts instead, as a server that was busy then may not be busy now.
 *
 * **By what failed.** A server that has many connections to open, after a restart, answers each of them late. Whoever
 * gives up makes it open one more. So the time for an attempt that shows no sign of life doubles with each one that ran
 * out of time, up to `mostConnectMs`, and is the usual one again with the first success. Attempts that were under way
 * together are late for one reason, and count once.
 */
export interface Link {
  /** @returns `ms`, or as long as so many round trips take, if that is longer */
  patienceMs(ms: number, trips?: number): number
  /** @param ms - for an attempt to connect where none has failed */
  connectMs(ms: number): number
  /** A connection was opened. @param tripMs - what its first statement took, where that is known */
  opened(tripMs?: number): void
  /** One statement was answered, in one round trip. */
  answered(tripMs: number): void
  /** An attempt to connect that began then (by the same clock as `now`) had no answer in its time. */
  timedOut(beganAt: number): void
}

/** Of which one may meet a busy moment. */
const fewTrips = 3
const mostConnectMs = 20_000

export function createLink(now: () => number): Link {
  let tripMs = 0
  let timeOuts = 0
  let countedAt = Number.NEGATIVE_INFINITY
  return {
    patienceMs: (ms, trips = fewTrips) => Math.max(ms, trips * tripMs),
    connectMs: (ms) => Math.max(ms, Math.min(ms * 2 ** timeOuts, mostConnectMs)),
    opened(ms = tripMs) {
      tripMs = ms
      timeOuts = 0
    },
    answered(ms) {
      if (ms < tripMs) tripMs = ms
    },
    timedOut(beganAt) {
      if (beganAt < countedAt) return
      timeOuts += 1
      countedAt = now()
    },
  }
}
