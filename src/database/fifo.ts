/** First in, first out, at the same price however many there are. */
interface Fifo<T> {
  readonly length: number
  /** The next to come out. */
  readonly first: T | undefined
  push(item: T): void
  shift(): T | undefined
  /** Looks through all of them. */
  remove(item: T): void
}

export function createFifo<T>(): Fifo<T> {
  let items: (T | undefined)[] = []
  let begin = 0
  return {
    get length() {
      return items.length - begin
    },
    get first() {
      return items[begin]
    },
    push: (item) => void items.push(item),
    shift() {
      if (begin === items.length) return undefined
      const item = items[begin]
      items[begin] = undefined
      begin += 1
      // Array.shift would move all the others, each time; so they are moved once they are fewer than what is gone.
      if (begin * 2 > items.length) {
        items = items.slice(begin)
        begin = 0
      }
      return item
    },
    remove(item) {
      const at = items.indexOf(item, begin)
      if (at !== -1) items.splice(at, 1)
    },
  }
}
