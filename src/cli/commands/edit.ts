import type { JobChanges } from '../../admin/edit.js'
import { type Cli, exitCodes } from '../cli.js'

interface EditCommandOptions extends Omit<JobChanges, 'delayMs'> {
  readonly delay?: number
}

/** `bugle edit ID`: exit code 1 where the job does not wait. JSON: `{ "id", "edited" }`. */
export async function edit(
  { out, bugle: open }: Cli,
  id: string,
  { delay, ...same }: EditCommandOptions,
): Promise<number> {
  const edited = await open().edit(id, { ...same, ...(delay !== undefined && { delayMs: delay }) })
  out.json({ id, edited })
  out.say(`${id}: ${edited ? out.paint('green', 'changed') : out.paint('yellow', 'runs, is over, or never was')}`)
  return edited ? exitCodes.ok : exitCodes.trouble
}
