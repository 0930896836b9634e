import createDebug from 'debug'
import type { Query } from '../../database/database.js'
import { isRefusalOrTimeOut, sendInParts } from '../../database/halving.js'
import { databaseFault, isTimeOut, sqlState } from '../../database/verdict.js'
import { BugleError, toError } from '../../errors.js'
import type { Settled } from '../settle/ending.js'
import type { Pauses } from '../settle/pauses.js'
import type { Settler } from '../settle/settler.js'
import type { ExpressJob } from './batch.js'
import type { ServerProcess } from './lane-session.js'
import { keepAlone, terminate } from './statements.js'

const log = createDebug('bugle:lane')

/**
 * What is done for the jobs of a lane whose commit is not known.
 *
 * First the lane's server process is ended, so that its transaction is over soon, one way or the other. Whether it was
 * there is not asked, nor what became of its transaction: the statements that follow wait for its row locks, and see
 * what it has left. Ending it only keeps that wait short. So a server that is away is waited for here, and everything
 * else that is said of this statement is no reason not to go on.
 *
 * Then acks go the way of outcomes, and kept jobs are made running ones. If the server refuses them together, or one of
 * their rows is locked for a second, they go in parts, until those at fault stand alone. Such a job is lost to us, and
 * ready for others: while nobody knows whose it is, its outcome cannot be written, and its slot is taken.
 */
export interface RecoveryParts {
  readonly query: Query
  readonly settler: Settler
  readonly pauses: Pauses
  readonly workerId: string
  readonly acked: (job: ExpressJob, settled: Settled) => void
  /** Whether the job is ours, running under its lease. */
  readonly kept: (job: ExpressJob, isOurs: boolean) => void
}

/** Resolves when all of them are told. Never rejects. */
export async function recover(
  process: ServerProcess,
  acked: readonly ExpressJob[],
  kept: readonly ExpressJob[],
  parts: RecoveryParts,
): Promise<void> {
  if (acked.length + kept.length === 0) return
  log('%d acks and %d kept jobs go alone', acked.length, kept.length)
  await whenAnswered(parts, () => terminate(parts.query, process)).catch((error) => {
    log('the server process %d is not ended: %s', process.pid, toError(error).message)
  })
  await Promise.all([...acked.map((job) => ackAlone(job, parts)), keepAllAlone(kept, parts)])
}

async function ackAlone(job: ExpressJob, { settler, acked }: RecoveryParts): Promise<void> {
  const { job: about, lease, workerId } = job.claimed
  const settled = await settler.settle({
    id: about.id,
    lease,
    workerId,
    attempt: about.attempt,
    ending: { is: 'acked-on-lane', asClaimed: job.asClaimed },
    ackedInTransaction: false,
  })
  acked(job, settled)
}

async function keepAllAlone(jobs: readonly ExpressJob[], parts: RecoveryParts): Promise<void> {
  const told = new Set<ExpressJob>()
  const send = async (some: readonly ExpressJob[]): Promise<void> => {
    const ours = await whenAnswered(parts, () => keepAlone(parts.query, parts.workerId, some))
    for (const job of some) {
      told.add(job)
      parts.kept(job, ours.has(job.claimed.job.id))
    }
  }
  try {
    if (jobs.length === 0) return
    await send(jobs).catch(async (refusal) => {
      if (!isRefusalOrTimeOut(refusal)) throw refusal
      const sendNone = () => keepAlone(parts.query, parts.workerId, [])
      await sendInParts(jobs, { send, sendNone, splits: isRefusalOrTimeOut })
    })
  } catch (error) {
    log('kept jobs are not ours: %s', toError(error).message)
  }
  for (const job of jobs) if (!told.has(job)) parts.kept(job, false)
}

/**
 * A statement that may be sent again, until the server has answered it.
 *
 * @throws the server's refusal, or that its time-out has ended the statement; BugleError `CLOSED`
 */
async function whenAnswered<T>({ pauses }: RecoveryParts, send: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await send()
    } catch (error) {
      const mayPass = ['down', 'unknown', 'passing'].includes(databaseFault(error))
      if (error instanceof BugleError || !mayPass || (sqlState(error) !== null && isTimeOut(error))) throw error
      log('try %d: %s', tries, toError(error).message)
      if (await pauses.after(tries)) tries = 0
    }
  }
}
