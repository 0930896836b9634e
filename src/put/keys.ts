import { BugleError, describe } from '../errors.js'

/** A job of a batch, before it is known which of its key's jobs remain. */
export interface KeyedJob {
  readonly key: string | null
  readonly keyMode: 'replace' | 'keep' | 'reject'
  /** As JSON text. */
  readonly text: string
}

interface ResolvedKeys {
  /** To be inserted: no key twice. */
  readonly kept: readonly KeyedJob[]
  /** The id of each given job, in the order given; `rows` are those of the statement that inserted the kept ones. */
  idsFor(rows: readonly { readonly id: string; readonly key: string | null }[]): string[]
}

/**
 * What would remain of a batch's keys if its jobs were put one after the other: with 'replace' the last job of a key,
 * with 'keep' the first. One statement cannot meet the same key twice.
 *
 * @param jobs - all that have a key have the same mode
 * @throws BugleError `KEY_TAKEN` where 'reject' finds a key twice in the batch
 */
export function resolveKeys(jobs: readonly KeyedJob[]): ResolvedKeys {
  const byKey = new Map<string, KeyedJob>()
  for (const [index, job] of jobs.entries()) {
    if (job.key === null) continue
    if (byKey.has(job.key)) {
      if (job.keyMode === 'keep') continue
      if (job.keyMode === 'reject') {
        throw new BugleError('KEY_TAKEN', `putMany: job ${index} has the key ${describe(job.key)} of one before it`)
      }
    }
    byKey.set(job.key, job)
  }
  return {
    kept: jobs.filter((job) => job.key === null || byKey.get(job.key) === job),
    idsFor(rows) {
      // No other job can have taken one's place, so every job has a row, in the order given; and such statements tell
      // no keys.
      if (!jobs.some(({ key, keyMode }) => key !== null && keyMode !== 'reject')) return rows.map(({ id }) => id)
      const idOf = new Map(rows.map(({ key, id }) => [key, id]))
      // Ids ascend in the order of the insert.
      const withoutKey = rows.filter(({ key }) => key === null).values()
      return jobs.map(({ key }) => (key === null ? withoutKey.next().value?.id : idOf.get(key)) ?? '')
    },
  }
}
