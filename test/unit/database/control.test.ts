import { expect, test, vi } from 'vitest'
import { createControlSession } from '../../../src/database/control.js'
import { createLink } from '../../../src/database/link.js'
import { loadStatements } from '../../../src/database/statements.js'

test('a control session that waits for its own pause connects at once when an outage has ended', async () => {
  const open = vi.fn(async () => {
    throw new Error('nobody there')
  })
  const free = new Set<() => void>()
  const control = createControlSession({
    open,
    link: createLink(() => performance.now()),
    statements: loadStatements('x'),
    workerId: () => '1',
    workers: () => 1,
    isHeard: () => true,
    onLost: () => {},
    onRegained: () => {},
    onPresent: () => {},
    isDown: () => false,
    onUp: (listener) => {
      free.add(listener)
      return () => void free.delete(listener)
    },
  })
  await control.start()
  vi.useFakeTimers()
  try {
    for (let times = 1; times <= 5; times += 1) {
      expect(open).toHaveBeenCalledTimes(times)
      for (const listener of free) listener()
      await vi.advanceTimersByTimeAsync(0)
    }
    control.destroy()
    expect(free.size).toBe(0)
  } finally {
    vi.useRealTimers()
  }
})
