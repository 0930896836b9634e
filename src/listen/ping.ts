import { randomUUID } from 'node:crypto'
import { jitter } from '../backoff.js'
import { toError } from '../errors.js'

/**
 * The loop-back ping: a mark sent by another connection, which must come back to the listener's.
 *
 * It is the only proof that notifications arrive: a LISTEN can be answered and come to nothing (a pooler in
 * transaction mode), and a socket can be open with nobody at the other end.
 */
interface Ping {
  /**
   * Ping at once, and then about every ten seconds. Resolves with the first echo, or when its silence has been
   * reported.
   */
  start(): Promise<void>
  echoed(mark: string): void
  stop(): void
}

interface PingOptions {
  readonly send: (mark: string) => Promise<void>
  readonly onEcho: () => void
  /** No echo in time, or the ping could not be sent. No further ping until `start`. */
  readonly onSilence: (error: Error, silence: Silence) => void
  /** What is patience on this link, where so many ms are on a good one. */
  readonly patienceMs: (ms: number, trips: number) => number
  readonly random: () => number
}

export type Silence =
  /** The ping could not be sent, or its statement got no answer: that says nothing about what we hear. */
  | 'unsent'
  /** It was sent, the server has said so, and its time was up before its echo came. */
  | 'unheard'

const intervalMs = 10_000
const echoMs = 2_500
/** A connection may have to be opened, to send it. */
const trips = { toSend: 10, toEcho: 3 } as const

export function createPing({ send, onEcho, onSilence, patienceMs, random }: PingOptions): Ping {
  let mark: string | null = null
  let timer: NodeJS.Timeout | undefined
  let answered = (): void => {}

  function stop(): void {
    clearTimeout(timer)
    mark = null
    answered()
  }

  function silent(sent: string, error: Error, silence: Silence): void {
    if (mark !== sent) return
    stop()
    onSilence(error, silence)
  }

  function giveUpIn(ms: number, sent: string, silence: Silence): void {
    clearTimeout(timer)
    timer = setTimeout(() => {
      const judge = (): void => silent(sent, new Error(`no echo within ${ms} ms`), silence)
      // A blocked event loop ends timers before it reads sockets: let it read once before judging.
      setImmediate(() => setImmediate(judge))
    }, ms)
  }

  async function ping(): Promise<void> {
    const sent = randomUUID()
    mark = sent
    giveUpIn(patienceMs(echoMs, trips.toSend), sent, 'unsent')
    const echo = new Promise<void>((resolve) => {
      answered = resolve
    })
    try {
      await send(sent)
      // Anew: what the sending took, in a pool that is busy, says nothing of our ears.
      if (mark === sent) giveUpIn(patienceMs(echoMs, trips.toEcho), sent, 'unheard')
    } catch (error) {
      silent(sent, toError(error), 'unsent')
    }
    return echo
  }

  return {
    start: ping,
    echoed(received) {
      if (received !== mark) return
      mark = null
      clearTimeout(timer)
      timer = setTimeout(() => void ping(), jitter(intervalMs, 0.8, 1, random))
      onEcho()
      answered()
    },
    stop,
  }
}
