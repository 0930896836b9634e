/** What a stop ends with. */
export interface StopReport {
  /** Jobs acked over the consumer's whole life. */
  readonly completed: number
  /** Jobs failed over the consumer's whole life. */
  readonly failed: number
  /** Runs that ended because they were aborted by us, a stop above all; their jobs went back, attempt given back. */
  readonly interrupted: number
  /**
   * Jobs claimed and never started; they went back, attempt given back. (Not the outcome `release`, which no count
   * has.)
   */
  readonly released: number
  /**
   * Jobs whose handlers had not ended by the deadline, or whose outcomes were not written. They keep their lease until
   * the process is gone. `ageMs`: since their claim.
   */
  readonly abandoned: readonly { readonly id: string; readonly ageMs: number }[]
}
