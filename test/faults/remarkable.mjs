/**
 * Tell of each of these events, with its data; an error as its message.
 *
 * @template {import('../../dist/index.js').BugleEventName} Name
 * @param {import('../../dist/index.js').Bugle} bugle
 * @param {readonly Name[]} names
 * @param {(message: { did: 'event', name: Name, text: string }) => void} tell
 */
export function tellRemarkable(bugle, names, tell) {
  for (const name of names) {
    bugle.on(name, (data) => {
      const { queue, ...rest } = data
      const error = 'error' in data && data.error instanceof Error ? data.error.message : undefined
      tell({ did: 'event', name, text: JSON.stringify({ ...rest, ...(error && { error }) }) })
    })
  }
}
