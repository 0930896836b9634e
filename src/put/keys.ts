/**
 * Keys: why there are never two.
 *
 * **What holds a key.** A job has its key as long as it is in the unique index `job_key`: while it waits; with `while:
 * 'running'` also while it runs (column `key_while`). Every way from one state to another is an update of one row, so
 * a job that stays in the index never lets go of its key in between: a claim, a retry, a release, a rescue and a
 * promotion write the row's next version under the same entry, and PostgreSQL refuses any other row there, committed
 * or not. So "two at once" is not a matter of anybody's look at the table. What is left is what each of them does when
 * it meets the index:
 *
 * - **put against put**: the second insert waits until the first transaction has ended, then finds its row, or
 *   inserts;
 * - **put against claim**: the claim's row is the same row. A put that sees it waiting locks it, and sees on that lock
 *   that it has begun: it looks again (`keep` finds it running, or with 'waiting' gone from the index and puts its
 *   own). A claim passes over a row that a put has locked, and comes back for it;
 * - **put against settle**: an ack deletes the row, a failure takes it out of the index. A put that met the row before
 *   that answers with its id: it came before. It never waits for a job that runs, and locks nothing of it, so no
 *   outcome waits for somebody's transaction;
 * - **a job that goes back** (retry, release, partial, rescue): with 'running' it was in the index all the time. With
 *   'waiting' another may have the key by now, and it goes back without (trigger job_free_key);
 * - **requeue**: a failed or archived job is in no index. If another has its key, one with 'waiting' comes back
 *   without it; one with 'running' stays where it is, since without its key it could run beside the other. What the
 *   trigger cannot see, a put that has not committed, ends in the index; the statement is sent again, and sees it. An
 *   archived job with 'running' leaves the archive by an insert that gives way to the index.
 *
 * So no two jobs of a key run at once. What no key can prevent is that the handler of a worker that was given up goes
 * on beside the next run of the very same job: its outcome is fenced, as ever.
 *
 * **What a put locks in a transaction**, until that ends: what it inserts, so that other puts of the key wait; with
 * `keep` and `replace` the waiting job, so that it runs after the commit and sees what was written with the put.
 *
 * **For a time** (`forMs`): an acked job is gone, so who put it is kept in the table `taken_key`, one row a queue and
 * key. A put looks there first, inserts its job under the key, then takes the row, if it is over. Two that both found
 * it free meet at the job's entry in `job_key`. The second goes on only when the first one's job has let go of the
 * key; by then the row is taken and committed, the second does not get it, takes its own job back in the same
 * transaction, and looks again. A put that replaces the waiting job begins the time anew: it has that job locked, and
 * writes only a row that is this job's, or over. Puts of one key that do not say `forMs` do not look there.
 *
 * **Cost**: rows without a key are in neither place, and the index's predicate ends for them at its first test. That
 * each statement prepares the predicate costs a plain put 1.5 % of the server's time. It cost about as much when it was
 * written with tests for null, or as one list of states.
 */
import { BugleError, describe } from '../errors.js'

/** A job of a batch, before it is known which of its key's jobs remain. */
export interface KeyedJob {
  readonly key: string | null
  readonly keyMode: 'keep' | 'replace' | 'reject'
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
      // Every job has a row, in the order given; and such statements tell no keys.
      if (!jobs.some(({ key }) => key !== null)) return rows.map(({ id }) => id)
      const idOf = new Map(rows.map(({ key, id }) => [key, id]))
      // Ids ascend in the order of the insert.
      const withoutKey = rows.filter(({ key }) => key === null).values()
      return jobs.map(({ key }) => (key === null ? withoutKey.next().value?.id : idOf.get(key)) ?? '')
    },
  }
}
