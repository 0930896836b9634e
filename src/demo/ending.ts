/**
 * The promise's own end, or the abort, whichever comes first.
 *
 * @throws the signal's reason; whatever the promise rejects with
 */
export async function until<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  let onAbort = (): void => {}
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    if (signal.aborted) onAbort()
  })
  try {
    return await Promise.race([promise, aborted])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
