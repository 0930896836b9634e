import { expect, test } from 'vitest'
import { check } from '../faults/check.mjs'

const worker = { id: '77', name: 'w1.1' }

/** What the journal holds of one job: claimed, given back, claimed again by the same worker, and run. */
function storyOf(token: number, { claimedAt, tx }: { claimedAt: number; tx: string }) {
  const about = { by: 'w1.1', job: String(token), token, workerId: worker.id, error: null, version: null }
  const counts = { crashesFrom: 0, crashesTo: 0 }
  const claim = { ...about, ...counts, from: 'ready', to: 'running', attemptFrom: 0, attemptTo: 1, statement: 'claim' }
  const end = { ...about, from: 'running', attemptFrom: 1, leaseFrom: '2', statement: 'settle_other' }
  return [
    { ...claim, at: 0, tx: '1', from: null, to: 'ready', leaseFrom: null, leaseTo: '0', attemptTo: 0 },
    { ...claim, at: claimedAt, tx: '2', leaseFrom: '0', leaseTo: '1' },
    { ...end, ...counts, at: 1_000, tx, to: 'ready', leaseFrom: '1', leaseTo: '1', attemptTo: 0 },
    { ...claim, at: 1_010, tx: '8', leaseFrom: '1', leaseTo: '2' },
    { ...end, at: 1_020, tx: '9', to: 'deleted', leaseTo: null, attemptTo: null, crashesFrom: 0, crashesTo: null },
    { ...end, at: 1_020, tx: '9', from: 'insert', to: 'archived', leaseTo: null, attemptTo: null, ...counts },
  ]
}

/** Nothing was done to anybody. */
function verdictOn(stories: readonly ReturnType<typeof storyOf>[]) {
  const tokens = stories.map((_, index) => index + 1)
  const { violations, figures } = check({
    puts: tokens.map((token) => ({
      plan: { token, mode: 'plain', ms: 0 },
      way: 'put',
      fate: 'committed',
      id: String(token),
    })),
    steps: stories.flat(),
    runs: tokens.map((token) => ({
      at: 1_015,
      job: String(token),
      token,
      attempt: 1,
      workerId: worker.id,
      inTx: false,
    })),
    workers: [worker],
    lives: [{ name: 'w1.1', pid: 1, harms: [], wayHarms: [], stoppedBy: null, stop: null }],
    restarts: [],
    ends: [],
  })
  return { violations: violations.map((text) => text.split('\n')[0]), heldTooLong: figures.heldTooLong }
}

test('a job that was held for too long may be given back, though its worker runs it later', () => {
  expect(verdictOn([storyOf(1, { claimedAt: 940, tx: '5' })])).toEqual({ violations: [], heldTooLong: 1 })
})

test('what is held goes back with the oldest of it, however young', () => {
  const stories = [storyOf(1, { claimedAt: 940, tx: '5' }), storyOf(2, { claimedAt: 990, tx: '5' })]
  expect(verdictOn(stories)).toEqual({ violations: [], heldTooLong: 2 })
})

test('a job that goes back sooner, and not with one that was held for too long, is a violation', () => {
  const stories = [storyOf(1, { claimedAt: 940, tx: '5' }), storyOf(2, { claimedAt: 990, tx: '6' })]
  expect(verdictOn(stories)).toEqual({
    violations: ['job 2 (token 2, plain, by put, committed): w1.1 has given it back for no reason'],
    heldTooLong: 1,
  })
})
