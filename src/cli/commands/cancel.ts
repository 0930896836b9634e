import { jobId } from '../../checks.js'
import { type Cli, exitCodes } from '../cli.js'

const answers = {
  cancelled: 'cancelled',
  requested: 'requested: it runs, and has its signal aborted',
  'not-found': 'not found: it is over, or never was',
} as const

/**
 * `bugle cancel ID…`: exit code 1 where one was not found. JSON: `{ "id", "answer" }` an id; `answer` is 'cancelled',
 * 'requested' or 'not-found'.
 */
export async function cancel({ out, bugle: open }: Cli, ids: readonly string[]): Promise<number> {
  // Before the first of them is cancelled.
  for (const id of ids) jobId(id)
  const bugle = open()
  let code: number = exitCodes.ok
  for (const id of ids) {
    const answer = await bugle.cancel(id)
    if (answer === 'not-found') code = exitCodes.trouble
    out.json({ id, answer })
    out.say(`${id}: ${out.paint(answer === 'not-found' ? 'yellow' : 'green', answers[answer])}`)
  }
  return code
}
