import { once } from 'node:events'
import { Readable } from 'node:stream'
import { expect, test } from 'vitest'
import { linesOf } from '../../../src/cli/lines.js'

const never = new AbortController().signal

async function read(lines: AsyncIterable<{ text: string | null }>): Promise<(string | null)[]> {
  const texts: (string | null)[] = []
  for await (const { text } of lines) texts.push(text)
  return texts
}

test('a line may come in pieces, cut within a character; what is not UTF-8 costs its own line only', async () => {
  const bytes = Buffer.from('one\ntwo ä\u2028ü\n\n!\nlast')
  const pieces = Array.from(bytes, (byte) => Buffer.from([byte === 0x21 ? 0xff : byte]))
  expect(await read(linesOf(Readable.from(pieces), never))).toEqual(['one', 'two ä\u2028ü', '', null, 'last'])
})

test('whoever sends no line end does not fill the memory', async () => {
  let sent = 0
  const megabyte = Buffer.alloc(1_000_000, 'x')
  async function* endless() {
    yield Buffer.from('1\n')
    for (; sent < 1_000; sent += 1) yield megabyte
  }
  const stream = Readable.from(endless(), { objectMode: false })
  await expect(read(linesOf(stream, never))).rejects.toThrow('line 2 is longer than 67,108,864 bytes')
  // What stands in the stream's buffer was asked for as well.
  expect(sent).toBeLessThan(72)
  expect(stream.destroyed).toBe(true)
})

test('a stream that fails is not one that has ended', async () => {
  async function* failing() {
    yield Buffer.from('1\n2')
    throw new Error('EIO: the disk is gone')
  }
  await expect(read(linesOf(Readable.from(failing(), { objectMode: false }), never))).rejects.toThrow('EIO')
})

test('an aborted signal ends the stream at once, without what came after the last line end', async () => {
  const stop = new AbortController()
  const stream = new Readable({ read() {} })
  stream.push('1\n2\n3')
  const texts: (string | null)[] = []
  for await (const { text } of linesOf(stream, stop.signal)) {
    texts.push(text)
    if (text === '2') stop.abort()
  }
  expect(texts).toEqual(['1', '2'])
  expect(stream.destroyed).toBe(true)
  expect(await read(linesOf(Readable.from([Buffer.from('4\n')]), stop.signal))).toEqual([])
})

test('nor is what came last, where the stream has ended before', async () => {
  const stop = new AbortController()
  const stream = Readable.from([Buffer.from('1\n2')])
  const lines = linesOf(stream, stop.signal)
  expect(await lines.next()).toMatchObject({ value: { text: '1' } })
  if (!stream.readableEnded) await once(stream.resume(), 'end')
  stop.abort()
  expect(await lines.next()).toMatchObject({ done: true })
})
