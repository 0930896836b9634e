import { shown } from '../../terminal/text.js'
import { type Cli, exitCodes } from '../cli.js'

/** `bugle pause QUEUE…`. JSON: `{ "queue": …, "changed": … }` a queue. */
export function pause(cli: Cli, queues: readonly string[]): Promise<number> {
  return setPaused(cli, queues, true)
}

/** `bugle resume QUEUE…`. JSON: as `pause`. */
export function resume(cli: Cli, queues: readonly string[]): Promise<number> {
  return setPaused(cli, queues, false)
}

async function setPaused({ out, bugle: open }: Cli, queues: readonly string[], isPaused: boolean): Promise<number> {
  const bugle = open()
  for (const queue of queues) {
    const changed = await (isPaused ? bugle.pause(queue) : bugle.resume(queue))
    out.json({ queue, changed })
    out.say(`${shown(queue)}: ${changed ? '' : 'already '}${isPaused ? 'paused' : 'resumed'}`)
  }
  return exitCodes.ok
}
