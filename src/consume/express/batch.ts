import type { ClaimedJob } from '../claimed-job.js'
import type { RowAsClaimed, Settled } from '../settle/ending.js'

/**
 * What becomes of a job at the end of its batch.
 *
 * - `held`: it has not begun.
 * - `begun`: its handler runs.
 * - `acked`: its handler has ended with a plain ack: the row is deleted with the batch.
 * - `kept`: anything else: the row becomes that of a running job with the batch, under the lease of `claimed`.
 * - `free`: it never begins here: the row is as it was.
 */
export type Part = 'held' | 'begun' | 'acked' | 'kept' | 'free'

/**
 * The jobs of one claim of a lane, which are written together. Each has a part; when no job is held or begun any more,
 * and when the lane cuts the batch, the parts are final: `seal`.
 */
export class Batch {
  readonly jobs: readonly ExpressJob[]
  /** Of the transaction that holds their rows; null: it holds none. */
  readonly xid: string | null
  #left: number
  #onDone: () => void = () => {}

  constructor(rows: readonly ClaimedRow[], xid: string | null) {
    this.jobs = rows.map((row) => new ExpressJob(row, this))
    this.xid = xid
    this.#left = rows.length
  }

  /** Whether every job is acked, kept or free. */
  get isDone(): boolean {
    return this.#left === 0
  }

  /** Calls that once, when it is. */
  onDone(listener: () => void): void {
    this.#onDone = listener
    if (this.isDone) listener()
  }

  /** Nothing begins any more, and what runs is kept. */
  seal(): void {
    for (const job of this.jobs) job.seal()
  }

  those(part: Part): ExpressJob[] {
    return this.jobs.filter((job) => job.part === part)
  }

  /** A job has come to a part that is final. */
  ended(): void {
    this.#left -= 1
    if (this.#left === 0) this.#onDone()
  }
}

/** As the claim's answer says it. */
export interface ClaimedRow extends RowAsClaimed {
  /** Its lease is the one under which it is kept: no row has it before that. */
  readonly claimed: ClaimedJob
  /** Where it lies in the table (ctid), such as (0,1): that holds as long as the claim's transaction. */
  readonly place: string
}

/** Who runs a job of a lane. */
export interface ExpressListener {
  /** What became of its plain ack. */
  ackedByLane(settled: Settled): void
  /** It was kept, and is not ours: others may run it. */
  lostByLane(): void
}

/**
 * One job of a lane. A class, since there is one per job.
 *
 * `begin` first; then `ack` or `keep`, once. `keep` may come before the handler has ended.
 */
export class ExpressJob {
  readonly asClaimed: ClaimedRow
  /** null: nobody. */
  listener: ExpressListener | null = null
  /** null: its part is final. One job that runs on would keep all the others in memory. */
  #batch: Batch | null
  #part: Part = 'held'
  /** Whether it is running under its lease; null: that is not known yet. */
  #isOurs: boolean | null = null
  #waiting: ((isOurs: boolean) => void)[] | null = null

  constructor(row: ClaimedRow, batch: Batch) {
    this.asClaimed = row
    this.#batch = batch
  }

  get claimed(): ClaimedJob {
    return this.asClaimed.claimed
  }

  get part(): Part {
    return this.#part
  }

  /** Its handler is about to be called. @returns false: it must not be; it is no longer ours */
  begin(): boolean {
    if (this.#part !== 'held') return false
    this.#part = 'begun'
    return true
  }

  /**
   * Its handler has ended, and a plain ack is all there is to write.
   *
   * @returns whether that will be done: then the lane tells what became of it. false: it is kept, so its ack goes the
   *   way of others, after `keep`
   */
  ack(): boolean {
    if (this.#part !== 'begun') return false
    this.#end('acked')
    return true
  }

  /**
   * It goes on as a running job like any other.
   *
   * @returns once that is known, whether it is ours. If not, its outcomes match nothing
   */
  keep(): Promise<boolean> {
    if (this.#part === 'begun') this.#end('kept')
    if (this.#isOurs !== null) return Promise.resolve(this.#isOurs)
    return new Promise((resolve) => {
      this.#waiting ??= []
      this.#waiting.push(resolve)
    })
  }

  /** It will not begin here. @returns false: it has begun */
  letGo(): boolean {
    if (this.#part === 'held') this.#end('free')
    return this.#part === 'free'
  }

  /** By its batch. */
  seal(): void {
    if (this.#part === 'held') this.#end('free')
    else if (this.#part === 'begun') this.#end('kept')
  }

  #end(part: Part): void {
    this.#part = part
    this.#batch?.ended()
    this.#batch = null
  }

  /** By the lane: whether the row is running under its lease. */
  tell(isOurs: boolean): void {
    this.#isOurs = isOurs
    for (const resolve of this.#waiting ?? []) resolve(isOurs)
    this.#waiting = null
  }
}
