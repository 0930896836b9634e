import { afterEach, expect, test, vi } from 'vitest'
import { type Beat, createPresence, type Heartbeat, type Word } from '../../../src/worker/presence.js'
import { signal } from '../../support/signal.js'

afterEach(() => {
  vi.useRealTimers()
})

const found: Heartbeat = {
  isPresent: true,
  server: 's',
  running: [],
  others: [],
  paused: [],
  channel: null,
  dozers: new Map(),
}

/** rescueAfterMs 3000, a heartbeat every second; `answer` decides how each ends. */
async function underTest(answer: (id: string) => Promise<Heartbeat> = async () => found) {
  vi.useFakeTimers()
  const state = { answer, insert: async () => {}, isLockHeld: true }
  const words: Word[] = []
  const beats: Beat[] = []
  const events: string[] = []
  let ids = 0
  const newId = () => {
    ids += 1
    return `id${ids}`
  }
  const presence = createPresence({
    id: 'id0',
    newId,
    word: { rescueAfterMs: 3_000, hungAfterMs: 300_000 },
    mayHoldLock: true,
    isLockHeld: () => state.isLockHeld,
    insert: (id) => {
      events.push(`insert ${id}`)
      return state.insert()
    },
    send: (id, word) => {
      words.push(word)
      return state.answer(id)
    },
    onBeat: (beat) => beats.push(beat),
    onConfirmed: () => events.push('confirmed'),
    onLost: (from, to) => events.push(`lost ${from} ${to}`),
    now: () => Date.now(),
    random: () => 1,
  })
  await presence.announce()
  presence.start()
  return { presence, state, words, beats, events }
}

test('it is confirmed from its insert on, and by each heartbeat', async () => {
  const { presence, beats } = await underTest()
  expect(presence.isConfirmed).toBe(true)
  await vi.advanceTimersByTimeAsync(10_000)
  expect(beats).toHaveLength(10)
  expect(beats.map(({ isBack }) => isBack)).not.toContain(true)
  expect(presence.isConfirmed).toBe(true)
  presence.stop()
})

test('an answer holds for rescueAfterMs from the sending of its heartbeat; a late reader sees it at once', async () => {
  const { presence, state } = await underTest()
  const sentAt = Date.now() + 1_000
  state.answer = async () => {
    await new Promise((resolve) => setTimeout(resolve, 900))
    state.answer = () => new Promise(() => {})
    return found
  }
  await vi.advanceTimersByTimeAsync(1_900)
  expect(presence.isConfirmed).toBe(true)
  vi.setSystemTime(sentAt + 2_999)
  expect(presence.isConfirmed).toBe(true)
  // No timer has fired: as in a process that was stopped and goes on.
  vi.setSystemTime(sentAt + 3_000)
  expect(presence.isConfirmed).toBe(false)
  presence.stop()
})

test(
  'a lock that is had again within seconds of answers leaves the word as it was, however long nothing was ' +
    'answered',
  async () => {
    const { presence, state, words } = await underTest()
    const { answer } = state
    state.isLockHeld = false
    await vi.advanceTimersByTimeAsync(2_000)
    state.answer = () => Promise.reject(new Error('down'))
    await vi.advanceTimersByTimeAsync(20_000)
    state.answer = answer
    await vi.advanceTimersByTimeAsync(2_000)
    state.isLockHeld = true
    await vi.advanceTimersByTimeAsync(2_000)
    expect(new Set(words.map(({ rescueAfterMs }) => rescueAfterMs))).toEqual(new Set([3_000]))
    presence.stop()
  },
)

test('without the lock for some seconds a minute is asked for, and an answer is good for it', async () => {
  const { presence, state, words } = await underTest()
  state.isLockHeld = false
  await vi.advanceTimersByTimeAsync(5_000)
  expect(words.at(-1)).toEqual({ rescueAfterMs: 60_000, hungAfterMs: 300_000 })
  state.answer = () => new Promise(() => {})
  await vi.advanceTimersByTimeAsync(59_000)
  expect(presence.isConfirmed).toBe(true)
  await vi.advanceTimersByTimeAsync(2_000)
  expect(presence.isConfirmed).toBe(false)
  presence.stop()
})

test('a shorter word counts from the moment it is sent, whether or not its answer comes', async () => {
  const { presence, state } = await underTest()
  state.isLockHeld = false
  await vi.advanceTimersByTimeAsync(5_000)
  state.isLockHeld = true
  state.answer = () => new Promise(() => {})
  await vi.advanceTimersByTimeAsync(2_900)
  expect(presence.isConfirmed).toBe(true)
  await vi.advanceTimersByTimeAsync(200)
  expect(presence.isConfirmed).toBe(false)
  presence.stop()
})

test('a heartbeat that failed is sent again at once, then at its pace; the first answer is a return', async () => {
  const { presence, state, beats, words } = await underTest()
  state.answer = () => Promise.reject(new Error('down'))
  await vi.advanceTimersByTimeAsync(1_010)
  expect(words).toHaveLength(2)
  await vi.advanceTimersByTimeAsync(2_500)
  expect(words).toHaveLength(4)
  expect(presence.isConfirmed).toBe(false)
  state.answer = async () => found
  await vi.advanceTimersByTimeAsync(1_500)
  expect(presence.isConfirmed).toBe(true)
  expect(beats.map(({ isBack }) => isBack)).toEqual([true, false])
  presence.stop()
})

test('a server that was started anew, and a lost session, count as a return as well', async () => {
  const { presence, state, beats } = await underTest()
  await vi.advanceTimersByTimeAsync(1_000)
  state.answer = async () => ({ ...found, server: 't' })
  await vi.advanceTimersByTimeAsync(2_000)
  presence.disturbed()
  await vi.advanceTimersByTimeAsync(2_000)
  expect(beats.map(({ isBack }) => isBack)).toEqual([false, true, false, true, false])
  presence.stop()
})

test('one that finds its row gone takes a new id, and is confirmed again once that is inserted', async () => {
  const { presence, state, events, beats } = await underTest(async (id) => ({ ...found, isPresent: id !== 'id0' }))
  const inserted = signal()
  state.insert = () => inserted.promise
  await vi.advanceTimersByTimeAsync(1_010)
  expect(presence.id).toBe('id1')
  expect(presence.isConfirmed).toBe(false)
  expect(events).toEqual(['insert id0', 'lost id0 id1', 'insert id1'])
  inserted.resolve()
  await vi.advanceTimersByTimeAsync(0)
  expect(presence.isConfirmed).toBe(true)
  expect(events.at(-1)).toBe('confirmed')
  await vi.advanceTimersByTimeAsync(1_000)
  expect(beats.map(({ workerId }) => workerId)).toEqual(['id1'])
  expect(events.filter((one) => one.startsWith('lost'))).toHaveLength(1)
  presence.stop()
})

test('asked for a heartbeat while one is in flight, it sends one more after it', async () => {
  const { presence, state, words } = await underTest()
  const answered = signal<Heartbeat>()
  state.answer = () => answered.promise
  presence.beat()
  presence.beat()
  expect(words).toHaveLength(1)
  state.answer = async () => found
  answered.resolve(found)
  await vi.advanceTimersByTimeAsync(10)
  expect(words).toHaveLength(2)
  presence.stop()
})

test('stopped it ignores what still comes, and leaves no timer', async () => {
  const { presence, state, beats } = await underTest()
  const answered = signal<Heartbeat>()
  state.answer = () => answered.promise
  presence.beat()
  presence.stop()
  answered.resolve(found)
  await vi.advanceTimersByTimeAsync(10_000)
  expect(beats).toEqual([])
  expect(vi.getTimerCount()).toBe(0)
})

test('a refused heartbeat confirms it while its lock is held, until others call it hung', async () => {
  const { presence, state } = await underTest()
  const refused = Object.assign(new Error('canceling statement due to lock timeout'), { code: '55P03' })
  state.answer = () => Promise.reject(refused)
  await vi.advanceTimersByTimeAsync(299_000)
  expect(presence.isConfirmed).toBe(true)
  // From the sending of the last one that was written: here the insert.
  await vi.advanceTimersByTimeAsync(999)
  expect(presence.isConfirmed).toBe(true)
  await vi.advanceTimersByTimeAsync(1)
  expect(presence.isConfirmed).toBe(false)
  state.answer = async () => found
  await vi.advanceTimersByTimeAsync(1_000)
  expect(presence.isConfirmed).toBe(true)
  presence.stop()
})

test('a refused heartbeat confirms nothing without the lock, after its loss, or if no server has refused', async () => {
  const { presence, state } = await underTest()
  const refused = Object.assign(new Error('canceling statement due to lock timeout'), { code: '55P03' })
  state.answer = () => Promise.reject(refused)
  await vi.advanceTimersByTimeAsync(5_000)
  expect(presence.isConfirmed).toBe(true)
  state.isLockHeld = false
  expect(presence.isConfirmed).toBe(false)
  state.isLockHeld = true
  expect(presence.isConfirmed).toBe(true)
  // Another session's lock, from now on: nobody knows who looked in between.
  presence.disturbed()
  expect(presence.isConfirmed).toBe(false)
  await vi.advanceTimersByTimeAsync(1_000)
  expect(presence.isConfirmed).toBe(true)
  state.answer = () => Promise.reject(Object.assign(new Error('closed'), { code: 'CONNECTION_CLOSED' }))
  await vi.advanceTimersByTimeAsync(3_000)
  expect(presence.isConfirmed).toBe(false)
  presence.stop()
})
