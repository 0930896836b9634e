import { type Handler, isOutcome, type RejectOutcome, reject } from '../index.js'
import { type Digest, digestFile } from './digest.js'
import { toRawPath } from './paths.js'
import type { DemoJob, FileJob, WakeJob } from './protocol.js'
import { isSystemError, reasonOf } from './reading.js'
import type { Result } from './tables.js'

interface HandlerParts {
  readonly worker: number
  readonly folder: string
  readonly addResult: (result: Result) => Promise<void>
  readonly tellWoken: (number: number, afterNs: bigint) => void
  /** Aborts the long ones. */
  readonly signal: AbortSignal
}

/**
 * The handler of the demo's queue.
 *
 * A file that cannot be read is rejected: it would not be readable the next time either. Any other error is thrown.
 */
export function createHandler({ worker, folder, addResult, tellWoken, signal }: HandlerParts): Handler<DemoJob> {
  async function hashAndZip(jobId: string, attempt: number, job: FileJob) {
    const digest = await digestOrRefusal(job)
    if (isOutcome(digest)) return digest
    await addResult({ jobId, path: job.path, ...digest, worker, attempt })
  }

  async function digestOrRefusal(job: FileJob): Promise<Digest | RejectOutcome> {
    try {
      return await digestFile(toRawPath(folder, job), signal)
    } catch (error) {
      if (isSystemError(error)) return reject(reasonOf(error))
      throw error
    }
  }

  function wake(job: WakeJob, startedAtNs: bigint): void {
    tellWoken(job.number, startedAtNs - BigInt(job.putAtNs))
  }

  return (job) => {
    // First of all: this is the moment up to which a put is measured.
    const startedAtNs = process.hrtime.bigint()
    const { payload } = job
    return payload.type === 'wake' ? wake(payload, startedAtNs) : hashAndZip(job.id, job.attempt, payload)
  }
}
