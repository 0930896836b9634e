import { type AdminParts, sendForOne } from './send.js'

/**
 * Pause a queue, for all processes and until it is resumed: no claim begins after this has resolved. Jobs that run go
 * on.
 *
 * @param queue - a checked name
 * @returns whether it was not paused before
 * @throws BugleError `DATABASE_DOWN`, `NO_PRIVILEGE`, `NOT_MIGRATED`, `SCHEMA_TOO_NEW`: nothing was written;
 *   `RESULT_UNKNOWN`
 * @see sql/statements/queue_pause.sql
 */
export async function pauseQueue({ database }: AdminParts, queue: string): Promise<boolean> {
  const call = { name: 'pause', effect: 'writes' } as const
  return (await sendForOne<{ changed: boolean }>(database, 'queue_pause', [queue], call)).changed
}

/**
 * Resume a queue: its consumers are woken.
 *
 * @param queue - a checked name
 * @returns whether it was paused
 * @throws as `pauseQueue`
 * @see sql/statements/queue_resume.sql
 */
export async function resumeQueue({ database }: AdminParts, queue: string): Promise<boolean> {
  const call = { name: 'resume', effect: 'writes' } as const
  return (await sendForOne<{ changed: boolean }>(database, 'queue_resume', [queue], call)).changed
}
