import { Writable } from 'node:stream'
import { expect, test } from 'vitest'
import { openScreen } from '../../../src/terminal/screen.js'

/** A screen on a stream that may be a terminal, and a clock that stands until it is set. */
function screenOn({ isTTY, TERM = 'xterm' }: { isTTY: boolean; TERM?: string }) {
  const written: string[] = []
  const stream = new Writable({
    write(chunk, _, done) {
      written.push(String(chunk))
      done()
    },
  })
  const clock = { now: 0 }
  const screen = openScreen(
    Object.assign(stream, { isTTY }) as unknown as NodeJS.WriteStream,
    { TERM },
    () => clock.now,
  )
  return { screen, clock, written }
}

for (const [where, given] of [
  ['a pipe', { isTTY: false }],
  ['a terminal that cannot draw', { isTTY: true, TERM: 'dumb' }],
] as const) {
  test(`in ${where} there is no bar, but a line now and then, and one at the end`, () => {
    const { screen, clock, written } = screenOn(given)
    const progress = screen.progress('put', 10_000, 'jobs')
    for (let seconds = 1; seconds <= 11; seconds += 1) {
      clock.now = seconds * 1_000
      progress.update(seconds * 200)
    }
    screen.say('a word')
    const lines = ['put: 1,000 of 10,000 jobs, 200 a second\n', 'put: 2,000 of 10,000 jobs, 200 a second\n', 'a word\n']
    expect(written).toEqual(lines)
    progress.end()
    progress.end()
    screen.end()
    progress.update(1)
    expect(written).toEqual([...lines, 'put: 2,200 of 10,000 jobs, 200 a second\n'])
  })
}

test('what was told last is not told again at the end, and of nothing there is no bar', () => {
  const { screen, clock, written } = screenOn({ isTTY: false })
  const progress = screen.progress('put', null, 'jobs')
  clock.now = 5_000
  progress.update(10)
  progress.end()
  expect(written).toEqual(['put: 10 jobs, 2 a second\n'])
  for (const isTTY of [false, true]) {
    const none = screenOn({ isTTY })
    const empty = none.screen.progress('hashed', 0, 'files')
    empty.update(0)
    none.screen.end()
    expect(none.written).toEqual([])
  }
})
