import { expect, test, vi } from 'vitest'
import { createListener } from '../../../src/listen/listener.js'

test('a listener that waits for its own pause connects at once when an outage has ended', async () => {
  const connect = vi.fn(async () => {
    throw new Error('nobody there')
  })
  let gotThrough = (): void => {}
  const listener = createListener({
    connect,
    channel: async () => ({ channel: 'a', cancelChannel: 'b' }),
    pingChannel: () => 'c',
    sendPing: async () => 'a',
    onUp: (listen) => {
      gotThrough = listen
      return () => {
        gotThrough = () => {}
      }
    },
    onNotification: () => {},
    onCancel: () => {},
    onLive: () => {},
    onDeaf: () => {},
    onHealth: () => {},
    // Hours.
    random: () => 1e6,
  })
  await listener.start()
  expect(connect).toHaveBeenCalledTimes(1)
  gotThrough()
  // It connects already.
  gotThrough()
  await vi.waitFor(() => expect(connect).toHaveBeenCalledTimes(2))
  listener.stop()
  gotThrough()
  expect(connect).toHaveBeenCalledTimes(2)
})

test('a listener whose server is left while it connects begins again, and takes nothing of the former', async () => {
  const left = vi.fn()
  let leave = (_error: Error): void => {}
  let proceed = (): void => {}
  const connect = vi.fn(async (whenLeft: (error: Error) => void) => {
    leave = whenLeft
    await new Promise<void>((resolve) => {
      proceed = resolve
    })
    return { config: {} as never, left }
  })
  const channel = vi.fn(async () => ({ channel: 'a', cancelChannel: 'b' }))
  const listener = createListener({
    connect,
    channel,
    pingChannel: () => 'c',
    sendPing: async () => 'a',
    onUp: () => () => {},
    onNotification: () => {},
    onCancel: () => {},
    onLive: () => {},
    onDeaf: () => {},
    onHealth: () => {},
    random: () => 0,
  })
  const started = listener.start()
  leave(new Error('another server is in use'))
  proceed()
  await started
  await vi.waitFor(() => expect(connect).toHaveBeenCalledTimes(2))
  expect([left.mock.calls.length, channel.mock.calls.length]).toEqual([1, 0])
  listener.stop()
  proceed()
  await vi.waitFor(() => expect(left).toHaveBeenCalledTimes(2))
})
