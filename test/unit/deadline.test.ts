import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { expect, test } from 'vitest'
import { deadline } from '../../src/deadline.js'

test('no answer in time is an error with the code DEADLINE', async () => {
  await expect(deadline(new Promise(() => {}), 1, 'waiting')).rejects.toMatchObject({ code: 'DEADLINE' })
})

test('an answer that has arrived counts, also when the event loop was blocked past the deadline', async () => {
  const other = spawn(process.execPath, ['-e', 'process.stdin.pipe(process.stdout)'])
  other.stdin.write('ready')
  await once(other.stdout, 'data')
  const answer = deadline(once(other.stdout, 'data'), 20, 'the echo')
  other.stdin.write('x')
  await new Promise((resolve) => setImmediate(resolve))
  // The other process answers while this one computes.
  const until = performance.now() + 500
  while (performance.now() < until);
  await expect(answer).resolves.toHaveLength(1)
  other.kill()
})
