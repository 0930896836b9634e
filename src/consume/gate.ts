/** Whether something may be claimed, and begin, in this process: the worker's presence and the event loop say it. */
export interface Gate {
  readonly isOpen: boolean
  /** Resolves when it is open, or will not be any more. */
  opened(): Promise<void>
}
