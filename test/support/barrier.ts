/** A barrier for `count` handlers. The last one opens it for all: they end in one turn and are settled in one batch. */
export function together(count: number): () => Promise<void> {
  let open = (): void => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  let come = 0
  return () => {
    come += 1
    if (come === count) open()
    return opened
  }
}
